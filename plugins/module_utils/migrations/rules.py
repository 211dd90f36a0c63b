# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one change of the database does to code that is older than it, and to code that is newer and has to wait for it.

Each rule answers two questions: does the code from before go on working once it is made (``breaks_old``), and does the
code that it is for work while it is not made yet (``breaks_new``)?  Where that cannot be known the answer is that it
breaks.  The rules of tables are here, those of columns in ``migration_columns``, of keys, rules and indexes in
``migration_constraints``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from . import safe_ways
from .schema import Column, Database, LiveColumn, LiveTable, Table, Unique
from .schema_changes import Change, of_kind

# From the weakest: what each keeps others from doing.
SHARE_UPDATE_EXCLUSIVE, SHARE, SHARE_ROW_EXCLUSIVE, ACCESS_EXCLUSIVE = (
    "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE",
)  # fmt: skip
LOCKS = ("", SHARE_UPDATE_EXCLUSIVE, SHARE, SHARE_ROW_EXCLUSIVE, ACCESS_EXCLUSIVE)


@dataclass(frozen=True)
class Effect:
    """What a change does.

    :ivar breaks_old: why the old code fails once it is made, empty where it does not.
    :ivar breaks_new: why the new code fails until it is made.
    :ivar fails: why it cannot be made at all, as the database is.
    :ivar unknown: why nothing can be said.
    :ivar declarable: what breaks does so only if the code does something that its author can rule out.
    :ivar lock: the strongest lock on a table with rows.
    :ivar grows: its time grows with the table.
    :ivar method: the form that does not block, where there is one.
    :ivar bridge: temporary DDL (:mod:`bridges`) that would let both codes live on one schema.
    :ivar stands: what that does, where it is part of the change; the codes then break or not as they do with it.
    :ivar beware: what goes wrong in the overlap with rows that the other code has written.
    """

    breaks_old: str = ""
    breaks_new: str = ""
    fails: str = ""
    unknown: str = ""
    declarable: bool = False
    lock: str = ""
    grows: bool = False
    method: str = ""
    bridge: str = ""
    stands: str = ""
    beware: str = ""
    safe_way: str = ""
    drops_data: bool = False


@dataclass
class World:
    """What is known while the operations of one database are judged in order.

    The catalogue is of before; what operations that run at once have made different since is noted beside it.
    """

    database: Database
    old_code_upserts: bool = True
    made: set[str] = field(default_factory=set)
    nullable: dict[tuple[str, str], LiveColumn] = field(default_factory=dict)
    #: How many more rules (or, below zero, fewer) keep these columns unique than there were.
    more_unique: Counter[tuple[str, frozenset[str]]] = field(default_factory=Counter)
    unreferenced: set[tuple[str, str]] = field(default_factory=set)
    #: Columns that a deferred operation makes: as long as the new code waits they are not there.
    not_yet: set[tuple[str, str]] = field(default_factory=set)
    #: Tables and columns that a bridge of this plan is about.
    bridged: set[tuple[str, str]] = field(default_factory=set)
    #: Data may have been moved by an operation that cannot be looked into.
    moved_data: bool = False

    def old(self, table: str) -> tuple[Table, ...]:
        return self.database.old.get(table, ())

    def new(self, table: str) -> tuple[Table, ...]:
        return self.database.new.get(table, ())

    def old_column(self, table: str, column: str) -> Column | None:
        return _column_in(self.old(table), column)

    def new_column(self, table: str, column: str) -> Column | None:
        return _column_in(self.new(table), column)

    def live(self, table: str) -> LiveTable | None:
        return None if table in self.made else self.database.live.get(table)

    def column(self, table: str, as_stated: Column) -> LiveColumn:
        """Whether a column has to have a value and gets one by itself, now."""
        known = self.nullable.get((table, as_stated.column))
        live = self.live(table)
        if known is None and live is not None:
            known = live.columns.get(as_stated.column)
        given = bool(as_stated.db_default or as_stated.generated or as_stated.automatic)
        return known or LiveColumn(not as_stated.null, given)

    def unique_rules(self, table: str, columns: Collection[str]) -> int:
        """How many rules keep exactly these columns of a table in the catalogue unique, now."""
        live = self.live(table)
        known = live.indexes.values() if live is not None else ()
        there = sum(index.keeps_apart and set(index.columns) == set(columns) for index in known)
        return there + self.more_unique[table, frozenset(columns)]

    def note(self, change: Change) -> None:
        """A change that runs at once is made from here on."""
        new = change.new
        if change.kind == "table added":
            self.made.add(change.table)
        elif isinstance(new, Unique) and new.upsert_target:
            self.more_unique[change.table, frozenset(new.columns)] += 1
        elif change.kind == "unique removed":
            self.more_unique[change.table, frozenset(change.columns)] -= 1
        elif isinstance(new, Column):
            given = bool(new.db_default or new.generated or new.automatic)
            self.nullable[(change.table, new.column)] = LiveColumn(not new.null, given)
            if change.kind == "reference removed":
                self.unreferenced.add((change.table, new.column))

    def put_off(self, change: Change) -> None:
        """A change that runs when the old code is gone."""
        if change.kind == "column added" and isinstance(change.new, Column):
            self.not_yet.add((change.table, change.new.column))


