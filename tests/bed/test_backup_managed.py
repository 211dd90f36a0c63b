# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a database that is no service of the project: found as the app finds it, dumped by a client that goes again."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from tests.bed.backup_stack import DATABASES, ORDERS, PASSWORD, eventually, playbook
from tests.bed.managed_database import HOST, IMAGE, NAME, NOWHERE, OLD, SERVER, Managed, fresh, managed
from tests.bed.migrating_update import App
from tests.bed.shop import LABEL, run

#: Fixtures of the database that is backed up.
__all__ = ["fresh", "managed"]


def test_it_is_found_as_the_app_finds_it_dumped_and_proven(fresh: Managed) -> None:
    made = fresh()
    assert made["changed"] and "read to its end" in made["msg"]
    path = Path(made["backup"]["path"])
    manifest = json.loads(Path(f"{path}.json").read_text())
    assert (manifest["service"], manifest["database"], manifest["proven"]) == (f"{HOST}:5432", "shop", "read")
    assert manifest["rows"]["public.orders"] == 20_000 and manifest["migrations"]["count"] == 1
    assert PASSWORD not in json.dumps([made, manifest]) and path.stat().st_mode & 0o777 == 0o600
    assert not fresh(newer_than="600")["changed"]
    verified = fresh(state="verified")
    assert verified["changed"] and verified["backup"]["proven"] == "restored", verified["msg"]
    # Retention knows them again: the proven one stays, of the others the newest.
    second = Path(fresh(keep=1)["backup"]["path"]).name
    assert fresh(keep=1)["removed"] == [second]


def test_it_is_reached_by_what_is_named(fresh: Managed) -> None:
    secret = fresh.folder / "password"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    given = {"database_host": "127.0.0.1", "database_port": fresh.port, "database_user": "shop", "database": "shop"}
    # This machine's own address, which no container of the project has; Django is not asked.
    made = fresh(**given, database_password_file=str(secret), django_service="nowhere")
    assert (
        made["changed"]
        and json.loads(Path(f"{made['backup']['path']}.json").read_text())["rows"]["public.orders"] == 20_000
    )
    assert "database_password" not in json.dumps(made) and PASSWORD not in json.dumps(made)
    # The rest is the app's.
    assert fresh(database_host="127.0.0.1", database_port=fresh.port)["changed"]
    assert "could not be asked" in fresh.refusal(**given, database_password="wrong")


def test_what_cannot_be_dumped_is_refused_by_name(fresh: Managed) -> None:
    said = fresh.refusal(client_image=NOWHERE)
    assert "cannot be pulled" in said and f"docker pull {NOWHERE}" in said
    assert "has no pg_dump" in fresh.refusal(client_image="evenkeel/redis:8")
    assert "MiB are to be left" in fresh.refusal(min_free="900T")
    assert "could not be started" in fresh.refusal(client_network="no-such-network")
    fresh.password = "not-this-one"
    fresh.write()
    assert "authentication failed" in fresh.refusal()
    # Nobody knows the version then.
    assert "it is not known which version" in fresh.refusal(client_image=None)
    fresh.password = PASSWORD
    # A pooler is a service that the app takes for its database.
    pooler = {"image": "evenkeel/redis:8", "networks": {"provider": {"aliases": [HOST]}}}
    fresh.write(pooler=pooler)
    assert "through pooler" in fresh.refusal()
    fresh.write()
    fresh.sql("CREATE TABLE hidden (n int); REVOKE ALL ON hidden FROM shop", "postgres")
    try:
        assert "permission denied" in fresh.refusal()
    finally:
        fresh.sql("DROP TABLE hidden", "postgres")


def test_an_older_client_is_refused_with_the_one_to_take(fresh: Managed) -> None:
    box = run(["docker", "create", "--label", f"{LABEL}={NAME}", IMAGE]).strip()
    old = fresh.folder / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 15.4'\n")
    old.chmod(0o755)
    run(["docker", "cp", str(old), f"{box}:/usr/lib/postgresql/17/bin/pg_dump"])
    run(["docker", "commit", box, OLD])
    run(["docker", "rm", "-fv", box])
    said = fresh.refusal(client_image=OLD)
    assert "is PostgreSQL 17" in said and "docker pull postgres:17" in said


