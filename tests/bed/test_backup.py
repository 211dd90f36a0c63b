# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a real server: whole and proven, or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.backup_stack import NAME, PASSWORD, SCHEMA, Stack, eventually, fresh, playbook, stack
from tests.bed.shop import run

#: Fixtures of the project that is backed up.
__all__ = ["fresh", "stack"]


def test_a_dump_is_made_found_again_restored_and_compared(fresh: Stack) -> None:
    foreseen = fresh(check=True)
    assert foreseen["changed"] and not fresh.dest.exists()
    made = fresh()
    assert made["changed"] and "read to its end" in made["msg"]
    told = made["backup"]
    assert (told["proven"], told["database"], told["server_version"][:3]) == ("read", "shop", "17.")
    assert told["migrations"] == {"count": 3, "latest": {"shop": "0002_two", "auth": "0001"}}
    path = Path(told["path"])
    assert path.stat().st_size == told["bytes"] > 100_000
    assert {p.stat().st_mode & 0o777 for p in fresh.dest.iterdir()} == {0o600}
    assert fresh.dest.stat().st_mode & 0o777 == 0o700
    manifest = json.loads(Path(f"{path}.json").read_text())
    assert manifest["rows"] == {"public.orders": 20_000, "odd \"name.it's": 3, "public.django_migrations": 3}
    assert PASSWORD not in json.dumps([made, manifest])
    # New enough, and too old.
    assert not fresh(newer_than="600")["changed"]
    assert fresh(newer_than="2999-01-01T00:00:00Z")["changed"]
    # What is written after the snapshot is not in the dump, nor compared.
    fresh.sql("INSERT INTO orders (reference) VALUES ('late')")
    verified = fresh(state="verified", backup=path.name)
    assert verified["changed"] and verified["backup"]["proven"] == "restored"
    assert "20,006 rows" in verified["msg"]
    fresh.sql("DELETE FROM orders WHERE reference = 'late'")
    again = fresh(state="verified", backup=path.name)
    assert not again["changed"] and "was restored and compared" in again["msg"]


def test_what_is_not_whole_is_refused_by_name(fresh: Stack) -> None:
    name = Path(fresh()["backup"]["path"]).name
    spoiled = fresh.copied(name)
    whole = spoiled.read_bytes()

    def verified(data: bytes, which: str = spoiled.name) -> str:
        (fresh.dest / which).write_bytes(data)
        return fresh.refusal(state="verified", backup=which)

    assert "is empty (0 bytes)" in verified(b"")
    assert "is truncated" in verified(whole[:-3])
    assert "is truncated" in verified(whole[: len(whole) // 2])
    middle = len(whole) // 2
    assert "is corrupted" in verified(whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :])
    assert "made by a newer pg_dump" in verified(whole[:6] + b"\x63" + whole[7:])
    assert "no archive of pg_dump's custom format" in verified(b"SELECT 1;\n" * 100)
    # With its manifest less has to be read.
    assert "is truncated: " in verified(whole[:-3], name)
    assert "is corrupted: its checksum" in verified(whole[:middle] + b"\0" + whole[middle + 1 :], name)
    # It is no longer good enough either.
    assert fresh(newer_than="600")["changed"]


def test_a_restored_database_that_is_another_is_noticed(fresh: Stack) -> None:
    name = Path(fresh()["backup"]["path"]).name
    path = fresh.dest / f"{name}.json"
    manifest = json.loads(path.read_text())
    manifest["rows"]["public.orders"] += 1
    manifest["relations"]["sequence"].append("public.gone")
    path.write_text(json.dumps(manifest))
    said = fresh.refusal(state="verified")
    assert "public.orders has 20000 rows instead of 20001" in said and "sequence public.gone is missing" in said
    assert json.loads(path.read_text())["proven"] == "read"


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "evenkeel-backup-bed", str(folder)])
    try:
        yield
    finally:
        run(["umount", str(folder)])


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_leaves_no_file_that_looks_like_a_backup(fresh: Stack) -> None:
    with small_disk(fresh.dest, "200k"):
        said = fresh.refusal()
        assert "MiB free" in said and "no file that looks like a new backup was left" in said
        # A dump that was small yesterday: the guess is wrong, and the disk is full in the middle.
        small = {
            "made_by": "evenkeel-backup-1",
            "project": NAME,
            "service": "db",
            "database": "shop",
            "bytes": 10,
            "started_at": 1,
        }
        name = "shop-20200101T000000Z.dump"
        (fresh.dest / name).write_bytes(b"")
        (fresh.dest / f"{name}.json").write_text(json.dumps({**small, "file": name}))
        said = fresh.refusal()
        assert "the disk is full" in said and "make room" in said
    assert "and 1048576 MiB are to be left" in fresh.refusal(min_free="1T")


