# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: migrations are taken back, the last one first, and never blindly.

What was put off and has not been run is not taken back: there is nothing of it.  Each migration with its rows and
Django's record is one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .. import expansion
from . import bridges
from .contract import lossless, states
from .expand import Key, Run, call_migrate, key_of, operations_of, said
from .session import Stopped, say

#: Django's own operations whose way back restores no row: what they took is in a backup, or nowhere.
TAKERS = ("RemoveField", "DeleteModel")


def resolved(executor: Any, target: str) -> tuple[str, str | None]:
    """The target as Django's graph knows it; None for the name means that nothing of the app stays.

    :raises Stopped: there is no such migration.
    """
    app, _dot, name = target.partition(".")
    loader = executor.loader
    if app not in loader.migrated_apps:
        raise Stopped("target", words=f"{app} has no migrations")
    if name == "zero":
        return app, None
    exact = [k for k in loader.graph.nodes if k == (app, name)]
    found = exact or [k for k in loader.graph.nodes if k[0] == app and k[1].startswith(name)]
    if not name or len(found) != 1:
        raise Stopped(
            "target", words=f"{target} names {len(found) if name else 'no'} migrations; name app.migration or app.zero"
        )
    key: tuple[str, str | None] = found[0]
    return key


class Reverse:
    """What would be taken back in one database, and taking it back.

    :param order: ``target`` that stays, or ``only``: the migrations (``app.name``) that are taken back as far as they were run;
        ``allowed``: those that may lose data by it; ``nothing_written``: whether nobody has written rows since they were run;
        ``running``: the containers of the app, none of which may run code that was made for what is taken back.
    """

    def __init__(self, run: Run, executor: Any, order: Mapping[str, Any]) -> None:
        self.run_, self.session, self.ledger, self.executor = run, run.session, run.ledger, executor
        self.target: tuple[str, str | None] | None = None
        if order["target"]:
            self.target = resolved(executor, order["target"])
            # Where it was not run yet nothing of what comes after it was.
            self.plan = [m for m, backwards in executor.migration_plan([self.target]) if backwards]
        else:
            graph, applied = executor.loader.graph, executor.loader.applied_migrations
            every = executor.migration_plan(graph.leaf_nodes(), clean_start=True)
            named = set(order["only"] or ())
            self.plan = [m for m, _b in reversed(every) if said(m) in named and key_of(m) in applied]
        self.pairs = {key_of(m): found for m, found in states(executor, {key_of(m) for m in self.plan})}
        every = self.ledger.rows(settled=True)
        self.wholes = {(r["app"], r["name"]): r for r in every if r["index"] < 0}
        self.rows = {(r["app"], r["name"], r["index"]): r for r in every}
        self.allowed, self.running = set(order["allowed"]), order["running"]
        self.nothing_written = bool(order.get("nothing_written"))
        self.done: list[dict[str, Any]] = []

    def skipped(self, key: Key, index: int) -> bool:
        """Whether an operation was put off and never run."""
        row = self.rows.get((*key, index))
        return row is not None and row["state"] in ("deferred", "abandoned") and not row["detail"].get("batches")

    def look(self) -> list[dict[str, Any]]:
        """What would be taken back, each with what is in the way (``why``) and what only a backup has (``lost``)."""
        return [self._seen(migration) for migration in self.plan]

    def _seen(self, migration: Any) -> dict[str, Any]:
        key, whole = key_of(migration), self.wholes.get(key_of(migration))
        users = [str(c["container"]) for c in self.running if whole is None or expansion.knows(whole, c)]
        why, lost = "", []
        if users:
            why = f"{users[0]} runs code that may be made for it"
        why = why or self._needed_by(key)
        for index, operation in enumerate(operations_of(migration)):
            if self.skipped(key, index):
                continue
            row = self.rows.get((*key, index))
            if not operation.reversible:
                why = why or f"{operation.describe()} cannot be reversed"
            elif row is not None and row["state"] in ("between", "begun", "rising"):
                why = why or f"{operation.describe()} has begun and not ended: expand ends it"
            elif type(operation).__name__ in TAKERS:
                lost.append(f"{operation.describe()}: its values are in a backup only")
            elif (
                type(operation).__name__ in ("AddField", "CreateModel")
                and not self.nothing_written
                and not lossless(self.session.connection, operation, key[0], self.pairs[key][index])
            ):
                lost.append(f"{operation.describe()}: its rows would be lost")
        if not migration.atomic:
            why = why or "it is not atomic, and broken off in the middle nobody could go on from there"
        if lost and said(migration) not in self.allowed:
            why = why or f"it loses data ({'; '.join(lost)}): name {said(migration)} in allow_data_loss"
        return {"app": key[0], "name": key[1], "lost": lost, "why": why}

    def _needed_by(self, key: Key) -> str:
        """What is recorded, needs a migration, and stays."""
        loader, gone = self.executor.loader, {key_of(m) for m in self.plan}
        above = [k for k in loader.graph.backwards_plan(key) if k in loader.applied_migrations and k not in gone]
        return f"{'.'.join(above[0])} is recorded and needs it" if above else ""

    def run(self) -> None:
        """Take everything back; to a target by Django's own command, with its signals.

        :raises Stopped: one of them cannot be; those before it are taken back.
        """
        if self.target is None:
            for migration in self.plan:
                self._one(self.executor, migration)
        elif self.plan:
            app, name = self.target
            call_migrate(self._executor(), self.session.connection.alias, [app, name or "zero"])

    def _executor(self) -> type:
        """Django's executor, with what is ours of the way back."""
        from django.db.migrations.executor import MigrationExecutor

        outer, wanted = self, [key_of(m) for m in self.plan]

        class Executor(MigrationExecutor):  # type: ignore[misc]
            def migrate(self, targets: Any, plan: Any = None, *arguments: Any, **more: Any) -> Any:
                plan = self.migration_plan(targets) if plan is None else plan
                if [key_of(m) for m, _backwards in plan] != wanted:
                    raise Stopped("changed", what="the migrations that were to be taken back")
                return super().migrate(targets, plan, *arguments, **more)

            def unapply_migration(self, state: Any, migration: Any, fake: bool = False) -> Any:
                outer._one(self, migration)
                return state

        return Executor

    def _one(self, executor: Any, migration: Any) -> None:
        key, began = key_of(migration), time.monotonic()
        self.run_.at = said(migration)
        self.session.still_hold()

        def attempt() -> None:
            with self.session.connection.schema_editor(atomic=True) as editor:
                self.session.within()
                for (app, name, _index), row in self.rows.items():
                    if (app, name) == key and row["state"] in expansion.OPEN:
                        bridges.take_down(self.session.connection, row["detail"])
                for index in reversed(range(len(operations_of(migration)))):
                    if not self.skipped(key, index):
                        before, after = self.pairs[key][index]
                        operations_of(migration)[index].database_backwards(key[0], editor, after, before)
                for app, name in [key, *migration.replaces]:
                    executor.recorder.record_unapplied(app, name)
                if self.ledger.there():
                    self.ledger.forget(*key)

        self.session.persist(self.run_.at, attempt)
        seconds = round(time.monotonic() - began, 3)
        say(f"{self.run_.at}: taken back", "reverse", seconds)
        self.done.append({"app": key[0], "name": key[1], "seconds": seconds})
