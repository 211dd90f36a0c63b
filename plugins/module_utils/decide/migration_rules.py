# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one change of the database does to code that is older than it, and to code that is newer and has to wait for it.

Each rule answers two questions: does the code from before go on working once it is made (``breaks_old``), and does the
code that it is for work while it is not made yet (``breaks_new``)?  Where that cannot be known the answer is that it
breaks.  The rules of tables and columns are here, those of keys, rules and indexes in ``migration_constraints``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from . import column_types, safe_ways
from .schema import Column, Database, LiveColumn, LiveTable, Table
from .schema_changes import Change

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
    :ivar bridge: temporary DDL that would let both codes live on one schema.
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
    new_code_upserts: bool = True
    made: set[str] = field(default_factory=set)
    nullable: dict[tuple[str, str], LiveColumn] = field(default_factory=dict)
    unreferenced: set[tuple[str, str]] = field(default_factory=set)
    #: Columns that a deferred operation makes: as long as the new code waits they are not there.
    not_yet: set[tuple[str, str]] = field(default_factory=set)
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

    def note(self, change: Change) -> None:
        """A change that runs at once is made from here on."""
        new = change.new
        if change.kind == "table added":
            self.made.add(change.table)
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
    assert isinstance(change.new, Table)
    found = Effect(breaks_new="the new code reads and writes this table" if world.new(change.table) else "")
    if world.database.live.get(change.table) is not None and not world.old(change.table):
        return replace(found, fails=f"there is a table {change.table} already", safe_way=safe_ways.TABLE_EXISTS)
    targets = sorted(
        {c.reference.table for c in change.new.columns.values() if c.reference and not c.reference.acts}
        - {change.table} - world.made
    )  # fmt: skip
    known = [t for t in targets if world.old(t)]
    if targets:
        found = replace(found, lock=SHARE_ROW_EXCLUSIVE)
    return replace(found, beware=_orphans(change.table, known)) if known else found


def _orphans(table: str, targets: list[str]) -> str:
    return (
        f"until the old code is gone, its deletes in {', '.join(targets)} fail for rows that the new code already "
        f"refers to in {table}: it does not know that they go along"
    )


def table_removed(change: Change, world: World) -> Effect:
    assert isinstance(change.old, Table)
    found = Effect(
        breaks_old="the old code reads and writes this table" if world.old(change.table) else "",
        lock=ACCESS_EXCLUSIVE,
        drops_data=True,
        safe_way=safe_ways.REMOVE_TABLE,
    )
    targets = sorted({t for t in _referred(change.old, world) if t != change.table and world.new(t)})
    if targets and not world.new(change.table):
        reason = (
            f"until it is gone, deletes of the new code in {', '.join(targets)} fail: rows of {change.table} refer to "
            "what is deleted, and the new code does not know them"
        )
        return replace(found, breaks_new=reason, bridge="drop_foreign_key", safe_way=safe_ways.REMOVE_TABLE_REFERRING)
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
    assert isinstance(change.new, Table)
    return Effect(
        breaks_old=f"the old code uses the table as {change.table}" if world.old(change.table) else "",
        breaks_new=f"the new code uses it as {change.new.table}" if world.new(change.new.table) else "",
        lock=ACCESS_EXCLUSIVE,
        bridge="view",
        safe_way=safe_ways.RENAME_TABLE,
    )


def commented(change: Change, world: World) -> Effect:
    return Effect(lock=SHARE_UPDATE_EXCLUSIVE)


# -- columns ------------------------------------------------------------------------------------------------------


def column_added(change: Change, world: World) -> Effect:
    new = change.new
    assert isinstance(new, Column)
    table, live = change.table, world.live(change.table)
    found = Effect(lock=ACCESS_EXCLUSIVE)
    if world.new_column(table, new.column) is not None:
        found = replace(found, breaks_new=f"the new code reads and writes {new.column}")
    there = live is not None and new.column in live.columns and (table, new.column) not in world.nullable
    if there and world.old_column(table, new.column) is None:
        return replace(found, fails=f"{table} has a column {new.column} already", safe_way=safe_ways.COLUMN_EXISTS)
    if world.old(table) and not new.given_by_database:
        found = replace(
            found,
            breaks_old=f"the old code's INSERT does not name {new.column}, which is NOT NULL, and Django keeps no default "
            "in the database",
            bridge="keep_default",
            safe_way=safe_ways.ADD_NOT_NULL,
        )
    if not new.given_by_database and not new.fills and rows_are_there(live):
        return replace(
            found, fails=f"rows are there, and {new.column} has no value for them", safe_way=safe_ways.ADD_NOT_NULL
        )
    if new.generated:
        found = replace(found, grows=True, safe_way=safe_ways.GENERATED)
        if world.old(table) and not new.total:
            reason = f"values that the old code may write make the expression of {new.column} an error"
            found = replace(found, breaks_old=reason, declarable=True)
    if new.db_default_kind == "volatile" or (new.automatic and not new.primary_key):
        found = replace(found, grows=True, safe_way=found.safe_way or safe_ways.VOLATILE_DEFAULT)
    reference = new.reference
    if (
        reference is not None
        and not reference.acts
        and world.old(reference.table)
        and reference.table not in world.made
    ):
        found = replace(found, beware=_orphans(table, [reference.table]))
    return found


