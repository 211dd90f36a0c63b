# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL of our own in memory, for tests that need no app around it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bed.shop import LABEL, run

#: Of the user `postgres`, who may do everything.
PASSWORD = "measured"


@contextmanager
def postgres_container(name: str) -> Iterator[str]:
    """A PostgreSQL 17 of our own in memory; gives its container's name, of which the socket asks for no password."""
    # With the pid: each worker of a test run has its own.
    container = f"evenkeel-{name}-{os.getpid()}"
    argv = ["docker", "run", "-d", "--name", container, "--label", f"{LABEL}={name}"]
    argv += ["-e", f"POSTGRES_PASSWORD={PASSWORD}", "-p", "127.0.0.1::5432"]
    argv += ["--tmpfs", "/var/lib/postgresql/data", "evenkeel/postgres:17", "postgres"]
    run([*argv, "-c", "fsync=off", "-c", "full_page_writes=off"])
    try:
        for _turn in range(100):
            ready = ["docker", "exec", container, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "postgres"]
            if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.2)
        yield container
    finally:
        run(["docker", "rm", "-fv", container])


def port_of(container: str) -> str:
    """The port of this machine that the server in a container listens on."""
    return run(["docker", "port", container, "5432"]).strip().rsplit(":", 1)[1]


@contextmanager
def postgres(name: str) -> Iterator[str]:
    """A PostgreSQL likewise; gives its port on this machine."""
    with postgres_container(name) as container:
        yield port_of(container)
