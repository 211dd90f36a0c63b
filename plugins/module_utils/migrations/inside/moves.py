# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: rows are moved in batches, each committed together with how far it has come.

A batch ends where the app's generator yields.  What it yields is kept, and given to it when it begins anew: after a
kill, and after a batch that was not given its locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from .ledger import Ledger
from .session import Session, Stopped, say

#: The app's requests have the database for as long as a batch took, and at most for so many seconds.
LONGEST_PAUSE = 5.0


class Moving:
    """One ``RunPython`` whose function has ``evenkeel_batches``.

    :param place: app, name and index of its row, which is there and not ``done``.
    """

    def __init__(self, session: Session, ledger: Ledger, place: tuple[str, str, int], what: str) -> None:
        self.session, self.ledger, self.place, self.what = session, ledger, place, what
        row = ledger.row(*place) or {}
        self._state, self._detail = str(row.get("state") or ""), dict(row.get("detail") or {})
        self._batches: Iterator[Any] | None = None

    def run(self, operation: Any, apps: Any) -> None:
        """Move everything that is left.

        :raises Stopped: a batch was not given its locks, or yields what cannot be kept.
        """
        from django.db import router

        connection, app = self.session.connection, self.place[0]
        if not router.allow_migrate(connection.alias, app, **getattr(operation, "hints", {})):
            self.ledger.turn(*self.place, "done")
            return
        began = report = time.monotonic()
        with connection.schema_editor(atomic=False) as editor:

            def anew() -> Iterator[Any]:
                found: Iterator[Any] = iter(operation.code.evenkeel_batches(apps, editor, self._detail.get("after")))
                return found

            while True:
                started = time.monotonic()
                self.session.still_hold()
                if self.session.persist(self.what, lambda: self._batch(anew)):
                    break
                took = time.monotonic() - started
                if time.monotonic() - report > 5:
                    say(f"{self.what}: {self._detail['batches']} batches", "between", time.monotonic() - began)
                    report = time.monotonic()
                self.session._sleep(min(LONGEST_PAUSE, took))
        count = self._detail.get("batches", 0)
        say(f"{self.what}: {count} batches, all that there were", "between", time.monotonic() - began)

    def _batch(self, anew: Callable[[], Iterator[Any]]) -> bool:
        """One batch and how far it has come in one transaction; True where there was none left."""
        from django.db import transaction

        try:
            with transaction.atomic(using=self.session.connection.alias):
                self.session.within()
                self._batches = anew() if self._batches is None else self._batches
                ended = False
                try:
                    after = next(self._batches)
                except StopIteration:
                    ended = True
                detail = self._detail if ended else self._further(after)
                if not self.ledger.turn(*self.place, "done" if ended else self._state, detail, was=self._state):
                    raise Stopped("changed", what=self.what)
        except BaseException:
            # A generator that has raised is at its end.
            self._batches = None
            raise
        self._detail = detail
        return ended

    def _further(self, after: Any) -> dict[str, Any]:
        if not isinstance(after, (str, int, float, list, dict, type(None))):
            raise Stopped(
                "failed",
                words=f"evenkeel_batches yields a {type(after).__name__}, which cannot be kept: yield a number or str",
            )
        if after is not None and after == self._detail.get("after"):
            raise Stopped("failed", words="evenkeel_batches yields the same place twice, so it would never end")
        return {**self._detail, "after": after, "batches": int(self._detail.get("batches", 0)) + 1}