def column_removed(change: Change, world: World) -> Effect:
    old = change.old
    assert isinstance(old, Column)
    table = change.table
    found = Effect(lock=ACCESS_EXCLUSIVE, drops_data=not old.generated, safe_way=safe_ways.REMOVE_COLUMN)
    if world.old_column(table, old.column) is not None:
        found = replace(found, breaks_old=f"the old code reads and writes {old.column}")
    if not world.new(table) or world.new_column(table, old.column) is not None or (table, old.column) in world.not_yet:
        return found
    now = world.column(table, old)
    if now.not_null and not now.given:
        reason = f"until it is gone, the new code's INSERT does not name {old.column}, which is NOT NULL"
        return replace(found, breaks_new=reason, bridge="drop_not_null", safe_way=safe_ways.REMOVE_NOT_NULL)
    alone = change.within is not None and any(old.column in u.columns for u in change.within.uniques.values())
    if now.given and not old.generated and not old.automatic and alone:
        reason = f"until it is gone, each row of the new code gets the same {old.column}, which is unique"
        return replace(found, breaks_new=reason, safe_way=safe_ways.REMOVE_NOT_NULL)
    reference = old.reference
    if reference is not None and world.new(reference.table) and (table, old.column) not in world.unreferenced:
        live = world.live(table)
        there = live is None or any(old.column in r.columns and not r.acts for r in live.references)
        if there and not reference.acts:
            reason = (
                f"until it is gone, deletes of the new code in {reference.table} fail: rows of {table} refer to what is "
                "deleted, and the new code does not know it"
            )
            return replace(found, breaks_new=reason, bridge="drop_foreign_key", safe_way=safe_ways.REMOVE_REFERENCE)
    return found


def column_renamed(change: Change, world: World) -> Effect:
    old, new = change.old, change.new
    assert isinstance(old, Column) and isinstance(new, Column)
    table = change.within.table if change.within else change.table
    return Effect(
        breaks_old=f"the old code uses {old.column}" if world.old_column(table, old.column) else "",
        breaks_new=f"the new code uses {new.column}" if world.new_column(change.table, new.column) else "",
        lock=ACCESS_EXCLUSIVE,
        bridge="mirror_column",
        safe_way=safe_ways.RENAME_COLUMN,
    )


def key_altered(change: Change, world: World) -> Effect:
    return Effect(
        breaks_old="the old code finds rows by another key" if world.old(change.table) else "",
        breaks_new="the new code finds rows by another key" if world.new(change.table) else "",
        lock=ACCESS_EXCLUSIVE,
        grows=True,
        safe_way=safe_ways.KEY,
    )


def column_altered(change: Change, world: World) -> Effect:
    """A column that stays: the answers for each of its attributes together."""
    old, new = change.old, change.new
    assert isinstance(old, Column) and isinstance(new, Column)
    parts = []
    if bool(old.generated) != bool(new.generated) or (old.generated and old.generated != new.generated):
        parts.append(Effect(fails="Django alters no generated column", safe_way=safe_ways.GENERATED_ALTERED))
    if old.type != new.type:
        parts.append(_type(change, old, new, world))
    if old.collation != new.collation:
        reason = "what the database finds and how it sorts depends on the collation, which the code may rely on"
        parts.append(
            Effect(reason, reason, declarable=True, lock=ACCESS_EXCLUSIVE, grows=True, safe_way=safe_ways.COLLATION)
        )
    if old.null != new.null and not (old.primary_key or new.primary_key):
        parts.append(_null(change, old, new, world))
    if old.db_default != new.db_default:
        parts.append(_db_default(change, old, new, world))
    if old.automatic != new.automatic:
        parts.append(_automatic(change, old, new, world))
    if old.comment != new.comment:
        parts.append(Effect(lock=SHARE_UPDATE_EXCLUSIVE))
    return together(parts)


def _known(change: Change, column: str, world: World) -> tuple[bool, bool]:
    """Whether the old and the new code know a column."""
    old = world.old_column(change.table, column) is not None
    return old, world.new_column(change.table, column) is not None


