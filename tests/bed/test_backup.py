# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a real server: whole, proven and restored, or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.host.backup_call import backup
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.call_result import BadInput
from tests.bed.shop import BEDS, LABEL, ROOT, run

NAME = "evenkeel-backup"
PASSWORD = "never-told-4471"
SCHEMA = """
CREATE ROLE "Read Only" NOLOGIN;
CREATE EXTENSION pg_trgm;
CREATE TABLE orders (id bigserial PRIMARY KEY, reference text NOT NULL, note text);
INSERT INTO orders (reference, note) SELECT md5(n::text), 'never-told-row' FROM generate_series(1, {rows}) n;
GRANT SELECT ON orders TO "Read Only";
CREATE VIEW late AS SELECT * FROM orders WHERE id > 10;
CREATE SCHEMA "odd ""name";
CREATE TABLE "odd ""name"."it's" (n int);
INSERT INTO "odd ""name"."it's" VALUES (1), (2), (3);
CREATE TABLE django_migrations (id serial PRIMARY KEY, app text, name text);
INSERT INTO django_migrations (app, name) VALUES ('shop', '0001_initial'), ('auth', '0001'), ('shop', '0002_two');
"""


class Stack:
    """A project that is a database, and a folder for its backups."""

    def __init__(self) -> None:
        self.folder = BEDS / NAME
        self.dest = self.folder / "backups"

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        db = {
            "image": "evenkeel/postgres:17",
            "environment": {"POSTGRES_USER": "shop", "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "shop"},
            "labels": {LABEL: NAME},
            "tmpfs": ["/var/lib/postgresql/data"],
            "healthcheck": {
                "test": ["CMD", "pg_isready", "-h", "127.0.0.1", "-U", "shop"],
                "interval": "1s",
                "retries": 90,
            },
        }
        other = {"image": "evenkeel/redis:8", "profiles": ["never"]}
        patient = "trap 'exit 0' TERM; while :; do sleep 1 & wait $$!; done"
        celery = {
            "image": "evenkeel/redis:8", "entrypoint": ["sh", "-c", patient], "labels": {LABEL: NAME},
            "x-evenkeel": {"kind": "worker"},
        }  # fmt: skip
        networks = {"default": {"labels": {LABEL: NAME}}}
        services = {"db": db, "cache": other, "celery": celery}
        project = {"name": NAME, "services": services, "networks": networks}
        (self.folder / "compose.yaml").write_text(json.dumps(project))

    def compose(self, *words: str) -> str:
        return run(["docker", "compose", "--project-directory", str(self.folder), *words])

    def sql(self, statement: str) -> str:
        psql = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "shop", "-d", "shop"]
        return run(["docker", "exec", "-i", f"{NAME}-db-1", *psql], input=statement).strip()

    def parameters(self, **more: Any) -> dict[str, Any]:
        return {
            "project_src": str(self.folder), "dest": str(self.dest), "state": "present", "keep": 7, "min_free": "0",
            "verify_memory": "256M", "lock_timeout": 30.0, "timeout": 300.0, "state_dir": str(self.folder / "state"),
            **more,
        }  # fmt: skip

    def __call__(self, check: bool = False, **more: Any) -> dict[str, Any]:
        return backup(self.parameters(**more), check)

    def refusal(self, **more: Any) -> str:
        """What a call is refused with; no secret is told, and nothing is left of it."""
        before = self.files()
        with pytest.raises(BadInput) as caught:
            self(**more)
        said = caught.value.message()
        assert PASSWORD not in said and "never-told-row" not in said
        assert self.files() == before and self.throw_aways() == []
        return said

    def files(self) -> list[str]:
        """What lies in the folder, but for the lock."""
        return sorted(p.name for p in self.dest.glob("*") if p.name != ".lock")

    def throw_aways(self) -> list[str]:
        return run(["docker", "ps", "-aq", "--filter", f"label=evenkeel.verify={NAME}"]).split()

    def sessions(self) -> int:
        """Sessions of ours that the server has now."""
        return int(self.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'evenkeel-backup%'"))

    def ansible(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """The module as Ansible runs it."""
        given = json.dumps(self.parameters(**more))
        argv = [
            str(Path(sys.executable).parent / "ansible"),
            "localhost",
            "-m",
            "evenkeel.deploy.postgres_backup",
            "-a",
            given,
        ]
        return subprocess.Popen(
            [*argv, "-e", f"ansible_python_interpreter={sys.executable}", *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        )  # fmt: skip

    def begin(self, **more: Any) -> subprocess.Popen[bytes]:
        """A call in a process of its own, for one who wants to kill it."""
        code = (
            "import json, sys; from ansible_collections.evenkeel.deploy.plugins.module_utils.host.backup_call import backup; "
            "backup(json.loads(sys.argv[1]), False)"
        )
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}"}
        argv = [sys.executable, "-c", code, json.dumps(self.parameters(**more))]
        return subprocess.Popen(argv, env=environment, cwd=ROOT)

    def copied(self, name: str) -> Path:
        """A dump beside the others that a test may spoil, without a manifest."""
        path = self.dest / "shop-20200101T000000Z.dump"
        shutil.copy(self.dest / name, path)
        return path


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    shutil.rmtree(BEDS / NAME, ignore_errors=True)
    made = Stack()
    made.write()
    try:
        made.compose("up", "-d", "--wait", "db")
        made.sql(SCHEMA.format(rows=20_000))
        yield made
    finally:
        made.compose("down", "-v", "--timeout", "1")
        shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture
def fresh(stack: Stack) -> Iterator[Stack]:
    """The stack without a backup."""
    shutil.rmtree(stack.dest, ignore_errors=True)
    yield stack
    assert stack.throw_aways() == [] and stack.sessions() == 0


def eventually(question: Any, seconds: float = 15.0) -> bool:
    until = time.monotonic() + seconds
    while not question() and time.monotonic() < until:
        time.sleep(0.2)
    return bool(question())


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


@pytest.mark.matrix
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


@pytest.mark.matrix
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


ORDERS = "SELECT count(*) FROM orders"
DATABASES = "SELECT datname FROM pg_database WHERE datname LIKE 'shop%' ORDER BY 1"


@pytest.fixture
def one_database(fresh: Stack) -> Iterator[Stack]:
    """The stack with what a restoration has left taken away after it."""
    before = fresh.sql(ORDERS)
    yield fresh
    for name in fresh.sql(DATABASES).split():
        if name != "shop":
            fresh.sql(f'DROP DATABASE "{name}"')
    fresh.sql("DELETE FROM orders WHERE note = 'written since'")
    assert fresh.sql(ORDERS) == before


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


@pytest.mark.matrix
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


@pytest.mark.matrix
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


def playbook(stack: Stack, name: str = "backup", **variables: Any) -> subprocess.CompletedProcess[str]:
    """A playbook on an app that lies as an update leaves it."""
    root = stack.folder / "srv"
    (root / "releases").mkdir(parents=True, exist_ok=True)
    if not (root / "current").is_symlink():
        (root / "current").symlink_to(stack.folder)
    known = {"app_name": NAME, "app_root": str(root), "app_repo": "unused", "backup_dest": str(stack.dest), **variables}
    argv = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        f"evenkeel.deploy.{name}",
        "-i",
        "localhost,",
        "-c",
        "local",
    ]
    return subprocess.run(
        [*argv, "-e", f"ansible_python_interpreter={sys.executable}", "-e", json.dumps(known)],
        cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip


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


@pytest.mark.matrix
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