def _column_in(tables: tuple[Table, ...], column: str) -> Column | None:
    return next((c for c in (t.named(column) for t in tables) if c is not None), None)


def rows_are_there(live: LiveTable | None) -> bool:
    """Whether a table is known to have rows."""
    return live is not None and live.empty is False


# -- tables -------------------------------------------------------------------------------------------------------


def table_added(change: Change, world: World) -> Effect:
    new = of_kind(change.new, Table)
    found = Effect(breaks_new="the new code reads and writes this table" if world.new(change.table) else "")
    if world.database.live.get(change.table) is not None and not world.old(change.table):
        return replace(found, fails=f"there is a table {change.table} already", safe_way=safe_ways.TABLE_EXISTS)
    targets = sorted(
        {c.reference.table for c in new.columns.values() if c.reference and not c.reference.acts}
        - {change.table} - world.made
    )  # fmt: skip
    known = [t for t in targets if world.old(t)]
    if targets:
        found = replace(found, lock=SHARE_ROW_EXCLUSIVE)
    return replace(found, beware=orphans(change.table, known)) if known else found


def orphans(table: str, targets: list[str], by_default: bool = False) -> str:
    """:param by_default: rows that are there refer to one as well."""
    what = "rows that the default or the new code refers" if by_default else "rows that the new code already refers"
    return f"the old code's deletes in {', '.join(targets)} fail for {what} to in {table}: it does not know that they go along"


def table_removed(change: Change, world: World) -> Effect:
    old = of_kind(change.old, Table)
    found = Effect(
        breaks_old="the old code reads and writes this table" if world.old(change.table) else "",
        lock=ACCESS_EXCLUSIVE,
        drops_data=True,
        safe_way=safe_ways.REMOVE_TABLE,
    )
    targets = sorted({t for t in _referred(old, world) if t != change.table and world.new(t)})
    if targets and not world.new(change.table):
        reason = (
            f"until it is gone, deletes of the new code in {', '.join(targets)} fail: rows of {change.table} refer to "
            "what is deleted, and the new code does not know them"
        )
        return replace(found, breaks_new=reason, bridge="foreign_key", safe_way=safe_ways.REMOVE_TABLE_REFERRING)
    return found


def _referred(table: Table, world: World) -> list[str]:
    """Tables to which a foreign key in the database refers that does not follow deletions by itself."""
    live = world.live(table.table)
    gone = {column for t, column in world.unreferenced if t == table.table}
    if live is not None:
        return [r.table for r in live.references if not r.acts and not gone & set(r.columns)]
    references = [c.reference for c in table.columns.values() if c.reference and c.column not in gone]
    return [r.table for r in references if not r.acts]


def table_renamed(change: Change, world: World) -> Effect:
    new = of_kind(change.new, Table)
    return Effect(
        breaks_old=f"the old code uses the table as {change.table}" if world.old(change.table) else "",
        breaks_new=f"the new code uses it as {new.table}" if world.new(new.table) else "",
        lock=ACCESS_EXCLUSIVE,
        bridge="synonym",
        safe_way=safe_ways.RENAME_TABLE,
    )


def commented(change: Change, world: World) -> Effect:
    return Effect(lock=SHARE_UPDATE_EXCLUSIVE)


# -- together -----------------------------------------------------------------------------------------------------


def together(parts: list[Effect]) -> Effect:
    """Several effects of one operation as one: the strictest of each."""
    if not parts:
        return Effect()
    breaking = [p for p in parts if p.breaks_old or p.breaks_new]

    def quoted(name: str) -> str:
        return "; ".join(dict.fromkeys(text for text in (str(getattr(p, name)) for p in parts) if text))

    # What nobody can rule out comes first: its way is the one that helps.
    first = sorted(
        parts, key=lambda p: (not p.fails, not (p.breaks_old and p.breaks_new), p.declarable, not p.breaks_old)
    )
    return Effect(
        breaks_old=quoted("breaks_old"),
        breaks_new=quoted("breaks_new"),
        fails=quoted("fails"),
        unknown=quoted("unknown"),
        declarable=bool(breaking) and all(p.declarable for p in breaking),
        lock=max((p.lock for p in parts), key=LOCKS.index),
        grows=any(p.grows for p in parts),
        method=_method(parts),
        bridge=next((p.bridge for p in first if p.stands), ""),
        stands=quoted("stands"),
        beware=quoted("beware"),
        safe_way=next((p.safe_way for p in first if p.safe_way), ""),
        drops_data=any(p.drops_data for p in parts),
    )


def _method(parts: list[Effect]) -> str:
    """How it does not block, where each part that grows has a way."""
    growing = [p for p in parts if p.grows]
    if any(not p.method for p in growing):
        return ""
    return "; ".join(dict.fromkeys(p.method for p in growing))
