# SPDX-License-Identifier: GPL-3.0-or-later
"""A project that is a database with something of everything in it, and a folder for its backups."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import postgres_backup
from tests.bed.shop import BEDS, LABEL, ROOT, WORKER, run

NAME = f"evenkeel-backup-{WORKER}"
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
        return postgres_backup.call(self.parameters(**more), check)

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
            "import json, sys; from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import postgres_backup; "
            "postgres_backup.call(json.loads(sys.argv[1]), False)"
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


def playbook(stack: Stack, name: str = "backup", **variables: Any) -> subprocess.CompletedProcess[str]:
    """A playbook on an app that lies as an update leaves it."""
    root = stack.folder / "srv"
    (root / "releases").mkdir(parents=True, exist_ok=True)
    if not (root / "current").is_symlink():
        (root / "current").symlink_to(stack.folder)
    known = {
        "app_name": NAME, "app_root": str(root), "app_repo": "unused", "app_state_dir": str(root / ".evenkeel"),
        "backup_dest": str(stack.dest), **variables,
    }  # fmt: skip
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
        cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=900,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
