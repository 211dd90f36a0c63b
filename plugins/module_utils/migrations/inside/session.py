# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: one at a time, never waiting long for a lock, and saying who is in the way.

The advisory lock is polled: whoever waits inside ``pg_advisory_lock()`` has a snapshot, for which a CREATE INDEX
CONCURRENTLY of the one that works waits, for ever.  It belongs to the very session that runs the migrations, so that
it lasts exactly as long as that works.
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

LOCK = int.from_bytes(b"evenkeel", "big")
NOT_GIVEN = ("55P03", "40P01")
#: How much longer a concurrent build may wait: nobody waits behind it.
PATIENCE = 30
Result = TypeVar("Result")
_WRITING = threading.Lock()
# To the last quote: a value may have some in it.
_QUOTED = re.compile(r'".*"', re.DOTALL)
_WORDS = re.compile(r"^[A-Za-z_\s\".,*]+")
_BLOCKERS = """
SELECT b.pid, coalesce(b.application_name, ''), coalesce(b.state, ''), coalesce(b.query, ''),
       coalesce(extract(epoch FROM now() - b.xact_start), 0)::float
FROM pg_stat_activity w, unnest(pg_blocking_pids(w.pid)) AS p(pid) JOIN pg_stat_activity b ON b.pid = p.pid
WHERE w.pid = %s
"""
_HOLDER = """
SELECT a.pid, coalesce(a.application_name, ''), coalesce(a.state, ''), '',
       coalesce(extract(epoch FROM now() - a.backend_start), 0)::float
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = %s AND l.objid = %s
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_BUILDING = """
SELECT phase, CASE blocks_total WHEN 0 THEN 0 ELSE 100 * blocks_done / blocks_total END
FROM pg_stat_progress_create_index WHERE pid = %s
"""


class Stopped(Exception):
    """It does not go on, and why: a kind that the module knows, with what it says of it."""

    def __init__(self, kind: str, **report: Any) -> None:
        super().__init__(kind)
        self.reported = {"kind": kind, **report}


def say(text: str, step: str = "migrate", seconds: float = 0.0) -> None:
    """A line for whoever watches."""
    with _WRITING:
        sys.stdout.write("\nEVENKEEL+ " + json.dumps({"step": step, "seconds": round(seconds, 3), "text": text}) + "\n")
        sys.stdout.flush()


def sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's code for what went wrong, empty where it was not PostgreSQL."""
    while error is not None:
        code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if code:
            return str(code)
        error = error.__cause__
    return ""


def words_of(error: BaseException) -> str:
    """What went wrong, in one line; of the database's words only those that quote no row."""
    inner: BaseException | None = error
    while inner is not None:
        diag = getattr(inner, "diag", None)
        primary = getattr(diag, "message_primary", None)
        if primary:
            return _without_values(" ".join(str(primary).split()), sqlstate(inner), getattr(diag, "table_name", None))
        inner = inner.__cause__
    return without_passwords(f"{type(error).__name__}: {' '.join(str(error).split())}")[:300]


def _without_values(words: str, code: str, table: str | None) -> str:
    """PostgreSQL's words: of errors of data (class 22) without the value that they quote, and with the table."""
    report = _QUOTED.sub('"…"', words) if code.startswith("22") else words
    return (report if not table or table in report else f"{report} (table {table})")[:300]


def without_passwords(text: str) -> str:
    """A text without any password of the databases in the settings."""
    from django.conf import settings

    for database in settings.DATABASES.values():
        for secret in (database.get("PASSWORD"), (database.get("OPTIONS") or {}).get("password")):
            text = text.replace(str(secret), "…") if secret else text
    return text


def first_words(query: str) -> str:
    """How a statement begins, up to the first thing that may be a value."""
    found = _WORDS.match(" ".join(query.split()))
    return found.group(0).strip()[:80] if found else ""


def _named(row: tuple[Any, ...]) -> str:
    pid, application, state, query, seconds = row
    words = first_words(query)
    doing = f", {state}" if state and state != "active" else ""
    return f"{application or 'a session without a name'} (pid {pid}{doing}, for {seconds:.0f} s)" + (
        f": {words} …" if words else ""
    )


