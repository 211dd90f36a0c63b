# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is different between two states of tables, as changes of the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from .schema import Check, Column, Difference, Index, Table, Unique

#: The kinds of :class:`Change`.
KINDS = (
    "table added", "table removed", "table renamed", "table commented",
    "column added", "column removed", "column renamed", "column altered", "key altered",
    "unique added", "unique removed", "check added", "check removed",
    "index added", "index removed", "index renamed",
    "reference added", "reference removed", "reference altered",
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One difference.  ``old`` and ``new`` are of the kind that the change is of, None where there is none."""

    kind: str
    table: str
    old: Column | Unique | Check | Index | Table | None = None
    new: Column | Unique | Check | Index | Table | None = None
    #: The table as it is before, for what is known only of its other columns.
    within: Table | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is about."""
        found: list[str] = []
        for side in (self.old, self.new):
            if isinstance(side, Column):
                found.append(side.column)
            elif isinstance(side, (Unique, Check, Index)):
                found += side.columns
        return tuple(dict.fromkeys(found))

    @property
    def name(self) -> str:
        """The name of the index or constraint that comes or goes, empty where Django makes one up."""
        side = self.new or self.old
        return side.name if isinstance(side, (Unique, Check, Index)) else ""


T = TypeVar("T")


def of_kind(side: object, kind: type[T]) -> T:
    """One side of a change, as what a rule of that kind of change knows it to be."""
    if not isinstance(side, kind):
        raise TypeError(f"a change of a {kind.__name__} has {side!r}")
    return side


def changes_of(difference: Difference) -> list[Change]:
    """All changes that lead from the tables before to those after; of unmanaged tables none."""
    found: list[Change] = []
    renamed = dict(difference.models)
    tables = {
        before.table: difference.after[renamed.get(key, key)].table
        for key, before in difference.before.items()
        if renamed.get(key, key) in difference.after
    }
    came = set(difference.after)
    for key, before in sorted(difference.before.items()):
        new_key = renamed.get(key, key)
        after = difference.after.get(new_key)
        came.discard(new_key)
        if after is None:
            if before.managed:
                found.append(Change("table removed", before.table, before, None, before))
        elif before.managed and after.managed:
            found += _in_table(key, before, after, difference, tables)
    for key in sorted(came):
        after = difference.after[key]
        if after.managed:
            found.append(Change("table added", after.table, None, after))
    return found


def _in_table(
    key: str, before: Table, after: Table, difference: Difference, tables: Mapping[str, str]
) -> Iterator[Change]:
    table = after.table
    if before.table != after.table:
        yield Change("table renamed", before.table, before, after, before)
    if before.comment != after.comment:
        yield Change("table commented", table, before, after, before)
    names = {}
    if difference.fields and difference.fields[0] == key:
        names[difference.fields[1]] = difference.fields[2]
    yield from _columns(before, after, names, difference, tables)
    kept = [(before.named(c) or Column(c, c, "")).field for c in before.primary_key]
    if [names.get(f, f) for f in kept] != [(after.named(c) or Column(c, c, "")).field for c in after.primary_key]:
        yield Change("key altered", table, before, after, before)
    # A column under another name takes what is about it along.
    moved = _moved(before, after, names)
    yield from _uniques(before, after, moved)
    yield from _checks(before, after)
    yield from _indexes(before, after, moved)


def _moved(before: Table, after: Table, names: dict[str, str]) -> dict[str, str]:
    found = {}
    for field, column in before.columns.items():
        new = after.columns.get(names.get(field, field))
        if new is not None:
            found[column.column] = new.column
    return found


def _columns(
    before: Table, after: Table, names: Mapping[str, str], difference: Difference, tables: Mapping[str, str]
) -> Iterator[Change]:
    table, fills = after.table, difference.fills
    came = set(after.columns)
    for field, old in before.columns.items():
        new = after.columns.get(names.get(field, field))
        came.discard(names.get(field, field))
        if new is None:
            yield Change("column removed", table, _stood_in(before.table, old, difference), None, before)
            continue
        if old.column != new.column:
            yield Change("column renamed", table, old, new, before)
        new_filled = _filled(new, fills)
        if _shape(old) != _shape(new):
            yield Change("column altered", table, old, new_filled, before)
        yield from _checked(table, old, new, before)
        yield from _referenced(table, old, new, before, tables)
    for field in (f for f in after.columns if f in came):
        new = _stood_in(table, after.columns[field], difference)
        yield Change("column added", table, None, _filled(new, fills), before)


def _stood_in(table: str, column: Column, difference: Difference) -> Column:
    """With what the database can put in for code that does not know it."""
    shown, why = difference.stand_ins.get((table, column.column), ("", ""))
    return replace(column, stand_in=shown, no_stand_in=why)


def _filled(column: Column, fills: Mapping[str, bool]) -> Column:
    """With the default that only the operation has."""
    if column.field in fills:
        return replace(column, fills=bool(fills[column.field]))
    return column


def _shape(column: Column) -> tuple[object, ...]:
    c = column
    return (c.type, c.null, c.primary_key, c.automatic, c.db_default, c.generated, c.collation, c.comment)


def _checked(table: str, old: Column, new: Column, within: Table) -> Iterator[Change]:
    if old.check != new.check:
        if old.check:
            yield Change("check removed", table, Check("", "check", old.check, (old.column,)), None, within)
        if new.check:
            yield Change("check added", table, None, Check("", "check", new.check, (new.column,)), within)


def _referenced(table: str, old: Column, new: Column, within: Table, tables: Mapping[str, str]) -> Iterator[Change]:
    was, will = old.reference, new.reference
    if was is not None:
        # What it refers to may be the same table under another name.
        was = replace(was, table=tables.get(was.table, was.table))
    if was == will:
        return
    if was is None:
        yield Change("reference added", table, old, new, within)
    elif will is None:
        yield Change("reference removed", table, old, new, within)
    else:
        yield Change("reference altered", table, replace(old, reference=was), new, within)


def _uniques(before: Table, after: Table, moved: dict[str, str]) -> Iterator[Change]:
    olds = {_meaning(u, moved): u for u in before.uniques.values()}
    news = {_meaning(u, {}): u for u in after.uniques.values()}
    for meaning, old in olds.items():
        if meaning not in news:
            yield Change("unique removed", after.table, old, None, before)
    for meaning, new in news.items():
        if meaning not in olds:
            yield Change("unique added", after.table, None, new, before)


def _meaning(unique: Unique, moved: dict[str, str]) -> tuple[object, ...]:
    columns = tuple(moved.get(c, c) for c in unique.columns)
    return (unique.name, columns, unique.condition, unique.expressions, unique.deferrable, unique.nulls_distinct)


def _checks(before: Table, after: Table) -> Iterator[Change]:
    for name in sorted({*before.checks, *after.checks}):
        old, new = before.checks.get(name), after.checks.get(name)
        if old is not None and new is not None and (old.kind, old.digest) == (new.kind, new.digest):
            continue
        if old is not None:
            yield Change("check removed", after.table, old, None, before)
        if new is not None:
            yield Change("check added", after.table, None, new, before)


def _indexes(before: Table, after: Table, moved: dict[str, str]) -> Iterator[Change]:
    def of(index: Index, names: dict[str, str]) -> tuple[object, ...]:
        return (tuple(names.get(c, c) for c in index.columns), index.method, index.plain)

    gone = [i for k, i in before.indexes.items() if k not in after.indexes or of(after.indexes[k], {}) != of(i, moved)]
    came = [i for k, i in after.indexes.items() if k not in before.indexes or of(before.indexes[k], moved) != of(i, {})]
    for old in gone:
        twin = next((n for n in came if of(n, {}) == of(old, moved)), None)
        if twin is not None:
            came.remove(twin)
            if twin.name != old.name:
                yield Change("index renamed", after.table, old, twin, before)
        else:
            yield Change("index removed", after.table, old, None, before)
    for new in came:
        yield Change("index added", after.table, None, new, before)
