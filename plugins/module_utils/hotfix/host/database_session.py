# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One transaction in a PostgreSQL server, spoken to by its own ``psql``: what is asked next depends on what was answered.

It ends when we do, however: ``psql`` then comes to the end of its input, and the server rolls back.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from ...postgres.host.server import PSQL, PostgresFailed, Server
from .. import database_objects
from ..database import FUNCTION, TRIGGER, Change, Named
from ..database_objects import Thing
from . import database_catalogue as catalogue

# What the server says of a statement: in each language the code stands before the words.
_COMPLAINT = re.compile(r"^(?:psql:\S*:\d+: )?\S+?:\s+([0-9A-Z]{5}): (.*)$", re.M)
_DETAIL = re.compile(r"^DETAIL:\s+(.*(?:\n(?![A-Z]+: ).*)*)", re.M)
_BUSY = ("55P03", "40P01", "40001")
_DEPENDS = "2BP01"
#: Seconds for each lock after the first: whoever waits for that one may not find out that we wait for him.
_NEXT_LOCK = 0.2


class Failed(Exception):
    """The server refused a statement; nothing of the transaction is left.

    :ivar code: the server's own (SQLSTATE), empty where the session ended.
    """

    def __init__(self, said: str, code: str = "", doing: str = "") -> None:
        super().__init__(f"{doing}: {said}" if doing else said)
        self.code = code
        self.said = said

    @property
    def busy(self) -> bool:
        """Whether it may go well the next time: a lock was not given, or somebody changed the same thing at the same time."""
        return self.code in _BUSY or (self.code == "XX000" and "concurrently" in self.said)


def _understood(complaints: str) -> tuple[str, str]:
    """Code and words of the first complaint; what depends on what is told as well, rows and statements never."""
    found = _COMPLAINT.search(complaints)
    if not found:
        lines = [line.strip() for line in complaints.splitlines() if line.strip()]
        return "", (lines[0] if lines else "the session ended")[:300]
    code, said = found.groups()
    detail = _DETAIL.search(complaints) if code == _DEPENDS else None
    more = "; ".join(line.strip() for line in detail.group(1).splitlines()[:5]) if detail else ""
    return code, f"{said[:300]}{f' ({more[:500]})' if more else ''}"


def _place(named: Sequence[Named], report: Mapping[str, Any]) -> int:
    kind = "function" if report["kind"] == "procedure" else report["kind"]
    return next((i for i, n in enumerate(named) if (n.kind, n.name) == (kind, report["name"])), len(named))


