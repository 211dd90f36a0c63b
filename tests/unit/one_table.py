# SPDX-License-Identifier: GPL-3.0-or-later
"""A table of three columns, before and after a migration, as the tests of migrations put it together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import phases as decide
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import schema as s

KEY = s.Column("id", "id", "bigint", primary_key=True, automatic=True)
NAME = s.Column("name", "name", "varchar(50)")
NOTE = s.Column("note", "note", "varchar(50)", null=True)
ITEM = s.Table("item", primary_key=("id",), columns={"id": KEY, "name": NAME})


def having(*columns: s.Column, table: s.Table = ITEM, **more: Any) -> s.Table:
    """A table with further columns, or with some that are others."""
    return replace(table, columns={**table.columns, **{c.field: c for c in columns}}, **more)


def without(name: str, table: s.Table) -> s.Table:
    return replace(table, columns={n: c for n, c in table.columns.items() if n != name})


def live_of(table: s.Table, **more: Any) -> s.LiveTable:
    columns = {
        c.column: s.LiveColumn(not c.null, bool(c.db_default or c.generated or c.automatic))
        for c in table.columns.values()
    }
    return s.LiveTable(**{"rows": 9, "bytes": 8192, "empty": False, "columns": columns, **more})


def database(
    *steps: s.Table | s.Operation | None, declared: str = "", live: Mapping[str, Any] | None = None
) -> s.Database:
    """One migration whose operations lead from each table to the next; None is no table."""
    tables = [t for t in steps if not isinstance(t, s.Operation)]
    operations: list[s.Operation] = []
    before = tables[0]
    for step in steps[1:]:
        index = len(operations)
        if isinstance(step, s.Operation):
            operations.append(replace(step, index=index))
            continue
        difference = s.Difference({"app.item": before} if before else {}, {"app.item": step} if step else {})
        operations.append(s.Operation(index, f"step {index}", difference=difference))
        before = step
    first = tables[0]
    return s.Database(
        "default",
        "postgresql",
        (s.Migration("app", "0002", tuple(operations), declared=declared),),
        {first.table: (first,)} if first else {},
        {before.table: (before,)} if before else {},
        {**({first.table: live_of(first)} if first else {"item": None}), **(live or {})},
        applied=1,
    )


def phases(of: s.Database, declared: Mapping[str, str] | None = None, **more: Any) -> list[tuple[str, str]]:
    return [(o.phase, o.action) for o in decide.judge(of, declared or {}, **more).operations]


def unique(*columns: str) -> dict[str, s.Unique]:
    return {"one": s.Unique("one", columns, "one")}