def test_old_ones_go_but_for_those_of_releases_and_the_proven_one(fresh: Stack) -> None:
    releases = fresh.folder / "releases"
    kept, gone = "20260101T000000Z-1111111", "20260102T000000Z-2222222"
    for release in (kept, gone):
        (releases / release).mkdir(parents=True, exist_ok=True)
    more = {"keep": 2, "releases_dir": str(releases)}
    foreign = fresh.dest / "shop-20190101T000000Z.dump"
    names = [Path(fresh(release=kept, **more)["backup"]["path"]).name]
    foreign.write_bytes(b"somebody's")
    fresh(state="verified", **more)
    names += [Path(fresh(release=gone, **more)["backup"]["path"]).name for _again in range(2)]
    assert fresh(**more)["removed"] == []
    shutil.rmtree(releases / gone)
    assert fresh(**more)["removed"] == names[1:3]
    # The restored one stays without its release too, until another one was.
    shutil.rmtree(releases / kept)
    removed = fresh(**more)["removed"]
    assert names[0] not in removed and (fresh.dest / names[0]).exists()
    fresh(state="verified", **more)
    assert names[0] in fresh(**more)["removed"]
    assert foreign.read_bytes() == b"somebody's"


def test_one_that_is_locked_out_says_who_it_waited_for_and_what_cannot_be_is_refused(fresh: Stack) -> None:
    said = []
    blocker = subprocess.Popen(
        ["docker", "exec", "-i", f"{NAME}-db-1", "psql", "-XqAt", "-U", "shop", "shop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )  # fmt: skip
    assert blocker.stdin is not None and blocker.stdout is not None
    blocker.stdin.write(b"BEGIN; LOCK TABLE orders; SELECT 1;\n")
    blocker.stdin.flush()
    blocker.stdout.readline()
    try:
        said.append(fresh.refusal(lock_timeout=1.0))
    finally:
        blocker.stdin.close()
        blocker.wait()
    assert "another session has a table locked" in said[0]
    assert "there is no service dbb" in fresh.refusal(service="dbb")
    assert "cache does not run" in fresh.refusal(service="cache", profiles=["never"])
    assert "the database refused" in fresh.refusal(database="nowhere")
    assert "neither a number of seconds nor a timestamp" in fresh.refusal(newer_than="yesterday")
    assert "there is no backup" in fresh.refusal(state="verified")
    name = Path(fresh()["backup"]["path"]).name
    assert "what is restored takes about" in fresh.refusal(state="verified", min_free="900T")
    assert "of memory are available" in fresh.refusal(state="verified", verify_memory="900T")
    # One of somebody else's can be tried as well; there is nothing to compare it with.
    foreign = fresh.copied(name).name
    told = fresh(state="verified", backup=foreign)
    assert not told["changed"] and "it has no manifest" in told["msg"]
    assert "dest relative is relative" in fresh.refusal(dest="relative")


def test_a_project_without_a_database_and_a_database_without_a_table(fresh: Stack) -> None:
    project = json.loads((fresh.folder / "compose.yaml").read_text())
    alone = fresh.folder / "alone"
    alone.mkdir(exist_ok=True)
    (alone / "compose.yaml").write_text(json.dumps({**project, "services": {"cache": project["services"]["cache"]}}))
    result = fresh(project_src=str(alone), optional=True)
    assert (result["changed"], result["backup"]) == (False, {}) and "no PostgreSQL service" in result["msg"]
    assert "set app_database_service" in fresh.refusal(project_src=str(alone))
    assert "has no table yet" in fresh(database="postgres", optional=True)["msg"]
    assert fresh.files() == []
    # The database that every server has from its beginning can be restored too.
    assert fresh(database="postgres")["changed"] and fresh(database="postgres", state="verified")["changed"]


def command_lines() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return "\n".join(found)


@contextlib.contextmanager
def password_wanted(stack: Stack) -> Iterator[None]:
    """Its socket too asks for a password while the block runs."""
    file = "/var/lib/postgresql/data/pg_hba.conf"
    for words in (["cp", file, "/tmp/pg_hba.conf"], ["sed", "-i", "s/trust$/scram-sha-256/", file]):
        run(["docker", "exec", f"{NAME}-db-1", *words])
    try:
        run(["docker", "kill", "-s", "HUP", f"{NAME}-db-1"])
        assert eventually(lambda: not works(stack))
        yield
    finally:
        run(["docker", "exec", f"{NAME}-db-1", "cp", "/tmp/pg_hba.conf", file])
        run(["docker", "kill", "-s", "HUP", f"{NAME}-db-1"])
        assert eventually(lambda: works(stack))


def works(stack: Stack) -> bool:
    psql = ["docker", "exec", f"{NAME}-db-1", "psql", "-w", "-U", "shop", "-d", "shop", "-c", "SELECT 1"]
    return subprocess.run(psql, capture_output=True, check=False).returncode == 0


def test_the_password_is_on_no_command_line_and_in_no_output(fresh: Stack) -> None:
    with password_wanted(fresh):
        look_for_the_password(fresh)
    assert fresh(state="verified")["backup"]["proven"] == "restored"


def look_for_the_password(fresh: Stack) -> None:
    seen: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            seen.append(command_lines())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output, _none = fresh.ansible("-vvv", "--diff").communicate(timeout=120)
    finally:
        ended.set()
        watcher.join()
    assert "CHANGED" in output, output[-3000:]
    lines = "\n".join(seen)
    assert "pg_dump" in lines and "--env PGPASSWORD" in lines
    assert PASSWORD not in lines and PASSWORD not in output


def test_one_that_is_killed_in_the_middle_leaves_nothing_and_holds_no_lock(fresh: Stack) -> None:
    fresh.sql(
        "CREATE TABLE big AS SELECT n, md5(n::text) || md5((n + 1)::text) AS t FROM generate_series(1, 1500000) n"
    )
    try:
        process = fresh.begin()
        assert eventually(lambda: any(p.stat().st_size > 2**20 for p in fresh.dest.glob("*.part")))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not list(fresh.dest.glob("*.dump")) and list(fresh.dest.glob("*.part"))
        # pg_dump alone would go on for as long as all of it takes.
        assert eventually(lambda: fresh.sessions() == 0, 3.0)
        fresh.sql("ALTER TABLE big ADD COLUMN more int")
        assert fresh()["changed"]
        assert len(fresh.files()) == 2

        # A container that is restarted in the midst of it.
        result: list[str] = []
        thread = threading.Thread(target=lambda: result.append(fresh.refusal()))
        thread.start()
        assert eventually(lambda: any(p.stat().st_size > 2**20 for p in fresh.dest.glob("*.part")))
        run(["docker", "kill", f"{NAME}-db-1"])
        thread.join(30)
        assert "was stopped or restarted while shop was dumped" in result[0]
        assert len(fresh.files()) == 2
    finally:
        # Its data is in memory, and goes with it.
        fresh.compose("rm", "--force", "--stop", "--volumes", "db")
        fresh.compose("up", "-d", "--wait", "db")
        fresh.sql(SCHEMA.format(rows=20_000))


def test_the_playbook_backs_up_proves_and_gives_its_lock_back(fresh: Stack) -> None:
    done = playbook(fresh, backup_verify=True, backup_min_free="0", backup_verify_memory="256M")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    said = " ".join(done.stdout.split())
    assert "shop is backed up: " in said and "rows, as they were dumped" in said, said[-1500:]
    assert PASSWORD not in done.stdout + done.stderr
    (manifest,) = [json.loads(p.read_text()) for p in fresh.dest.glob("*.json")]
    assert manifest["proven"] == "restored"
    failed = playbook(fresh, backup_databases=["nowhere"])
    assert failed.returncode == 2 and "What: the database refused" in failed.stdout
    # Both have given the lock back: a call alone takes it at once.
    assert fresh(state_dir=str(fresh.folder / "srv/.evenkeel"), newer_than="600")["changed"] is False
