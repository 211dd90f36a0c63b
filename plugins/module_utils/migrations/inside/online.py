# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: Django's own statements in the form that keeps nobody waiting on a big table.

What must not be in a transaction is held back while the operation runs, kept in our table by the transaction of the
operation, and run after it, each so that it can be begun again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from .session import PATIENCE, Session, Stopped, say, sqlstate

_NAME = r'"(?:[^"]|"")+"'
_INDEX = re.compile(rf"^CREATE (UNIQUE )?INDEX ({_NAME}) ON (.*)$", re.DOTALL)
_CONSTRAINT = re.compile(rf"^ALTER TABLE ((?:{_NAME}\.)?{_NAME}) ADD CONSTRAINT ({_NAME}) (.*)$", re.DOTALL)
_UNIQUE = re.compile(r"^UNIQUE( NULLS (?:NOT )?DISTINCT)? (\([^()]*\))( DEFERRABLE INITIALLY \w+)?$")
_NOT_NULL = re.compile(rf"^ALTER TABLE ((?:{_NAME}\.)?{_NAME}) ALTER COLUMN ({_NAME}) SET NOT NULL$")
_DEFAULT = re.compile(
    rf"^ALTER TABLE ((?:{_NAME}\.)?{_NAME}) ALTER COLUMN {_NAME} (?:SET DEFAULT .*|DROP DEFAULT)$", re.DOTALL
)
_FILL = re.compile(rf"^UPDATE ({_NAME}) SET ({_NAME}) = (.*) WHERE ({_NAME}) IS NULL$", re.DOTALL)
#: Pages of a table whose rows one transaction fills; some thousands of rows.
PAGES = 64
#: Seconds that the app has the database to itself at most, after a batch.
LONGEST_PAUSE = 2.0
#: A partitioned table has none: all of it is filled by the statement that comes last.
_PAGES = "SELECT pg_relation_size(to_regclass(%s)) / current_setting('block_size')::int"
_STATE = "SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass(%s)"
_BUILDER = "SELECT pid FROM pg_stat_progress_create_index WHERE index_relid = to_regclass(%s)::oid"

Step = dict[str, str]


