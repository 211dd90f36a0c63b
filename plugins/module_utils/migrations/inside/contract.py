# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: what was put off is run at last, or is put aside.

An operation gets the states that it would have had in its place of Django's own order.  Its DDL and its row are one
transaction, so that a kill at any point leaves it either to be done or done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from . import bridges, online
from .expand import Key, Run, finish, in_one_transaction, key_of, operations_of, said, words_in
from .ledger import MIGRATION, Ledger
from .moves import Moving
from .session import Stopped, say, words_of

OPEN = ("deferred", "between", "begun", "rising", "bridged")


def states(executor: Any, wanted: set[Key]) -> Iterator[tuple[Any, list[tuple[Any, Any]]]]:
    """The wanted migrations in Django's order, each with the states before and after every operation of it."""
    from django.db.migrations.state import ProjectState

    loader = executor.loader
    applied = {loader.graph.nodes[key] for key in loader.applied_migrations if key in loader.graph.nodes}
    state = ProjectState(real_apps=loader.unmigrated_apps)
    for migration, _backwards in executor.migration_plan(loader.graph.leaf_nodes(), clean_start=True):
        if migration not in applied:
            continue
        if key_of(migration) in wanted:
            trial, found = state.clone(), []
            for operation in operations_of(migration):
                before = trial.clone()
                operation.state_forwards(migration.app_label, trial)
                found.append((before, trial.clone()))
            yield migration, found
        migration.mutate_state(state, preserve=False)


class Contract:
    """What was put off in one database.

    :param chosen: the rows that may be run, as ``[app, name, index]``; no other is touched.
    """

    def __init__(self, run: Run, executor: Any, chosen: list[list[Any]]) -> None:
        self.session, self.ledger, self.interrupted = run.session, run.ledger, run.interrupted
        self.run_, self.executor = run, executor
        self.chosen = set(map(tuple, chosen))
        self.done: list[dict[str, Any]] = []

    def run(self) -> None:
        """Run the chosen ones.

        :raises Stopped: one cannot be run; those before it are done.
        """
        rows = {(r["app"], r["name"], r["index"]): r for r in self.ledger.rows() if r["state"] in OPEN}
        mine = {place: row for place, row in rows.items() if place in self.chosen}
        for migration, pairs in states(self.executor, {place[:2] for place in mine}):
            for index in sorted(i for app, name, i in mine if (app, name) == key_of(migration)):
                row, operation = mine[(*key_of(migration), index)], operations_of(migration)[index]
                if operation.describe() != row["operation"]:
                    raise Stopped("changed", what=f"{said(migration)}: {row['operation']}")
                self.run_.at = f"{said(migration)}: {operation.describe()}"
                began = time.monotonic()
                self.session.still_hold()
                self._one(migration, index, operation, pairs[index], row)
                seconds = round(time.monotonic() - began, 3)
                say(f"{self.run_.at}: done at last", "contract", seconds)
                self.done.append({"app": row["app"], "name": row["name"], "index": index,
                                  "operation": row["operation"], "seconds": seconds})  # fmt: skip

    def _one(self, migration: Any, index: int, operation: Any, pair: tuple[Any, Any], row: dict[str, Any]) -> None:
        place, app = (*key_of(migration), index), migration.app_label
        connection, what = self.session.connection, self.run_.at
        if row["state"] == "between":
            finish(self.session, self.ledger, row)
        elif row["state"] == "bridged":

            def down() -> None:
                with connection.schema_editor(atomic=True):
                    self.session.within()
                    if not self.ledger.turn(*place, "done", bridges.without(row["detail"]), was="bridged"):
                        raise Stopped("changed", what=what)
                    bridges.take_down(connection, row["detail"])

            self.session.persist(what, down)
        elif row["detail"].get("method") == "batches":
            Moving(self.session, self.ledger, place, what).run(operation, pair[0].apps)
        elif in_one_transaction(migration, operation):
            detail = bridges.without(row["detail"])

            def attempt() -> dict[str, Any]:
                with connection.schema_editor(atomic=True) as editor:
                    self.session.within()
                    if not self.ledger.turn(*place, "done", detail, was="deferred"):
                        raise Stopped("changed", what=what)
                    bridges.take_down(connection, row["detail"])
                    steps = self.run_.forwards(editor, migration, index, operation, pair, detail)
                    if steps:
                        self.ledger.turn(*place, "between", {**detail, **steps})
                return steps

            if self.session.persist(what, attempt):
                self.run_.finish(migration, index)
        elif len(online.concurrent_parts(operation)) == 1:
            self.ledger.turn(*place, "begun")
            with connection.schema_editor(atomic=False) as editor:
                online.concurrently(self.session, editor, operation, app, pair)
            self.ledger.turn(*place, "done")
        else:
            self._uncertain(migration, index, operation, pair, row)

    def _uncertain(
        self, migration: Any, index: int, operation: Any, pair: tuple[Any, Any], row: dict[str, Any]
    ) -> None:
        place, report = (*key_of(migration), index), {"migration": said(migration), "index": index}
        answer = self.interrupted.get(f"{said(migration)}:{index}", "")
        if row["state"] == "begun" and not answer:
            raise Stopped("interrupted", operation=row["operation"], **report)
        if answer != "done" or row["state"] != "begun":
            self.ledger.turn(*place, "begun")
            try:
                with self.session.connection.schema_editor(atomic=False) as editor:
                    operation.database_forwards(migration.app_label, editor, *pair)
            except Exception as error:
                raise Stopped("interrupted", operation=row["operation"], words=words_of(error), **report) from error
        self.ledger.turn(*place, "done")


