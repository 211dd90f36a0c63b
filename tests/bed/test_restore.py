# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups put in the place of a real database: all of it, or nothing was touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from tests.bed.backup_stack import (
    DATABASES,
    NAME,
    ORDERS,
    PASSWORD,
    Stack,
    fresh,
    one_database,
    playbook,
    stack,
)  # fmt: skip
from tests.bed.shop import run

#: Fixtures of the project that is restored.
__all__ = ["fresh", "one_database", "stack"]


def test_a_backup_takes_the_place_of_the_database_while_somebody_writes(one_database: Stack) -> None:
    stack = one_database
    stack.sql(
        'ALTER DATABASE shop SET search_path TO public, "odd ""name"; ALTER DATABASE shop SET work_mem TO \'7MB\''
    )
    stack.sql('GRANT CREATE ON DATABASE shop TO "Read Only"; REVOKE TEMP ON DATABASE shop FROM PUBLIC')
    alike = (
        "SELECT (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(datacl) a), "
        "pg_get_userbyid(datdba), encoding, datcollate, (SELECT setconfig FROM pg_db_role_setting s "
        "WHERE s.setdatabase = d.oid AND setrole = 0) FROM pg_database d WHERE datname = current_database()"
    )
    before = stack.sql(alike)
    assert "work_mem=7MB" in before and "Read Only" in before
    name = Path(stack()["backup"]["path"]).name
    stack.sql("INSERT INTO orders (reference, note) VALUES ('x', 'written since'), ('y', 'written since')")
    given = {"state": "restored", "backup": name, "keep": 1}

    said = stack.refusal(**given)
    assert "public.orders 20,002 rows now, 20,000 in the backup" in said and "allow_downtime" in said
    assert "needs the exact backup" in stack.refusal(state="restored", allow_downtime=True)
    given["allow_downtime"] = True
    assert stack(check=True, **given)["changed"] and stack.sql(ORDERS) == "20002"

    # Sessions that come back at once are no reason to fail.
    ended = threading.Event()

    def insist() -> None:
        while not ended.is_set():
            subprocess.run(
                ["docker", "exec", f"{NAME}-db-1", "psql", "-XqAt", "-U", "shop", "-d", "shop", "-c", "SELECT pg_sleep(60)"],
                capture_output=True, check=False,
            )  # fmt: skip

    insisting = threading.Thread(target=insist)
    insisting.start()
    try:
        result = stack(**given)
        assert stack.sql(ORDERS) == "20000" and stack.sql(alike) == before
        assert stack.sql(DATABASES).split() == ["shop", result["replaced"]]
        again = stack(**given)
        assert (again["changed"], len(stack.sql(DATABASES).split())) == (False, 2)
        assert stack(check=True, again=True, **given)["changed"]
    finally:
        ended.set()
        ended_now = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
        while insisting.is_alive():
            stack.sql(ended_now)
            insisting.join(0.3)
    # All that was written is in the one that is kept, and in the dump that was made before.
    kept = ["docker", "exec", f"{NAME}-db-1", "psql", "-XqAt", "-U", "shop", "-d", result["replaced"], "-c", ORDERS]
    assert run(kept).strip() == "20002"
    manifest = json.loads(Path(f"{result['safety']}.json").read_text())
    assert manifest["rows"]["public.orders"] == 20_002
    assert {Path(result["safety"]).name, name} <= set(stack.files())
    # And there is a way back from it.
    stack(state="restored", backup=Path(result["safety"]).name, allow_downtime=True)
    assert stack.sql(ORDERS) == "20002"
    stack.sql("ALTER DATABASE shop RESET ALL")


def test_one_that_is_killed_while_it_restores_leaves_one_database_or_the_other(one_database: Stack) -> None:
    stack = one_database
    name = Path(stack()["backup"]["path"]).name
    stack.sql("INSERT INTO orders (reference, note) VALUES ('x', 'written since')")
    given = {"state": "restored", "backup": name, "allow_downtime": True}
    seen = set()
    for moment in range(4, 40, 2):
        process = stack.begin(**given)
        try:
            process.wait(moment / 4)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        # It is there at each moment, and whole.
        rows = stack.sql(ORDERS)
        assert rows in ("20000", "20001"), moment
        seen.add((rows, "shop_evenkeel_restoring" in stack.sql(DATABASES).split()))
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert len(seen) > 1, "it was never killed in the midst of it"
    result = stack(**given)
    assert not result["changed"] and stack.sql(ORDERS) == "20000"
    assert "shop_evenkeel_restoring" not in stack.sql(DATABASES).split()
    assert [p.name for p in stack.dest.glob("*.part")] == []


def test_what_cannot_be_restored_leaves_the_database_as_it_was(one_database: Stack) -> None:
    stack = one_database
    name = Path(stack()["backup"]["path"]).name
    given = {"state": "restored", "backup": name, "allow_downtime": True}
    path = stack.dest / f"{name}.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "rows": {**manifest["rows"], "public.orders": 1}}))
    with pytest.raises(BadInput, match="what was restored is not what was dumped"):
        stack(**given)
    assert stack.sql(DATABASES) == "shop" and stack.sql(ORDERS) == "20000"
    path.write_text(json.dumps({**manifest, "database_size": 2**50}))
    assert "a second database takes about" in stack.refusal(**given)
    path.write_text(json.dumps(manifest))
    whole = (stack.dest / name).read_bytes()
    (stack.dest / name).write_bytes(whole[:-5])
    assert "is truncated" in stack.refusal(**given)
    path.unlink()
    assert "has no manifest of ours" in stack.refusal(**given)
    assert stack.sql(DATABASES) == "shop"


def test_the_playbook_restores_and_the_worker_stands_still_meanwhile(one_database: Stack) -> None:
    stack = one_database
    name = Path(stack()["backup"]["path"]).name
    stack.sql("INSERT INTO orders (reference, note) VALUES ('x', 'written since')")
    stack.compose("up", "-d", "celery")
    worker = f"{NAME}-celery-1"
    state = ["docker", "inspect", "-f", "{{.State.Running}} {{.State.StartedAt}}", worker]
    before = run(state)
    try:
        refused = playbook(stack, "restore", restore_backup=name)
        assert refused.returncode == 2 and "20,001 rows now, 20,000 in the backup" in " ".join(refused.stdout.split())
        assert run(state) == before and stack.sql(ORDERS) == "20001"
        done = playbook(stack, "restore", restore_backup=name, restore_allow_downtime=True, backup_min_free="0")
        assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout[-4000:]
        assert "is what was dumped at" in " ".join(done.stdout.split()) and PASSWORD not in done.stdout
        assert stack.sql(ORDERS) == "20000"
        after = run(state)
        assert after.startswith("true") and after != before
        # A call that was killed in the midst of it: the next one starts again who was stopped.
        record = stack.folder / "srv/.evenkeel/restoring.json"
        assert not record.exists()
        run(["docker", "stop", "-t", "5", worker])
        identity = run(["docker", "inspect", "-f", "{{.Id}}", worker]).strip()
        record.write_text(json.dumps({"containers": [identity, "0" * 64]}))
        again = playbook(stack, "restore", restore_backup=name, restore_allow_downtime=True)
        assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout[-4000:]
        assert run(state).startswith("true") and not record.exists()
    finally:
        stack.compose("rm", "--force", "--stop", "celery")
