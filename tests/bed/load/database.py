# SPDX-License-Identifier: GPL-3.0-or-later
"""What the real database holds, read by `psql` inside its container, and the bounded wait for the tasks."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from .audit import Audit, Confirmation, Heartbeat, OrderRow, audit
from .orders import Acknowledged

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")

Runner = Callable[[Sequence[str]], str]


class DatabaseError(RuntimeError):
    """The database could not be read."""


def _run(argv: Sequence[str]) -> str:
    """The output of a command that must succeed within 60 s."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DatabaseError(f"{argv[0]}: {error}") from error
    if done.returncode:
        raise DatabaseError(f"psql in {argv[2]} failed (rc {done.returncode}): {done.stderr.strip()[-500:]}")
    return done.stdout


@dataclass(frozen=True)
class Database:
    """The shop's database: `container` of PostgreSQL, and the user and database name in there."""

    container: str
    user: str
    name: str
    docker: str = "docker"
    run: Runner = _run

    def __post_init__(self) -> None:
        """Names that could pass for an option of docker or psql are refused."""
        for value in (self.container, self.user, self.name):
            if not _NAME.match(value):
                raise DatabaseError(f"{value!r} cannot be the name of a container, user or database")

    def argv(self, select: str) -> list[str]:
        """The command that copies the rows of a SELECT out as CSV."""
        psql = ["psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-U", self.user, "-d", self.name]
        return [self.docker, "exec", self.container, *psql, "-c", f"COPY ({select}) TO STDOUT (FORMAT csv)"]

    def rows(self, select: str) -> list[list[str]]:
        """The rows of a SELECT."""
        return list(csv.reader(io.StringIO(self.run(self.argv(select)))))

    def orders(self) -> list[OrderRow]:
        """All orders."""
        return [OrderRow(int(i), reference) for i, reference in self.rows("SELECT id, reference FROM tours_order")]

    def confirmations(self) -> list[Confirmation]:
        """All confirmations: one for each run of an order's task."""
        return [Confirmation(int(row[0])) for row in self.rows("SELECT order_id FROM tours_orderconfirmation")]

    def heartbeats(self) -> list[Heartbeat]:
        """All heartbeats of the periodic task."""
        rows = self.rows("SELECT extract(epoch FROM at), slot FROM tours_heartbeat ORDER BY at")
        return [Heartbeat(float(at), slot) for at, slot in rows]


@dataclass(frozen=True)
class Waited:
    """The last audit, and how many seconds went by until it was complete (or the patience was over)."""

    audit: Audit
    seconds: float


def wait_for_tasks(
    database: Database,
    acknowledged: Sequence[Acknowledged],
    unknown: Collection[str],
    patience: float = 60.0,
    poll: float = 0.5,
    settle: float = 1.0,
) -> Waited:
    """Audit until no task is missing any more, at most for `patience` seconds; look again every `poll` seconds.

    Then once more after `settle` seconds, for a task that is being run twice shows its second run last.
    """
    begun = time.monotonic()
    while True:
        # Confirmations first: a row and its confirmation that arrive between the two reads would seem lost.
        confirmations = database.confirmations()
        verdict = audit(acknowledged, unknown, database.orders(), confirmations)
        waited = time.monotonic() - begun
        if not verdict.lost_tasks or waited >= patience:
            break
        time.sleep(min(poll, max(0.0, patience - waited)))
    if settle:
        time.sleep(settle)
        confirmations = database.confirmations()
        verdict = audit(acknowledged, unknown, database.orders(), confirmations)
    return Waited(verdict, waited)
