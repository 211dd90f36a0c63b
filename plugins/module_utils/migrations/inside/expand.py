# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: Django's ``migrate``, of which each operation runs now or only moves the state.

The command, its signals and the order of the plan stay Django's; only what happens to one migration is ours.  What was
decided of its operations, the operations themselves and Django's own record are one transaction.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

from . import bridges, casts, column_defaults, online
from .ledger import MIGRATION, Ledger
from .moves import Moving
from .session import Session, Stopped, say, words_of

Key = tuple[str, str]
#: The row that says that signals after a migration are still owed.
SIGNALS = ("", "post_migrate", 0)


def key_of(migration: Any) -> Key:
    return migration.app_label, migration.name


def said(migration: Any) -> str:
    return f"{migration.app_label}.{migration.name}"


def injected(operation: Any) -> bool:
    """Whether Django has put an operation in beside those of the file, to rename what it knows of content types."""
    return type(operation).__name__ == "RenameContentType"


def numbered(migration: Any) -> Iterator[tuple[int, Any]]:
    """The operations with their places in the file; what was put in has the place of the one before, negative."""
    index = -1
    for operation in migration.operations:
        index += 0 if injected(operation) else 1
        yield (-1 - index if injected(operation) else index), operation


def operations_of(migration: Any) -> list[Any]:
    """The operations of the file."""
    return [operation for operation in migration.operations if not injected(operation)]


def words_in(migration: Any) -> list[str]:
    return [operation.describe() for operation in operations_of(migration)]


def in_one_transaction(migration: Any, operation: Any) -> bool:
    """Whether an operation can be in one transaction with our row."""
    if online.concurrent_parts(operation):
        return False
    if migration.atomic or getattr(operation, "atomic", None):
        return True
    parts = getattr(operation, "database_operations", None)
    if parts is not None:
        return all(in_one_transaction(migration, part) for part in parts)
    for kind in type(operation).__mro__:
        if "database_forwards" in vars(kind):
            return kind.__module__.startswith("django.") and kind.__name__ not in ("RunPython", "RunSQL")
    return False