def settle(ledger: Ledger, chosen: list[list[str]]) -> None:
    """Note of migrations that every code which runs was made for them, where nothing of them is open."""
    rows = ledger.rows()
    still = {(r["app"], r["name"]) for r in rows if r["index"] != MIGRATION and r["state"] not in ("done",)}
    for app, name in chosen:
        if (app, name) not in still:
            ledger.turn(app, name, MIGRATION, "settled", was="expanded")
            for row in rows:
                if (row["app"], row["name"]) == (app, name) and row["index"] != MIGRATION:
                    ledger.turn(app, name, row["index"], "settled", was="done")


# -- aside --------------------------------------------------------------------------------------------------------


def lossless(connection: Any, operation: Any, app: str, pair: tuple[Any, Any]) -> bool:
    """Whether taking an operation back leaves every value as it is."""
    kind = type(operation)
    if not kind.__module__.startswith("django.db.migrations.operations"):
        return False
    if kind.__name__ in ("AddIndex", "AddConstraint", "AlterModelOptions", "AlterModelManagers"):
        return True
    if kind.__name__ not in ("CreateModel", "AddField"):
        return False
    quote = connection.ops.quote_name
    if kind.__name__ == "CreateModel":
        model = pair[1].apps.get_model(app, operation.name)
        return not model._meta.local_many_to_many and _none(connection, f"SELECT 1 FROM {quote(model._meta.db_table)}")
    model = pair[1].apps.get_model(app, operation.model_name)
    field = model._meta.get_field(operation.name)
    if not field.column:
        return False
    where = f"WHERE {quote(field.column)} IS NOT NULL"
    return _none(connection, f"SELECT 1 FROM {quote(model._meta.db_table)} {where}")


def _none(connection: Any, sql: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} LIMIT 1")
        return cursor.fetchone() is None


