# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: Django's ``migrate``, of which each operation runs now or only moves the state.

The command, its signals and the order of the plan stay Django's; only what happens to one migration is ours.  What was
decided of its operations, the operations themselves and Django's own record are one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any

from . import online
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
    """

    def __init__(self, session: Session, ledger: Ledger, decided: list[Any], interrupted: Mapping[str, str]) -> None:
        self.session, self.ledger, self.interrupted = session, ledger, interrupted
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
        for index, steps in held:
            self.finish(migration, index, steps)
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

    def _at_once(self, executor: Any, state: Any, migration: Any) -> tuple[Any, list[tuple[int, list[online.Step]]]]:
        """All of it in one transaction, which is begun again as a whole where a lock is not given."""

        def attempt() -> tuple[Any, list[tuple[int, list[online.Step]]]]:
            trial, held = state.clone(), []
            with self.session.connection.schema_editor(atomic=True) as editor:
                self._begin(migration)
                for index, operation in numbered(migration):
                    before = trial.clone()
                    operation.state_forwards(migration.app_label, trial)
                    action = self._action(migration, index)
                    if action["action"] == "defer":
                        self.keep(migration, index)
                        continue
                    steps = self._forwards(editor, operation, migration.app_label, (before, trial), action["method"])
                    if steps:
                        self.keep(migration, index, "between", steps)
                        held.append((index, steps))
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

    @staticmethod
    def _forwards(editor: Any, operation: Any, app: str, states: tuple[Any, Any], method: str) -> list[online.Step]:
        """Run an operation with what it leaves for the end; returns what is held back for after the transaction."""
        held: list[online.Step] = []
        if method and method != "plain":
            online.hold_back(editor, held)
        try:
            operation.database_forwards(app, editor, *states)
            statements, editor.deferred_sql = editor.deferred_sql, []
            for statement in statements:
                editor.execute(statement, None)
        finally:
            vars(editor).pop("execute", None)
        return held

    def keep(self, migration: Any, index: int, state: str = "deferred", steps: list[online.Step] | None = None) -> None:
        """Write an operation's row."""
        action = self._action(migration, index)
        detail = {**action, "steps": steps} if steps else action
        self.ledger.write(*key_of(migration), index, state, operations_of(migration)[index].describe(), detail)

    def _record(self, executor: Any, migration: Any) -> None:
        decided = self.decided[key_of(migration)]
        detail = {"operations": decided["operations"], "actions": decided["actions"]}
        self.ledger.write(*key_of(migration), MIGRATION, "expanded", "", detail)
        self.ledger.write(*SIGNALS, "begun", "signals after migrations", {})
        # Django 6.1 asks for names, all before it for the migration.
        by_names = len(signature(executor.record_migration).parameters) > 1
        executor.record_migration(*(key_of(migration) if by_names else (migration,)))

    def finish(self, migration: Any, index: int, steps: list[online.Step]) -> None:
        """Run what was held back of an operation."""
        key = key_of(migration)

        def note(left: list[online.Step]) -> None:
            action = self._action(migration, index)
            self.ledger.turn(*key, index, "between" if left else "done", {**action, "steps": left} if left else action)

        online.finish(self.session, f"{said(migration)}: {operations_of(migration)[index].describe()}", steps, note)

    # -- what is not atomic ---------------------------------------------------------------------------------------

    def _stepwise(self, executor: Any, state: Any, migration: Any) -> tuple[Any, list[tuple[int, list[online.Step]]]]:
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
            if known == "between" and row:
                self.finish(migration, index, row["detail"]["steps"])
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

            def attempt() -> list[online.Step]:
                with connection.schema_editor(atomic=True) as editor:
                    self.session.within()
                    steps = self._forwards(editor, operation, app, states, action["method"])
                    self.keep(migration, index, "between" if steps else "done", steps)
                return steps

            steps = self.session.persist(what, attempt)
            if steps:
                self.finish(migration, index, steps)
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