def test_one_that_is_killed_leaves_no_lock_and_the_next_takes_its_client_away(fresh: Managed) -> None:
    fresh.sql(
        "CREATE TABLE big AS SELECT n, md5(n::text) || md5((n + 1)::text) AS t FROM generate_series(1, 1500000) n"
    )
    try:
        process = fresh.begin()
        assert eventually(lambda: any(p.stat().st_size > 2**20 for p in fresh.dest.glob("*.part")), 60.0)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert len(fresh.throw_aways()) == 1 and not list(fresh.dest.glob("*.dump"))
        assert eventually(lambda: fresh.sessions() == 0, 5.0)
        environment = run(["docker", "inspect", "-f", "{{json .Config}}", fresh.throw_aways()[0]])
        assert PASSWORD not in environment
        assert fresh()["changed"] and fresh.throw_aways() == [] and len(fresh.files()) == 2
    finally:
        fresh.sql("DROP TABLE big")


def test_it_is_put_back_by_a_role_that_may_and_refused_with_the_way_to_it_by_one_that_may_not(fresh: Managed) -> None:
    name = Path(fresh()["backup"]["path"]).name
    fresh.sql("INSERT INTO orders (reference, note) VALUES ('x', 'written since')")
    given = {"state": "restored", "backup": name, "allow_downtime": True}
    said = fresh.refusal(**given)
    assert 'ALTER ROLE "shop" CREATEDB;' in said and "pg_restore --exit-on-error" in said
    assert fresh.sql(DATABASES) == "shop"
    fresh.sql("ALTER ROLE shop CREATEDB", "postgres")
    try:
        assert "public.orders 20,001 rows now" in fresh.refusal(**{**given, "allow_downtime": False})
        result = fresh(**given)
        assert fresh.sql(ORDERS) == "20000" and f'DROP DATABASE "{result["replaced"]}"' in result["msg"]
        assert fresh.sql(DATABASES).split() == ["shop", result["replaced"]]
        assert not fresh(**given)["changed"]
        manifest = json.loads(Path(f"{result['safety']}.json").read_text())
        assert manifest["rows"]["public.orders"] == 20_001
    finally:
        fresh.sql("ALTER ROLE shop NOCREATEDB", "postgres")
        for other in fresh.sql(DATABASES).split():
            if other != "shop":
                fresh.sql(f'DROP DATABASE "{other}"', "postgres")
        fresh.sql("DELETE FROM orders WHERE note = 'written since'")


def test_a_superusers_session_is_told_before_anything_is_made(fresh: Managed) -> None:
    name = Path(fresh()["backup"]["path"]).name
    fresh.sql("ALTER ROLE shop CREATEDB", "postgres")
    watching = [
        "docker",
        "exec",
        "-d",
        SERVER,
        "psql",
        "-X",
        "-U",
        "postgres",
        "-d",
        "shop",
        "-c",
        "SELECT pg_sleep(60)",
    ]
    run(watching)
    try:
        sleeps = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        assert eventually(lambda: fresh.sql(sleeps, "postgres") == "1")
        with pytest.raises(BadInput, match="never end the sessions of the superusers postgres"):
            fresh(state="restored", backup=name, allow_downtime=True)
        assert fresh.sql(DATABASES) == "shop"
    finally:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        fresh.sql(f"{ended}; ALTER ROLE shop NOCREATEDB", "postgres")


def test_the_playbook_backs_it_up(fresh: Managed) -> None:
    done = playbook(fresh, app_name=NAME, backup_connection={"client_image": IMAGE}, backup_min_free="0")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "shop is backed up: " in " ".join(done.stdout.split()) and PASSWORD not in done.stdout + done.stderr


def test_an_update_has_it_before_it_migrates_and_stops_without(fresh: Managed) -> None:
    app = App(fresh)  # type: ignore[arg-type]
    try:
        output = app.update(app_name=NAME, backup_connection={"client_image": NOWHERE})
        assert output.startswith("2 ") and f"docker pull {NOWHERE}" in output, output[-3000:]
        migrated = "SELECT count(*) FROM django_migrations"
        assert fresh.sql(migrated) == "1" and app.manifests() == []
        output = app.update(app_name=NAME, backup_connection={"client_image": IMAGE})
        assert output.startswith("0 ") and "shop is backed up: " in output, output[-3000:]
        (manifest,) = app.manifests()
        assert manifest["migrations"]["count"] == 1 and fresh.sql(migrated) == "2"
        assert PASSWORD not in output
    finally:
        shutil.rmtree(app.root, ignore_errors=True)