class Abandon:
    """Takes back what an expand has made that nobody will use: only what leaves every row as it is."""

    def __init__(self, run: Run, executor: Any) -> None:
        self.session, self.ledger, self.executor, self.run_ = run.session, run.ledger, executor, run
        self.reported: list[dict[str, Any]] = []
        self._keeps = False

    def run(self, only: list[Key] | None = None, release: str = "") -> None:
        """Un-record what was only put off, and put the rest aside.

        :param only: these alone, and what of them cannot be taken back stays as it is.
        :param release: everything that was expanded for it, and nothing else.
        """
        rows = [r for r in self.ledger.rows() if r["app"]]
        keys = {(r["app"], r["name"]) for r in rows if r["state"] in (*OPEN, "abandoned") and r["index"] != MIGRATION}
        keys = {(r["app"], r["name"]) for r in rows if r["release"] == release} if release else keys
        keys = keys if only is None else set(only)
        self._keeps = only is not None
        graph = self.executor.loader.graph
        order = {key_of(m): place for place, (m, _b) in enumerate(
            self.executor.migration_plan(graph.leaf_nodes(), clean_start=True))}  # fmt: skip
        pairs = {key_of(m): found for m, found in states(self.executor, keys)}
        # What came last is taken back first; of what this image does not know nothing can depend.
        for key in sorted(keys, key=lambda k: (order.get(k, len(order)), k), reverse=True):
            own = [r for r in rows if (r["app"], r["name"]) == key]
            self.session.still_hold()
            self.run_.at = ".".join(key)
            self._one(key, own, pairs.get(key))

    def _one(self, key: Key, rows: list[dict[str, Any]], pairs: list[tuple[Any, Any]] | None) -> None:
        whole = next((r for r in rows if r["index"] == MIGRATION), None)
        if whole is None:
            self._tell(key, False, "it was broken off in the middle: the next expand goes on with it")
            return
        if key not in set(self.executor.recorder.applied_migrations()):
            self.ledger.forget(*key)
            self._tell(key, True, "")
            return
        now = [i for i, action in enumerate(whole["detail"]["actions"]) if action["action"] == "now"]
        known = self.executor.loader.graph.nodes.get(key)
        why = self._on_top(key, known) or self._not_lossless(known, whole, now, pairs, rows)
        if why:
            if not self._keeps:
                self._aside(key)
            self._tell(key, False, why)
            return

        def attempt() -> None:
            with self.session.connection.schema_editor(atomic=True) as editor:
                self.session.within()
                for row in rows:
                    bridges.take_down(self.session.connection, row["detail"])
                for index in reversed(now):
                    before, after = (pairs or [])[index]
                    operations_of(known)[index].database_backwards(key[0], editor, after, before)
                for app, name in [key, *(known.replaces if known is not None else [])]:
                    self.executor.recorder.record_unapplied(app, name)
                self.ledger.forget(*key)

        self.session.persist(self.run_.at, attempt)
        self.executor.loader.build_graph()
        self._tell(key, True, "")

    def _on_top(self, key: Key, known: Any) -> str:
        """What is recorded and depends on it."""
        if known is None:
            return ""
        graph, recorded = self.executor.loader.graph, set(self.executor.recorder.applied_migrations())
        above = sorted(other for other in graph.backwards_plan(key) if other != key and other in recorded)
        return f"{'.'.join(above[0])} is recorded and needs it" if above else ""

    def _not_lossless(
        self, known: Any, whole: dict[str, Any], now: list[int], pairs: Any, rows: list[dict[str, Any]]
    ) -> str:
        """Why what has been run of it cannot be taken back."""
        if not now:
            return ""
        if any(r["state"] in ("between", "begun", "rising") for r in rows):
            return "one of its operations has begun: the next expand ends it"
        if known is None or pairs is None or words_in(known) != whole["detail"]["operations"]:
            return "this image does not have it as it was run"
        for index in now:
            operation = operations_of(known)[index]
            if not lossless(self.session.connection, operation, known.app_label, pairs[index]):
                return f"taking back what was run of it could lose rows: {operation.describe()}"
        return ""

    def _aside(self, key: Key) -> None:
        """What was run stays, with the default that it has for older code; what was only put off has no bridge any more."""

        def attempt() -> None:
            with self.session.connection.schema_editor(atomic=True):
                self.session.within()
                for row in self.ledger.rows():
                    if (row["app"], row["name"]) != key:
                        continue
                    was = "expanded" if row["index"] < 0 else "deferred"
                    if self.ledger.turn(*key, row["index"], "abandoned", was=was):
                        bridges.take_down(self.session.connection, row["detail"])

        self.session.persist(self.run_.at, attempt)

    def _tell(self, key: Key, unrecorded: bool, why: str) -> None:
        other = f"{'kept' if self._keeps else 'put aside'}: {why}"
        say(f"{'.'.join(key)}: {'taken back' if unrecorded else other}", "abandon")
        self.reported.append({"app": key[0], "name": key[1], "unrecorded": unrecorded, "why": why})