class Transaction:
    """See the module's text; leaving it without :meth:`commit` rolls back.

    :param lock_timeout: seconds that the first lock is waited for.
    :param statement_timeout: seconds that each statement may take.
    """

    def __init__(self, server: Server, lock_timeout: float, statement_timeout: float, timeout: float) -> None:
        self._server, self._timeout = server, timeout
        self._lock_timeout, self._statement_timeout = lock_timeout, statement_timeout
        self._errors: list[bytes] = []

    def __enter__(self) -> Transaction:
        words = [*self._server.words(*PSQL), "--set", "VERBOSITY=verbose", "--dbname", self._server.database]
        try:
            self._process = self._server.begin(words, subprocess.PIPE, name="evenkeel-hotfix")
        except PostgresFailed as error:
            raise Failed(str(error)) from error
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._timer = threading.Timer(self._timeout, self._process.kill)
        self._timer.daemon = True
        self._timer.start()
        try:
            self.ask(catalogue.begin(self._lock_timeout, self._statement_timeout), "BEGIN")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in self._process.stderr or ():
                if len(self._errors) < 200:
                    self._errors.append(line)

    def _end(self) -> None:
        """Let it come to its end: an open transaction is rolled back before the locks could be missed."""
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._timer.cancel()
        self._process.kill()
        self._process.wait()

    def ask(self, script: str, doing: str = "") -> list[dict[str, Any]]:
        """Run statements and return the lines of JSON that they print.

        :param doing: what is done, for the message.
        :raises Failed: the server refused one, or is gone.
        """
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(f"{script}SELECT '{catalogue.END}';\n".encode())
                self._process.stdin.flush()
            return [json.loads(line) for line in self._answer() if line.startswith("{")]
        except (BrokenPipeError, EOFError):
            self._process.wait()
            self._reader.join(5)
            code, said = _understood(b"".join(self._errors).decode("utf-8", "replace"))
            raise Failed(said, code, doing) from None

    def _answer(self) -> Iterator[str]:
        for line in self._process.stdout or ():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if text == catalogue.END:
                return
            yield text
        raise EOFError

    # -- what a hotfix does in it ---------------------------------------------------------------------

    def things(self, named: Sequence[Named]) -> tuple[dict[str, Thing], dict[str, int]]:
        """What there is of these names, and the numbers by which the catalogue knows it."""
        report = self.ask(catalogue.things(named), "look at what is there")
        # In the order of the statements, in which one may need another.
        report.sort(key=lambda t: _place(named, t))
        found = {database_objects.thing(t).key: t for t in report}
        return {k: database_objects.thing(t) for k, t in found.items()}, {k: int(t["oid"]) for k, t in found.items()}

    def lock(self, named: Sequence[Named]) -> list[str]:
        """Lock views and the tables of triggers as strongly as any of the steps needs it: a lock that grows can be met halfway.

        :returns: these tables.
        """
        if sum(n.kind != FUNCTION for n in named) > 1:
            self._lock_views(named)
        if not any(n.kind == TRIGGER for n in named):
            return []
        found = self.ask(catalogue.tables(named), "look for the tables of the triggers")
        # Who locks a view locks the tables below it as well, which nobody here has to do with.
        tables = [str(t["table"]) for t in found if not t["view"]]
        for number, table in enumerate(tables):
            more = " NOWAIT" if number else ""
            self.ask(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE{more};\n", f"wait for {table}")
        if tables:
            self.hurry()
        return [str(t["table"]) for t in found]

    def _lock_views(self, named: Sequence[Named]) -> None:
        """Lock views before what is below them, as who reads one does.

        In the other order each reader who comes meanwhile has the view and waits for the table, and we have the table.
        """
        for found in self.ask(catalogue.views(named), "look for the views"):
            # LOCK TABLE would take the tables below it too; this takes the view alone, and changes nothing.
            view = found["view"]
            self.ask(f"ALTER VIEW {view} OWNER TO {found['owner']};\n", f"wait for {view}")
            self.hurry()

    def hurry(self) -> None:
        """Wait for no further lock as long as for the first: within a second nobody looks whether two wait for each other."""
        self.ask(catalogue.wait_at_most(min(_NEXT_LOCK, self._lock_timeout)))

    def change(self, changes: Sequence[Change]) -> None:
        """Run the statements of a hotfix as the app's own session would.

        :raises Failed: one was refused.
        """
        self.ask(catalogue.AS_THE_APP)
        for change in changes:
            what = ", ".join(map(str, change.named))
            self.ask(catalogue.run(change.text), f"line {change.line} ({what})")
            if change.locks:
                self.hurry()

    def become(self, named: Sequence[Named], now: Mapping[str, Thing], wanted: Mapping[str, Thing]) -> dict[str, Thing]:
        """Make one state the other, owners and grants included, and return what there is then."""
        # What was there comes back as it was, even where its text would not be taken today.
        self.ask(f"{catalogue.AS_THE_APP}SET LOCAL check_function_bodies = off;\n")
        for statement in database_objects.leading(now, wanted):
            self.ask(catalogue.run(statement), statement.split("\n", 1)[0][:120])
            if "FUNCTION" not in statement[:30]:
                self.hurry()
        return self.dress(named, wanted)

    def dress(self, named: Sequence[Named], wanted: Mapping[str, Thing]) -> dict[str, Thing]:
        """Give what is there its owners, grants and comments, and return what there is then."""
        now = self.things(named)[0]
        words = database_objects.dressing(now, wanted)
        for statement in words:
            self.ask(catalogue.run(statement), statement[:120])
        return self.things(named)[0] if words else now

    def owner(self) -> str:
        """To whom what is new should belong, quoted; empty where nobody is known."""
        found = self.ask(catalogue.OWNER.replace("SELECT", f"{catalogue.EVERYTHING_NAMED}SELECT", 1))
        return str(found[0]["owner"]) if found else ""

    def strangers(self, oids: Mapping[str, int], tables: Sequence[str]) -> list[str]:
        """What was changed beside what was named."""
        return [str(t["stranger"]) for t in self.ask(catalogue.strangers(oids, tables), "look at what was changed")]

    def checked(self, query: str) -> str:
        """What the query of a check says."""
        report = self.ask(catalogue.check(query), "the check")
        return str(report[0]["check"])

    def commit(self) -> None:
        """Make it so."""
        self.ask("COMMIT;\n", "COMMIT")