class Session:
    """Django's connection to one database, with the limits that hold while migrations run.

    :param lock_timeout: milliseconds that one waiting for a lock may take.
    :param retries: how often what was not given its lock is tried again.
    """

    def __init__(self, connection: Any, lock_timeout: int, retries: int) -> None:
        self.connection, self.lock_timeout, self.retries = connection, lock_timeout, retries
        self.in_the_way = ""
        self._sleep: Callable[[float], None] = time.sleep

    # -- limits ---------------------------------------------------------------------------------------------------

    def limit(self) -> None:
        """Set the limit on this connection, and on each that Django makes after it: PGOPTIONS may be ignored."""
        from django.db.backends.signals import connection_created

        def on_created(connection: Any, **_more: Any) -> None:
            if connection.alias == self.connection.alias and connection.vendor == "postgresql":
                self._set(connection, self.lock_timeout)

        self._receiver = on_created  # Django keeps weak references
        connection_created.connect(on_created, weak=False)
        self.connection.ensure_connection()
        self._set(self.connection, self.lock_timeout)
        self.verify()

    @staticmethod
    def _set(connection: Any, milliseconds: int, local: bool = False) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET {'LOCAL ' if local else ''}lock_timeout = '{int(milliseconds)}ms'")

    def verify(self) -> None:
        """The limit really holds where the migrations run.

        :raises Stopped: it does not.
        """
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT setting::int FROM pg_settings WHERE name = 'lock_timeout'")
            found = cursor.fetchone()[0]
        if found != self.lock_timeout:
            raise Stopped("limit", found=found, wanted=self.lock_timeout)

    def within(self) -> None:
        """The limit for the transaction that has begun, whatever a pooler has made of the session."""
        self._set(self.connection, self.lock_timeout, local=True)

    # -- one at a time --------------------------------------------------------------------------------------------

    def _try(self) -> bool:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            return bool(cursor.fetchone()[0])

    def hold(self, wait: float) -> None:
        """Be the only one that migrates this database.

        :raises Stopped: somebody else still does after ``wait`` seconds.
        """
        until, report = time.monotonic() + wait, 0.0
        while not self._try():
            who = (
                "; ".join(map(_named, self._rows(_HOLDER, LOCK >> 32, LOCK & 0xFFFFFFFF)))
                or "a session that just ended"
            )
            if time.monotonic() > until:
                raise Stopped("busy", who=who)
            if time.monotonic() - report > 10:
                say(f"waits for another migration of this database: {who}", "wait")
                report = time.monotonic()
            self._sleep(0.5)

    def still_hold(self) -> None:
        """The lock is still ours, whatever became of the connection.

        :raises Stopped: the connection was lost, and somebody else works.
        """
        if not self._try():
            raise Stopped("busy", who="another migration, which began when the connection was lost")

    def release(self) -> None:
        """Give the lock back: a pool may give the session to somebody else."""
        if self.connection.connection is not None and not self.connection.in_atomic_block:
            with self.connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock_all()")

    def _rows(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, arguments)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    # -- tried again ----------------------------------------------------------------------------------------------

    def persist(self, what: str, attempt: Callable[[], Result]) -> Result:
        """Do what can be done again as a whole until it is given its locks.

        :raises Stopped: it was not, in as many attempts as there may be.
        """
        from django.db import DatabaseError

        self.in_the_way = ""
        for count in range(self.retries + 1):
            began = time.monotonic()
            try:
                with Watch(self, what):
                    return attempt()
            except DatabaseError as error:
                if sqlstate(error) not in NOT_GIVEN:
                    raise
                if count == self.retries:
                    raise Stopped("lock", what=what, attempts=count + 1, who=self.in_the_way) from error
                pause = min(15.0, 0.25 * 2**count) * random.uniform(0.5, 1.5)
                behind = f", behind {self.in_the_way}" if self.in_the_way else ""
                say(
                    f"{what}: was not given its lock{behind}; tries again in {pause:.1f} s",
                    "wait",
                    time.monotonic() - began,
                )
                self._sleep(pause)
        raise AssertionError("not reached")


class Watch:
    """Looks from a connection of its own at what the working one waits for."""

    def __init__(self, session: Session, what: str) -> None:
        self._session, self._what = session, what
        self._ended = threading.Event()
        with session.connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            self._pid = cursor.fetchone()[0]
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join(5.0)

    def _look(self) -> None:
        from django.db import DatabaseError

        # What ends at once needs no second connection.
        if self._ended.wait(0.1):
            return
        beside = self._session.connection.copy()
        try:
            began = report = time.monotonic()
            while True:
                with beside.cursor() as cursor:
                    cursor.execute(_BLOCKERS, [self._pid])
                    blockers = cursor.fetchall()
                    cursor.execute(_BUILDING, [self._pid])
                    built = cursor.fetchone()
                if blockers:
                    self._session.in_the_way = "; ".join(map(_named, blockers[:3]))
                if time.monotonic() - report > 5 and (blockers or built):
                    waits = f"waits for {self._session.in_the_way}" if blockers else f"{built[0]}, {built[1]} %"
                    say(f"{self._what}: {waits}", "wait", time.monotonic() - began)
                    report = time.monotonic()
                if self._ended.wait(0.25):
                    return
        except DatabaseError:
            return  # no further connection is given: then nobody is named
        finally:
            beside.close()
