# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL of our own in memory, for tests that need no app around it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.bed.shop import LABEL, run

#: Of the user `postgres`, who may do everything.
PASSWORD = "measured"


class Postgres:
    """One server, and statements that the test process itself sends to it.

    :ivar container: the name of its container, whose socket asks for no password.
    :ivar address: where it listens. A published port would lead through a proxy, which doubles the time of each statement.
    """

    def __init__(self, container: str) -> None:
        self.container = container
        inspected = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        self.address = run(["docker", "inspect", "--format", inspected, container]).strip()
        # To begin a session takes 20 ms, a statement less than one.
        self._sessions: dict[str, psycopg.Connection[tuple[Any, ...]]] = {}

    def connect(self, database: str, **more: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Begin a session."""
        return psycopg.connect(host=self.address, user="postgres", password=PASSWORD, dbname=database, **more)

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement in a transaction of its own, and return its rows."""
        if database not in self._sessions:
            # A prepared statement would outlive the columns that it was prepared for.
            self._sessions[database] = self.connect(database, autocommit=True, prepare_threshold=None)
        found = self._sessions[database].execute(statement.encode())
        return found.fetchall() if found.description else []

    def make(self, database: str, like: str = "template1") -> None:
        """Make a database anew, as a copy of another one; nobody may be connected to that."""
        for name in (database, like):
            self.disconnect(name)
        self.sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        self.sql(f"CREATE DATABASE {database} TEMPLATE {like}")

    def has(self, database: str) -> bool:
        """Whether there is such a database."""
        return bool(self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"))

    def disconnect(self, database: str) -> None:
        """End the test process's own session in a database."""
        if database in self._sessions:
            self._sessions.pop(database).close()

    def close(self) -> None:
        """End all sessions of the test process."""
        for database in list(self._sessions):
            self.disconnect(database)


@contextmanager
def postgres(name: str) -> Iterator[Postgres]:
    """Start a PostgreSQL 17 in memory; it is removed at the end."""
    # With the pid: each worker of a test run has its own.
    container = f"evenkeel-{name}-{os.getpid()}"
    argv = ["docker", "run", "-d", "--name", container, "--label", f"{LABEL}={name}"]
    # One round of hashing: with the usual 4096 client and server compute for 10 ms at each new connection.
    argv += ["-e", f"POSTGRES_PASSWORD={PASSWORD}", "-e", "POSTGRES_INITDB_ARGS=-c scram_iterations=1"]
    argv += ["--tmpfs", "/var/lib/postgresql/data", "evenkeel/postgres:17", "postgres"]
    for setting in ("fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=4GB"):
        argv += ["-c", setting]
    run(argv)
    try:
        _await_server(container)
        server = Postgres(container)
        yield server
        server.close()
    finally:
        run(["docker", "rm", "-fv", container])


def _await_server(container: str) -> None:
    # On TCP: while the image makes its cluster, a server answers on the socket that is about to end.
    ready = ["docker", "exec", container, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "postgres"]
    for _turn in range(300):
        if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.2)
    raise RuntimeError(f"{container} does not answer: {run(['docker', 'logs', '--tail', '20', container])}")