def online(sql: str) -> tuple[list[str], list[Step]] | None:
    """What of a statement runs in its transaction, and what after it; None where it runs as it is."""
    text = sql.strip().rstrip(";")
    index = _INDEX.match(text)
    if index:
        unique, name, rest = index.group(1) or "", index.group(2), index.group(3)
        return [], [{"index": name, "sql": f"CREATE {unique}INDEX CONCURRENTLY {name} ON {rest}"}]
    column = _NOT_NULL.match(text)
    if column:
        return [], _not_null(column.group(1), column.group(2))
    if _DEFAULT.match(text):
        # With what fills the column: a default that is set locks the table for as long as its transaction.
        return [], [{"sql": text}]
    fill = _FILL.match(text)
    if fill and fill.group(2) == fill.group(4):
        return [], [{"fill": fill.group(1), "column": fill.group(2), "value": fill.group(3), "sql": text}]
    constraint = _CONSTRAINT.match(text)
    if not constraint:
        return None
    table, name, rest = constraint.groups()
    unique = _UNIQUE.match(rest)
    if unique:
        nulls, columns, deferrable = (part or "" for part in unique.groups())
        return [], [
            {"index": name, "sql": f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} {columns}{nulls}"},
            {"sql": f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}{deferrable}"},
        ]
    if rest.startswith(("CHECK ", "FOREIGN KEY ")):
        return [f"{text} NOT VALID"], [{"sql": f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"}]
    return None


def _not_null(table: str, column: str) -> list[Step]:
    plain = re.sub(r"\W", "_", f"{table}_{column}".replace('"', ""))
    check = f'"evenkeel_{plain[:48]}"'
    alter = f"ALTER TABLE {table}"
    return [
        {"sql": f"{alter} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"},
        {"sql": f"{alter} VALIDATE CONSTRAINT {check}"},
        # With the rule it need not read the table again.
        {"sql": f"{alter} ALTER COLUMN {column} SET NOT NULL"},
        {"sql": f"{alter} DROP CONSTRAINT {check}"},
    ]


def hold_back(editor: Any, held: list[Step]) -> None:
    """Let an editor keep from now on what must not be in its transaction."""
    plain = editor.execute

    def execute(sql: Any, params: Any = ()) -> None:
        text = str(sql)
        if params:
            text = editor.connection.ops.compose_sql(text, params)
        parts = online(text) if params or params is None or "%" not in text else None
        if parts is None:
            plain(sql, params)
            return
        for statement in parts[0]:
            plain(statement, None)
        held.extend(parts[1])

    editor.execute = execute


# -- outside of transactions --------------------------------------------------------------------------------------


def _one(session: Session, sql: str, *arguments: Any) -> Any:
    with session.connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        row = cursor.fetchone()
    return row[0] if row else None


def _run(session: Session, sql: str) -> None:
    with session.connection.cursor() as cursor:
        cursor.execute(sql)


def index_state(session: Session, name: str) -> str:
    """``valid``, ``invalid``, or empty where there is no index of that (quoted) name."""
    found = _one(session, _STATE, name)
    return "" if found is None else "valid" if found else "invalid"


def build(session: Session, name: str, make: Callable[[], None]) -> None:
    """Build an index beside the traffic, and begin anew what was broken off.

    Only an index that is ours comes here: that it is being built was written down before.

    :raises Stopped: it was not given its locks.
    """
    what = f"index {name}"
    while _one(session, _BUILDER, name):
        say(f"{what}: somebody still builds it", "wait")
        time.sleep(1.0)

    def attempt() -> None:
        state = index_state(session, name)
        if state == "invalid":
            say(f"{what}: takes away what a broken build has left", "index")
            _run(session, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        if state != "valid":
            make()

    patiently(session, what, attempt)


def patiently(session: Session, what: str, attempt: Callable[[], None]) -> None:
    """Something that waits without letting anybody wait behind it."""
    session._set(session.connection, session.lock_timeout * PATIENCE)
    try:
        session.persist(what, attempt)
    finally:
        if session.connection.connection is not None:
            session._set(session.connection, session.lock_timeout)


def finish(session: Session, what: str, steps: list[Step], note: Callable[[list[Step]], None]) -> None:
    """Run what was held back.

    :param note: keeps what is left in our table; called in the transaction of a step that can be in one.
    :raises Stopped: a lock was not given, or rows are in the way.
    """
    from django.db import DatabaseError

    while steps:
        step, left = steps[0], steps[1:]
        began = time.monotonic()
        try:
            if "index" in step:
                build(session, step["index"], partial(_run, session, step["sql"]))
                note(left)
            elif "fill" in step:
                _fill(session, what, step)
                _in_transaction(session, what, step["sql"], partial(note, left))
            else:
                _in_transaction(session, what, step["sql"], partial(note, left))
        except DatabaseError as error:
            if "index" in step and sqlstate(error) == "23505":
                _run(session, f"DROP INDEX CONCURRENTLY IF EXISTS {step['index']}")
            raise
        say(f"{what}: {_said(step)}", "between", time.monotonic() - began)
        steps = left


def _fill(session: Session, what: str, step: Step) -> None:
    """Give rows a value in batches, each committed; rows that somebody works on come last.

    From page to page, so that no batch reads again what those before it have filled.  After each the app has the database
    to itself for as long as it took.
    """
    table, column = step["fill"], step["column"]
    more = f" AND {step['where']}" if step.get("where") else ""
    pages = int(_one(session, _PAGES, table) or 0)
    count, report = 0, time.monotonic()
    for first in range(0, pages, PAGES):
        some = (
            f"SELECT ctid FROM {table} WHERE ctid >= '({first},0)' AND ctid < '({first + PAGES},0)' "
            f"AND {column} IS NULL{more} FOR UPDATE SKIP LOCKED"
        )
        began = time.monotonic()
        with session.connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {column} = {step['value']} WHERE ctid = ANY (ARRAY({some}))")
            found = int(cursor.rowcount)
        if found:
            session._sleep(min(LONGEST_PAUSE, time.monotonic() - began))
        count += found
        if time.monotonic() - report > 5:
            say(f"{what}: {count} rows are filled, {100 * first // pages} %", "between")
            report = time.monotonic()


def _said(step: Step) -> str:
    if "index" in step:
        return f"index {step['index']} is built"
    if "fill" in step:
        return "rows without a value are filled"
    for sign, text in (("VALIDATE", "rows are checked"), ("NOT VALID", "the rule holds for new rows"),
                       ("USING INDEX", "the constraint is made of its index")):  # fmt: skip
        if sign in step["sql"]:
            return text
    return "done"


def _in_transaction(session: Session, what: str, sql: str, note: Callable[[], None]) -> None:
    from django.db import transaction

    long = "VALIDATE CONSTRAINT" in sql

    def attempt() -> None:
        with transaction.atomic(using=session.connection.alias):
            if not long:
                session.within()
            _run(session, sql)
            note()

    if long:
        patiently(session, what, attempt)
    else:
        session.persist(what, attempt)


def concurrent_parts(operation: Any) -> list[Any]:
    """The parts of an operation that PostgreSQL only runs outside of a transaction."""
    children = getattr(operation, "database_operations", None)
    if children is not None:
        return [part for child in children for part in concurrent_parts(child)]
    for kind in type(operation).__mro__:
        if "database_forwards" in vars(kind):
            own = kind.__module__.startswith("django.") and kind.__name__.endswith("Concurrently")
            return [operation] if own else []
    return []


def concurrently(session: Session, editor: Any, operation: Any, app: str, states: tuple[Any, Any]) -> None:
    """Run ``AddIndexConcurrently`` or ``RemoveIndexConcurrently``, whatever an earlier try has left.

    :raises Stopped: it was not given its locks.
    """
    (part,) = concurrent_parts(operation)
    adds = hasattr(part, "index")
    name = session.connection.ops.quote_name(part.index.name if adds else part.name)

    def run() -> None:
        operation.database_forwards(app, editor, *states)

    if adds:
        build(session, name, run)
        if index_state(session, name) == "invalid":
            raise Stopped("failed", words=f"index {name} is INVALID after its build")
    elif index_state(session, name):
        patiently(session, f"index {name}", run)