class Run:
    """What was decided for one database, and how it goes.

    :param decided: in the order of the plan, per migration ``app``, ``name``, ``operations`` in words, and ``actions``:
        what is done with each, ``now`` or ``defer``, by which ``method``.
    :param interrupted: what people say of operations of which nobody knows whether they have ended.
    :param allowed: migrations, or operations (``app.name:index``), that may lose data.
    """

    def __init__(
        self,
        session: Session,
        ledger: Ledger,
        decided: list[Any],
        interrupted: Mapping[str, str],
        allowed: Sequence[str] = (),
    ) -> None:
        self.session, self.ledger, self.interrupted, self.allowed = session, ledger, interrupted, allowed
        self.decided = {(one["app"], one["name"]): one for one in decided}
        self.order = [(one["app"], one["name"]) for one in decided]
        self.ran: list[dict[str, Any]] = []
        self.at = ""
        self.ended = False

    def hold_to(self, plan: list[tuple[Any, bool]]) -> None:
        """What is pending is what was judged.

        :raises Stopped: it is not; nothing was touched.
        """
        found = [key_of(m) for m, _backwards in plan]
        if found != self.order or any(backwards for _m, backwards in plan):
            other = sorted(".".join(key) for key in set(found) ^ set(self.order))
            raise Stopped("changed", what=", ".join(other) or "their order")
        for migration, _backwards in plan:
            if words_in(migration) != self.decided[key_of(migration)]["operations"]:
                raise Stopped("changed", what=f"the operations of {said(migration)}")

    # -- one migration --------------------------------------------------------------------------------------------

    def apply(self, executor: Any, state: Any, migration: Any) -> Any:
        """Run one migration; returns the state after it."""
        self.at, began = said(migration), time.monotonic()
        self.session.still_hold()
        say(f"{self.at}: begins")
        run = self._at_once if migration.atomic else self._stepwise
        result, held = run(executor, state, migration)
        for index in held:
            self.finish(migration, index)
        seconds = time.monotonic() - began
        actions = [a["action"] for a in self.decided[key_of(migration)]["actions"]]
        self.ran.append({"app": migration.app_label, "name": migration.name, "seconds": round(seconds, 3),
                         "deferred": actions.count("defer")})  # fmt: skip
        later = f", {actions.count('defer')} of {len(actions)} operations later" if "defer" in actions else ""
        say(f"{self.at}: done{later}", seconds=seconds)
        return result

    def _action(self, migration: Any, index: int) -> dict[str, Any]:
        if index < 0:
            return {"action": "now", "method": ""}
        found: dict[str, Any] = self.decided[key_of(migration)]["actions"][index]
        return found

    def _at_once(self, executor: Any, state: Any, migration: Any) -> tuple[Any, list[int]]:
        """All of it in one transaction, which is begun again as a whole where a lock is not given."""

        def attempt() -> tuple[Any, list[int]]:
            trial, held = state.clone(), []
            with self.session.connection.schema_editor(atomic=True) as editor:
                self._begin(migration)
                for index, operation in numbered(migration):
                    before = trial.clone()
                    operation.state_forwards(migration.app_label, trial)
                    action = self._action(migration, index)
                    run = self.put_off if action["action"] == "defer" else self.now
                    if run(editor, migration, index, operation, (before, trial)):
                        held.append(index)
                # Django itself would record it outside of this transaction.
                self._record(executor, migration)
            return trial, held

        return self.session.persist(self.at, attempt)

    def _begin(self, migration: Any) -> None:
        """First in a transaction: its limit, and that nobody else has run this meanwhile.

        :raises Stopped: somebody has.
        """
        self.session.within()
        with self.session.connection.cursor() as cursor:
            # Whoever records something waits until this has ended, and is seen if it came first.
            cursor.execute("LOCK TABLE django_migrations IN SHARE ROW EXCLUSIVE MODE")
            cursor.execute(
                "SELECT 1 FROM django_migrations WHERE app = %s AND name = %s", [migration.app_label, migration.name]
            )
            if cursor.fetchone():
                raise Stopped("changed", what=said(migration))

    def put_off(self, editor: Any, migration: Any, index: int, operation: Any, states: tuple[Any, Any]) -> bool:
        """Write an operation's row, with the bridge that stands until it is run; whether that is to be finished."""
        kind = self._action(migration, index).get("bridge", "")
        standing = bridges.of_deferred(editor, kind, operation, migration.app_label, states)
        bridges.put_up(editor.connection, standing)
        self.keep(migration, index, "rising" if standing.get("steps") else "deferred", standing)
        return bool(standing.get("steps"))

    def now(
        self,
        editor: Any,
        migration: Any,
        index: int,
        operation: Any,
        states: tuple[Any, Any],
        always: bool = False,
    ) -> bool:
        """Run an operation and write its row, where it has one; whether something of it is held back.

        :param always: it has a row whatever comes of it.
        """
        more = self.forwards(editor, migration, index, operation, states, self._action(migration, index))
        if more or always:
            self.keep(migration, index, "between" if "steps" in more else "bridged" if more else "done", more)
        return "steps" in more

    def forwards(
        self,
        editor: Any,
        migration: Any,
        index: int,
        operation: Any,
        states: tuple[Any, Any],
        action: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Run an operation with what it leaves for the end.

        :param action: what was decided of it.
        :return: what its row is to keep: what is held back for after the transaction (``steps``), and its bridge.
        :raises Stopped: it would cut or round values, and nobody has allowed that.
        """
        held: list[online.Step] = []
        standing: dict[str, Any] = {}
        method = action.get("method", "")
        if method and method != "plain":
            online.hold_back(editor, held)
        casts.watch(editor, said(migration), index, self.allowed)
        if action.get("bridge") == bridges.KEEP_DEFAULT:
            standing = self._keep_default(editor, migration, operation, states[1])
        try:
            operation.database_forwards(migration.app_label, editor, *states)
            statements, editor.deferred_sql = editor.deferred_sql, []
            for statement in statements:
                editor.execute(statement, None)
        finally:
            vars(editor).pop("execute", None)
        return {**(standing if standing.get("down") else {}), **({"steps": held} if held else {})}

    @staticmethod
    def _keep_default(editor: Any, migration: Any, operation: Any, after: Any) -> dict[str, Any]:
        model = after.apps.get_model(migration.app_label, getattr(operation, "model_name", None) or operation.name)
        fields = {field.column: copy.copy(field) for field in model._meta.local_concrete_fields}
        if hasattr(operation, "field"):
            fields[model._meta.get_field(operation.name).column].default = operation.field.default
        elif "_order" in fields:
            fields["_order"].default = 0
        return bridges.keep_default(editor, fields, column_defaults.named_in(migration))

    def keep(self, migration: Any, index: int, state: str = "deferred", more: Mapping[str, Any] | None = None) -> None:
        """Write an operation's row.

        :param more: what is kept of it beside what was decided.
        """
        detail = {**self._action(migration, index), **(more or {})}
        self.ledger.write(*key_of(migration), index, state, operations_of(migration)[index].describe(), detail)

    def _record(self, executor: Any, migration: Any) -> None:
        decided = self.decided[key_of(migration)]
        detail = {"operations": decided["operations"], "actions": decided["actions"]}
        self.ledger.write(*key_of(migration), MIGRATION, "expanded", "", detail)
        self.ledger.write(*SIGNALS, "begun", "signals after migrations", {})
        # Django 6.1 asks for names, all before it for the migration.
        by_names = len(signature(executor.record_migration).parameters) > 1
        executor.record_migration(*(key_of(migration) if by_names else (migration,)))

    def take_up(self, migration: Any) -> None:
        """What was put aside waits again for the release that is being brought in, with its bridges."""
        key = key_of(migration)
        again = [r for r in self.ledger.rows() if (r["app"], r["name"]) == key and r["state"] == "abandoned"]

        def attempt() -> None:
            with self.session.connection.schema_editor(atomic=True):
                self.session.within()
                self.ledger.take_up(*key)
                for row in again:
                    bridges.put_up(self.session.connection, row["detail"])
                    steps = row["detail"].get("again")
                    if steps:
                        self.ledger.turn(*key, row["index"], "rising", {**row["detail"], "steps": steps})

        self.session.persist(said(migration), attempt)
        for row in again:
            if row["detail"].get("again"):
                self.finish(migration, row["index"])

    def finish(self, migration: Any, index: int) -> None:
        """Run what was held back of an operation."""
        row = self.ledger.row(*key_of(migration), index)
        if row is not None:
            finish(self.session, self.ledger, row)

    # -- what is not atomic ---------------------------------------------------------------------------------------

    def _stepwise(self, executor: Any, state: Any, migration: Any) -> tuple[Any, list[int]]:
        """One operation after the other, each written down: what has begun is never begun again in blindness."""
        from django.db import transaction

        for index, operation in numbered(migration):
            before = state.clone()
            operation.state_forwards(migration.app_label, state)
            if index < 0:
                with self.session.connection.schema_editor(atomic=True) as editor:
                    operation.database_forwards(migration.app_label, editor, before, state)
                continue
            row = self.ledger.row(*key_of(migration), index)
            known = row["state"] if row else ""
            if known == "between":
                self.finish(migration, index)
            elif known not in ("done", "deferred"):
                self._step(migration, index, (before, state), known, row["detail"] if known == "begun" and row else {})

        def record() -> None:
            with transaction.atomic(using=self.session.connection.alias):
                self._begin(migration)
                self._record(executor, migration)

        self.session.persist(self.at, record)
        return state, []

    def _step(self, migration: Any, index: int, states: tuple[Any, Any], known: str, begun: Mapping[str, Any]) -> None:
        """:param begun: what was decided of it when it was begun."""
        operation, action = operations_of(migration)[index], self._action(migration, index)
        connection, app = self.session.connection, migration.app_label
        what = f"{self.at}: {operation.describe()}"
        if action["action"] == "defer":
            self.keep(migration, index)
        elif (begun or action).get("method") == "batches":
            if known != "begun":
                self._begun(migration, index)
            Moving(self.session, self.ledger, (app, migration.name, index), what).run(operation, states[0].apps)
        elif in_one_transaction(migration, operation):

            def attempt() -> bool:
                with connection.schema_editor(atomic=True) as editor:
                    self.session.within()
                    return self.now(editor, migration, index, operation, states, always=True)

            if self.session.persist(what, attempt):
                self.finish(migration, index)
        elif len(online.concurrent_parts(operation)) == 1 and _alone(operation):
            self._begun(migration, index)
            with connection.schema_editor(atomic=False) as editor:
                online.concurrently(self.session, editor, operation, app, states)
            self.ledger.turn(app, migration.name, index, "done")
        else:
            self._uncertain(migration, index, states, known)

    def _begun(self, migration: Any, index: int) -> None:
        self.keep(migration, index, "begun")

    def _uncertain(self, migration: Any, index: int, states: tuple[Any, Any], known: str) -> None:
        """What can neither be in a transaction nor be looked at: once, unless somebody who has looked says so."""
        operation = operations_of(migration)[index]
        answer = self.interrupted.get(f"{said(migration)}:{index}", "")
        if known == "begun" and not answer:
            raise Stopped("interrupted", migration=said(migration), index=index, operation=operation.describe())
        if known == "begun" and answer == "done":
            self.ledger.turn(*key_of(migration), index, "done")
            return
        self._begun(migration, index)
        try:
            with self.session.connection.schema_editor(atomic=False) as editor:
                operation.database_forwards(migration.app_label, editor, *states)
        except Exception as error:
            report = {"migration": said(migration), "index": index, "operation": operation.describe()}
            raise Stopped("interrupted", words=words_of(error), **report) from error
        self.ledger.turn(*key_of(migration), index, "done")


def finish(session: Session, ledger: Ledger, row: dict[str, Any]) -> None:
    """Run what was held back of an operation, or of its bridge, from its row alone."""
    detail = {key: value for key, value in row["detail"].items() if key != "steps"}
    ended = "deferred" if row["state"] == "rising" else "bridged" if detail.get("down") else "done"

    def note(left: list[online.Step]) -> None:
        report = {**detail, "steps": left} if left else detail
        ledger.turn(row["app"], row["name"], row["index"], row["state"] if left else ended, report)

    online.finish(session, f"{row['app']}.{row['name']}: {row['operation']}", row["detail"]["steps"], note)


def _alone(operation: Any) -> bool:
    parts = getattr(operation, "database_operations", None)
    return parts is None or (len(parts) == 1 and _alone(parts[0]))


def executor_of(run: Run) -> type:
    """Django's executor, with what is ours of it."""
    from django.db.migrations.executor import MigrationExecutor

    class Executor(MigrationExecutor):  # type: ignore[misc]
        def migrate(self, targets: Any, plan: Any = None, *arguments: Any, **more: Any) -> Any:
            plan = self.migration_plan(targets) if plan is None else plan
            run.hold_to(plan)
            state = super().migrate(targets, plan, *arguments, **more)
            run.ended = True
            return state

        def apply_migration(self, state: Any, migration: Any, fake: bool = False, fake_initial: bool = False) -> Any:
            if self.progress_callback:
                self.progress_callback("apply_start", migration, False)
            state = run.apply(self, state, migration)
            if self.progress_callback:
                self.progress_callback("apply_success", migration, False)
            return state

    return Executor


def command() -> Any:
    """Django's ``migrate``, as the app has it.

    :raises Stopped: the app has one that shares nothing with Django's.
    """
    from django.core.management import get_commands, load_command_class
    from django.core.management.commands.migrate import Command

    found = get_commands()["migrate"]
    made = load_command_class(found, "migrate") if isinstance(found, str) else found
    if not isinstance(made, Command):
        raise Stopped("command", module=type(made).__module__)
    return made


def call_migrate(executor: type, alias: str, words: list[str]) -> None:
    """Run Django's own command, with a class of ours in place of its executor.

    :raises Stopped: as the executor does, or the app's command is none of Django's.
    """
    import io

    from django.core.management import call_command
    from django.core.management.commands import migrate as module

    made = command()
    plain, module.MigrationExecutor = module.MigrationExecutor, executor
    try:
        call_command(made, *words, database=alias, interactive=False, verbosity=0,
                     stdout=io.StringIO(), stderr=io.StringIO())  # fmt: skip
    finally:
        module.MigrationExecutor = plain


def migrate(run: Run, target: list[str]) -> None:
    """Run everything that was decided, by Django's own command, and its signals after it.

    :raises Stopped: before anything was touched, or told with what was done.
    """
    call_migrate(executor_of(run), run.session.connection.alias, target)
    if run.ledger.there():
        run.ledger.forget(*SIGNALS[:2])
