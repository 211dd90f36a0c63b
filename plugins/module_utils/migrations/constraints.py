# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change of a key, a rule or an index does to the code from before and to the code that waits for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable

from . import column_types, safe_ways
from . import columns as of_columns
from . import rules as of_tables
from .rules import ACCESS_EXCLUSIVE, SHARE, SHARE_ROW_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Effect, World
from .schema import Check, Column, Index, Reference, Table, Unique
from .schema_changes import Change, of_kind

# -- unique -------------------------------------------------------------------------------------------------------


def unique_added(change: Change, world: World) -> Effect:
    new, table = of_kind(change.new, Unique), change.table
    live = world.live(table)
    found = Effect(
        lock=SHARE, grows=True, method="index concurrently, then the constraint by it", safe_way=safe_ways.UNIQUE
    )
    broken = _invalid(new.name, table, world)
    if broken:
        return replace(found, fails=broken, safe_way=safe_ways.INVALID_INDEX)
    if live is not None and live.duplicates.get(",".join(new.columns)) and not world.moved_data and new.plain:
        names = ", ".join(f'"{column}"' for column in new.columns)
        see = f'SELECT {names}, count(*) FROM "{table}" GROUP BY {names} HAVING count(*) > 1'
        return replace(
            found, fails=f"rows have the same {', '.join(new.columns)} ({see})", safe_way=safe_ways.DUPLICATES
        )
    same = _unique_already(change, world, new.columns, exactly=True)
    if world.old(table) and _old_may_repeat(change, new, world):
        reason = f"the old code may write two rows with the same {', '.join(new.columns) or 'values'}"
        found = replace(found, breaks_old=reason)
    if world.new(table) and new.upsert_target and world.database.upserts and not same:
        seen = world.database.upserts
        reason = f"an upsert of the new code (ON CONFLICT) on {', '.join(new.columns)} has no index to go by ({seen})"
        found = replace(found, breaks_new=reason)
    elif found.breaks_old and world.new(table):
        found = replace(found, breaks_old=f"{found.breaks_old}, and until contract the new code may too")
    return replace(found, declarable=True)


def _old_may_repeat(change: Change, unique: Unique, world: World) -> bool:
    """Whether rows that the old code writes may violate it; what it does not name is NULL, or the default."""
    table = change.table
    if not unique.plain:
        return True
    if _unique_already(change, world, unique.columns, exactly=False):
        return False
    for name in unique.columns:
        within = change.within.named(name) if change.within else None
        column = within or world.new_column(table, name)
        unnamed = world.old_column(table, name) is None and column is not None
        if unnamed and column and column.null and not column.db_default and unique.nulls_distinct:
            return False
    return True


def _unique_already(change: Change, world: World, columns: tuple[str, ...], exactly: bool) -> bool:
    """Whether the database keeps these (or, not ``exactly``, some of them) unique as it is."""
    live = world.live(change.table)
    known = live.indexes.values() if live is not None else ()
    sets = [set(i.columns) for i in known if i.keeps_apart and world.unique_rules(change.table, i.columns) > 0]
    if live is None and change.within is not None:
        sets = [set(u.columns) for u in change.within.uniques.values() if u.upsert_target]
        sets.append(set(change.within.primary_key))
    return any(s == set(columns) if exactly else s and s <= set(columns) for s in sets)


def unique_removed(change: Change, world: World) -> Effect:
    old, table = of_kind(change.old, Unique), change.table
    found = Effect(lock=ACCESS_EXCLUSIVE, declarable=True, safe_way=safe_ways.REMOVE_UNIQUE)
    if old.upsert_target and world.unique_rules(table, old.columns) > 1:
        return replace(found, safe_way="")
    if old.upsert_target and world.old(table) and world.old_code_upserts:
        reason = f"an upsert of the old code (ON CONFLICT) on {', '.join(old.columns)} has no index to go by any more"
        found = replace(found, breaks_old=reason)
    if world.new(table) and _new_may_repeat(change, old, world):
        reason = f"the new code may write two rows with the same {', '.join(old.columns) or 'values'}"
        found = replace(found, breaks_new=reason)
    return found


def _new_may_repeat(change: Change, unique: Unique, world: World) -> bool:
    """Whether rows that the new code writes may violate it while it is still there."""
    for name in unique.columns:
        column = change.within.named(name) if change.within else None
        if (
            world.new_column(change.table, name) is None
            and column is not None
            and unique.plain
            and unique.nulls_distinct
        ):
            now = world.column(change.table, column)
            if not now.not_null and not now.given:
                return False
    return True


# -- rules --------------------------------------------------------------------------------------------------------


def check_added(change: Change, world: World) -> Effect:
    new = of_kind(change.new, Check)
    found = Effect(lock=ACCESS_EXCLUSIVE, grows=True, method="NOT VALID, then validate", safe_way=safe_ways.CHECK)
    if new.kind == "exclusion":
        found = replace(found, method="", safe_way=safe_ways.EXCLUSION)
    if new.kind == "other":
        return replace(found, unknown=f"what {new.name} asks of rows is not known", method="")
    if not world.old(change.table) or (new.null_passes and all(_stays_null(change, c, world) for c in new.columns)):
        return found
    return replace(found, breaks_old="the old code may write what it forbids")


def _stays_null(change: Change, name: str, world: World) -> bool:
    """Whether the old code, which does not know a column, leaves it NULL."""
    column = change.within.named(name) if change.within else None
    unknown = world.old_column(change.table, name) is None
    return bool(unknown and column and column.null and not column.db_default)


def check_removed(change: Change, world: World) -> Effect:
    old = of_kind(change.old, Check)
    found = Effect(lock=ACCESS_EXCLUSIVE)
    if old.kind == "other":
        return replace(found, unknown=f"what {old.name} asked of rows is not known", safe_way=safe_ways.OPAQUE)
    return replace(found, breaks_new="the new code may write what it forbids" if world.new(change.table) else "")