def _type(change: Change, old: Column, new: Column, world: World) -> Effect:
    knows_old, knows_new = _known(change, new.column, world)
    how = column_types.relation(old.type, new.type)
    found = Effect(lock=ACCESS_EXCLUSIVE, grows=column_types.rewrites(old.type, new.type))
    if how == "same":
        return found
    if how == "widens" and knows_new:
        found = replace(found, breaks_new=f"the new code may write what does not fit into {old.type}")
    if how == "narrows" and knows_old:
        found = replace(
            found, breaks_old=f"the old code may write what does not fit into {new.type}", safe_way=safe_ways.NARROW
        )
    if how == "other":
        found = replace(
            found,
            breaks_old=f"the old code expects {old.type}" if knows_old else "",
            breaks_new=f"the new code expects {new.type}" if knows_new else "",
            bridge="mirror_column",
            safe_way=safe_ways.OTHER_TYPE,
        )
    if world.database.prepared_statements and (knows_old or knows_new):
        reason = "connections that keep prepared statements fail from then on: cached plan must not change result type"
        found = replace(
            found,
            declarable=not (found.breaks_old or found.breaks_new) or how != "other",
            breaks_old=found.breaks_old or reason,
            breaks_new=found.breaks_new or reason,
            safe_way=safe_ways.PREPARED,
        )
    return replace(found, safe_way=found.safe_way or (safe_ways.REWRITE if found.grows else ""))


def _null(change: Change, old: Column, new: Column, world: World) -> Effect:
    table = change.table
    if new.null:
        knows = world.new_column(table, new.column)
        needs = knows is None or knows.null
        reason = (
            f"the new code may write NULL into {new.column}" if knows else f"the new code does not name {new.column}"
        )
        return Effect(breaks_new=reason if world.new(table) and needs else "", lock=ACCESS_EXCLUSIVE)
    before = world.old_column(table, new.column)
    found = Effect(
        lock=ACCESS_EXCLUSIVE, grows=True, method="check, validate, then NOT NULL", safe_way=safe_ways.NOT_NULL
    )
    if world.old(table):
        if before is None and not new.given_by_database:
            found = replace(found, breaks_old=f"the old code's INSERT does not name {new.column}")
        elif before is not None and before.null:
            found = replace(found, breaks_old=f"the old code may write NULL into {new.column}")
    live = world.live(table)
    nulls = live.nulls.get(new.column) if live is not None else False
    if nulls and not new.fills and not world.moved_data:
        return replace(found, fails=f"rows have NULL in {new.column}", safe_way=safe_ways.NULLS)
    return found


def _db_default(change: Change, old: Column, new: Column, world: World) -> Effect:
    knows_old, knows_new = _known(change, new.column, world)
    found = Effect(lock=ACCESS_EXCLUSIVE)
    before = world.old_column(change.table, new.column)
    if old.db_default and new.db_default:
        return replace(
            found,
            breaks_old="rows of the old code get another default than it expects" if knows_old else "",
            breaks_new="rows of the new code get another default than it expects" if knows_new else "",
            declarable=True,
            safe_way=safe_ways.OTHER_DB_DEFAULT,
        )
    if new.db_default:
        return replace(found, breaks_new=f"the new code leaves {new.column} to the database" if knows_new else "")
    relies = before is not None and bool(before.db_default)
    if before is None and world.old(change.table):
        relies = True
    reason = f"the old code leaves {new.column} to the database" if relies else ""
    return replace(found, breaks_old=reason, safe_way=safe_ways.REMOVE_DB_DEFAULT if reason else "")


def _automatic(change: Change, old: Column, new: Column, world: World) -> Effect:
    knows_old, knows_new = _known(change, new.column, world)
    found = Effect(lock=ACCESS_EXCLUSIVE, safe_way=safe_ways.KEY)
    if new.automatic:
        return replace(found, breaks_new=f"the new code lets the database number {new.column}" if knows_new else "")
    return replace(found, breaks_old=f"the old code lets the database number {new.column}" if knows_old else "")


# -- together -----------------------------------------------------------------------------------------------------


def together(parts: list[Effect]) -> Effect:
    """Several effects of one operation as one: the strictest of each."""
    if not parts:
        return Effect()
    breaking = [p for p in parts if p.breaks_old or p.breaks_new]

    def told(name: str) -> str:
        return "; ".join(dict.fromkeys(text for text in (str(getattr(p, name)) for p in parts) if text))

    first = sorted(
        parts, key=lambda p: (not p.fails, not (p.breaks_old and p.breaks_new), not p.breaks_old, not p.grows)
    )
    return Effect(
        breaks_old=told("breaks_old"),
        breaks_new=told("breaks_new"),
        fails=told("fails"),
        unknown=told("unknown"),
        declarable=bool(breaking) and all(p.declarable for p in breaking),
        lock=max((p.lock for p in parts), key=LOCKS.index),
        grows=any(p.grows for p in parts),
        method=_method(parts),
        bridge=next((p.bridge for p in first if p.bridge), ""),
        beware=told("beware"),
        safe_way=next((p.safe_way for p in first if p.safe_way), ""),
        drops_data=any(p.drops_data for p in parts),
    )


def _method(parts: list[Effect]) -> str:
    """How it does not block, where each part that grows has a way."""
    growing = [p for p in parts if p.grows]
    if any(not p.method for p in growing):
        return ""
    return "; ".join(dict.fromkeys(p.method for p in growing))
