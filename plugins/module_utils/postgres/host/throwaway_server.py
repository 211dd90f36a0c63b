# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server that is thrown away: no network, bounded memory, its data in a volume that goes with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...engine.confined import MAKES_CLUSTER, NO_NEW_PRIVILEGES, OF_POSTGRES
from ...engine.host.engine import Engine
from ..programs import role_statements
from .server import PSQL, PostgresFailed, Server, inventory_of

LABEL = "evenkeel.verify"
_PATIENCE = 120.0
# What is thrown away need not survive a power cut, and has little memory.
_SETTINGS = (
    "fsync=off", "full_page_writes=off", "synchronous_commit=off", "wal_level=minimal", "max_wal_senders=0",
    "shared_buffers=32MB", "maintenance_work_mem=64MB", "max_connections=20", "autovacuum=off",
    "max_parallel_workers_per_gather=0", "max_parallel_maintenance_workers=0",
)  # fmt: skip


def sweep(engine: Engine, project: str) -> None:
    """Take away what a killed run left."""
    engine.remove_labelled(f"{LABEL}={project}", lambda name: False)


@contextlib.contextmanager
def thrown_away(
    engine: Engine, inspection: Mapping[str, Any], project: str, user: str, memory: int, preload: str
) -> Iterator[Server]:
    """A server of the same image as a container, for as long as the block runs.

    :param memory: bytes it may take; ``preload``: ``shared_preload_libraries`` of the other.
    :raises PostgresFailed: it does not start.
    """
    name = f"{project}-verify-{uuid.uuid4().hex[:12]}"
    environment = [str(e) for e in (inspection.get("Config") or {}).get("Env") or []]
    kept = [entry for entry in environment if entry.startswith(("POSTGRES_INITDB_ARGS=", "TZ="))]
    # Nobody reaches it but by a socket inside: it needs no password, and so has none to hide.
    kept += [f"POSTGRES_USER={user}", "POSTGRES_DB=postgres", "POSTGRES_HOST_AUTH_METHOD=trust"]
    argv = ["docker", "run", "--detach", "--name", name, "--label", f"{LABEL}={project}", "--network", "none"]
    argv += ["--memory", str(memory), "--memory-swap", str(memory), "--cpu-shares", "128", "--pull", "never"]
    argv += ["--cap-drop", "ALL", "--security-opt", NO_NEW_PRIVILEGES, "--pids-limit", str(OF_POSTGRES)]
    for capability in MAKES_CLUSTER:
        argv += ["--cap-add", capability]
    for entry in kept:
        argv += ["--env", entry]
    argv += [str(inspection["Image"]), "postgres"]
    settings = [*_SETTINGS, *([f"shared_preload_libraries={preload}"] if preload else [])]
    for setting in settings:
        argv += ["-c", setting]
    try:
        made = _start(argv)
        server = Server(made, user, "template1")
        _await(engine, server)
        yield server
    finally:
        engine.remove_labelled(f"{LABEL}={project}", lambda other: other != name)


def _start(argv: Sequence[str]) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "DOCKER_CONTEXT"}
    environment.setdefault("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        done = subprocess.run(
            list(argv), capture_output=True, text=True, check=False, timeout=_PATIENCE, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PostgresFailed(f"a server to restore into could not be started: {type(error).__name__}") from error
    if done.returncode != 0:
        raise PostgresFailed("a server to restore into could not be started", done.stderr)
    return done.stdout.strip()


def _await(engine: Engine, server: Server) -> None:
    """Wait until it answers on TCP: while an image makes its cluster, another one does on the socket alone."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        state = engine.inspect(server.container).get("State") or {}
        if not state.get("Running"):
            killed = " (its memory was not enough)" if state.get("OOMKilled") else ""
            raise PostgresFailed(f"the server to restore into ended{killed}", engine.logs(server.container, 5))
        code, _said = engine.run_inside(
            server.container, ["pg_isready", "--quiet", "--host", "127.0.0.1", "--username", server.user]
        )
        if code == 0:
            return
        time.sleep(0.3)
    raise PostgresFailed(f"the server to restore into did not answer in {_PATIENCE:g} s")


def restore(
    server: Server, path: str, database: str, roles: Sequence[Mapping[str, Any]], timeout: float
) -> dict[str, Any]:
    """Restore a dump into such a server, and tell what is in it then.

    :param database: the one that the dump is of, empty where nobody wants to know what is in it.
    :raises PostgresFailed: it cannot be restored.
    """
    statements = "\n".join(role_statements(roles, [server.user]))
    psql = [*server.words(*PSQL), "--dbname", "template1"]
    if statements:
        server.run(psql, statements.encode())
    # Also where it is called as one that is there from the beginning.
    program = ["pg_restore", "--exit-on-error", "--clean", "--if-exists", "--create", "--no-tablespaces"]
    if not roles:
        # Whose it was nobody has noted.
        program += ["--no-owner", "--no-privileges"]
    with open(path, "rb") as stream:
        server.run([*server.words(*program), "--dbname", "template1"], stream, timeout)
    return inventory_of(Server(server.container, server.user, database)) if database else {}