# -- indexes ------------------------------------------------------------------------------------------------------


def index_added(change: Change, world: World) -> Effect:
    new = of_kind(change.new, Index)
    found = Effect(lock=SHARE, grows=True, method="concurrently", safe_way=safe_ways.INDEX)
    broken = _invalid(new.name, change.table, world)
    if broken:
        return replace(found, fails=broken, safe_way=safe_ways.INVALID_INDEX)
    if not world.old(change.table):
        return found
    types = _types(change, new, world)
    if not new.plain:
        return replace(found, breaks_old="values that the old code may write make its expression an error")
    if types is None or column_types.may_reject(types, new.method):
        return replace(found, breaks_old="the old code may write values that are too long for an index")
    return found


def _types(change: Change, index: Index, world: World) -> list[str] | None:
    """The types of what the old code may write into an index; what it does not name is short."""
    found = []
    for name in index.columns:
        column = world.old_column(change.table, name)
        if column is not None:
            found.append(column.type)
        elif change.within is None or (world.new_column(change.table, name) is None and not change.within.has(name)):
            return None
    return found


def index_removed(change: Change, world: World) -> Effect:
    return Effect(lock=ACCESS_EXCLUSIVE)


def index_renamed(change: Change, world: World) -> Effect:
    return Effect(lock=SHARE_UPDATE_EXCLUSIVE)


def _invalid(name: str, table: str, world: World) -> str:
    """Why an index of that name cannot be made: a build that was broken off has left one, or there is one."""
    live = world.live(table)
    index = live.indexes.get(name) if live is not None and name else None
    if index is None:
        return ""
    return "" if index.valid else f"a build that was broken off has left an INVALID index {name}"


# -- foreign keys -------------------------------------------------------------------------------------------------


def reference_added(change: Change, world: World) -> Effect:
    new, table = of_kind(change.new, Column), change.table
    found = Effect(
        lock=SHARE_ROW_EXCLUSIVE, grows=True, method="NOT VALID, then validate", safe_way=safe_ways.REFERENCE
    )
    if world.old(table) and (world.old_column(table, new.column) or not new.null):
        found = replace(found, breaks_old=f"the old code may write or leave in {new.column} what refers to nothing")
    if of_kind(new.reference, Reference).acts and world.new(table):
        found = replace(
            found, breaks_new="the new code leaves it to the database to delete what refers to a deleted row"
        )
    return found


def reference_removed(change: Change, world: World) -> Effect:
    old, table = of_kind(change.old, Column), change.table
    found = Effect(lock=ACCESS_EXCLUSIVE)
    if world.new(table):
        found = replace(found, breaks_new=f"the new code may write or leave in {old.column} what refers to nothing")
        if world.old_column(table, old.column) is not None:
            found = replace(found, beware=f"the old code meets rows whose {old.column} refers to nothing")
    if of_kind(old.reference, Reference).acts and world.old(table):
        found = replace(
            found,
            breaks_old="the old code leaves it to the database to delete what refers to a deleted row",
            safe_way=safe_ways.REMOVE_ACTING_REFERENCE,
        )
    return found


def reference_altered(change: Change, world: World) -> Effect:
    was = of_kind(of_kind(change.old, Column).reference, Reference)
    will = of_kind(of_kind(change.new, Column).reference, Reference)
    found = Effect(
        lock=SHARE_ROW_EXCLUSIVE, grows=True, method="NOT VALID, then validate", safe_way=safe_ways.REFERENCE
    )
    if (was.table, was.column) != (will.table, will.column):
        return replace(
            found,
            breaks_old=f"the old code refers to {was.table}" if world.old(change.table) else "",
            breaks_new=f"the new code refers to {will.table}" if world.new(change.table) else "",
            safe_way=safe_ways.OTHER_TARGET,
        )
    reason = "code leaves it to the database to delete what refers to a deleted row"
    if will.acts and world.new(change.table):
        found = replace(found, breaks_new=f"the new {reason}")
    if was.acts and world.old(change.table):
        found = replace(found, breaks_old=f"the old {reason}")
    return found


# -- all of them --------------------------------------------------------------------------------------------------

_RULES: dict[str, Callable[[Change, World], Effect]] = {
    "table added": of_tables.table_added,
    "table removed": of_tables.table_removed,
    "table renamed": of_tables.table_renamed,
    "table commented": of_tables.commented,
    "column added": of_columns.column_added,
    "column removed": of_columns.column_removed,
    "column renamed": of_columns.column_renamed,
    "column altered": of_columns.column_altered,
    "key altered": of_columns.key_altered,
    "unique added": unique_added,
    "unique removed": unique_removed,
    "check added": check_added,
    "check removed": check_removed,
    "index added": index_added,
    "index removed": index_removed,
    "index renamed": index_renamed,
    "reference added": reference_added,
    "reference removed": reference_removed,
    "reference altered": reference_altered,
}


def effect_of(change: Change, world: World) -> Effect:
    """What one change does.  On a table that nobody uses yet nothing waits, however long it takes."""
    found = _RULES[change.kind](change, world)
    if change.kind == "table added":
        return found
    new_table = change.new.table if isinstance(change.new, Table) else change.table
    if change.table in world.made:
        world.made.update({new_table})
        return replace(found, lock="", grows=False, method="")
    if world.database.live and world.live(change.table) is None and change.kind != "table renamed":
        there = change.within is not None and world.live(change.within.table) is not None
        if not there:
            return replace(found, fails=f"there is no table {change.table}", safe_way=safe_ways.NO_TABLE)
    return found
