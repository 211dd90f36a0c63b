# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL server in a folder that is thrown away, where this machine has its programs; no container."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.host.postgres import Server

_FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
BIN = _FOUND[-1].parent if _FOUND else None


@dataclass(frozen=True)
class Local(Server):
    """A server that is spoken to without an engine."""

    folder: str = ""
    begun: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def begin(
        self,
        words: Sequence[str],
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        detached: bool = False,
        name: str = "evenkeel-backup",
    ) -> subprocess.Popen[bytes]:
        own = {"PGAPPNAME": name, "PGCLIENTENCODING": "UTF8", "PGHOST": self.folder}
        pipe = subprocess.PIPE
        argv = [f"{BIN}/{words[0]}" if words[0] != "psql" else "psql", *words[1:]]
        made = subprocess.Popen(argv, stdin=stdin, stdout=pipe, stderr=pipe, env={**os.environ, **own})
        self.begun.append(made)
        return made

    def sql(self, text: str, user: str = "", **variables: Any) -> str:
        """What statements print, each in a transaction of its own."""
        argv = [
            "psql",
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            self.folder,
            "-U",
            user or self.user,
            "-d",
            self.database,
        ]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def _as_somebody() -> Mapping[str, Any]:
    """The server does not run as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def running() -> Iterator[Local]:
    """A server with an empty database ``shop`` of a role ``shop``; ``postgres`` may do everything."""
    # Folders of pytest are closed to whoever is not its user, and the server must not be root.
    at = Path(tempfile.mkdtemp(prefix="evenkeel-postgres-"))
    who = _as_somebody()
    if who:
        shutil.chown(at, "nobody", "nogroup")
    data = at / "data"
    words = [f"{BIN}/initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(words, check=True, capture_output=True, cwd="/", **who)
    options = (
        f"-k {at} -c listen_addresses= -c fsync=off -c full_page_writes=off -c shared_buffers=16MB -c lc_messages=C"
    )
    start = [f"{BIN}/pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(at / "log"), "start"]
    subprocess.run(start, check=True, capture_output=True, cwd="/", **who)
    try:
        first = Local("", "postgres", "postgres", folder=str(at))
        first.sql("CREATE ROLE shop LOGIN; CREATE ROLE reader;")
        first.sql("CREATE DATABASE shop OWNER shop")
        yield Local("", "postgres", "shop", folder=str(at))
    finally:
        stop = [f"{BIN}/pg_ctl", "-D", str(data), "-m", "immediate", "stop"]
        subprocess.run(stop, check=False, capture_output=True, cwd="/", **who)
        shutil.rmtree(at, ignore_errors=True)
