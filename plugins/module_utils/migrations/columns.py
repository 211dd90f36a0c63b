# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change of a column does to the code from before and to the code that waits for it."""

from __future__ import annotations

from dataclasses import replace

from . import column_types, safe_ways
from .rules import ACCESS_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Effect, World, orphans, rows_are_there, together
from .schema import Column
from .schema_changes import Change, of_kind


def column_added(change: Change, world: World) -> Effect:
    new = of_kind(change.new, Column)
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
        found = replace(found, beware=orphans(table, [reference.table], new.fills))
    return found


def column_removed(change: Change, world: World) -> Effect:
    old = of_kind(change.old, Column)
    table = change.table
    found = Effect(lock=ACCESS_EXCLUSIVE, drops_data=not old.generated, safe_way=safe_ways.REMOVE_COLUMN)
    if world.old_column(table, old.column) is not None:
        found = replace(found, breaks_old=f"the old code reads and writes {old.column}")
    if not world.new(table) or world.new_column(table, old.column) is not None or (table, old.column) in world.not_yet:
        return found
    now = world.column(table, old)
    if now.not_null and not now.given:
        reason = f"until it is gone, the new code's INSERT does not name {old.column}, which is NOT NULL"
        return replace(found, breaks_new=reason, bridge="set_default", safe_way=safe_ways.REMOVE_NOT_NULL)
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
            return replace(found, breaks_new=reason, bridge="foreign_key", safe_way=safe_ways.REMOVE_REFERENCE)
    return found


def column_renamed(change: Change, world: World) -> Effect:
    old, new = of_kind(change.old, Column), of_kind(change.new, Column)
    table = change.within.table if change.within else change.table
    return Effect(
        breaks_old=f"the old code uses {old.column}" if world.old_column(table, old.column) else "",
        breaks_new=f"the new code uses {new.column}" if world.new_column(change.table, new.column) else "",
        lock=ACCESS_EXCLUSIVE,
        # Django makes the rule of such a column anew.
        grows=bool(old.check),
        method="NOT VALID, then validate" if old.check else "",
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
    old, new = of_kind(change.old, Column), of_kind(change.new, Column)
    parts = []
    if bool(old.generated) != bool(new.generated) or (old.generated and old.generated != new.generated):
        parts.append(Effect(fails="Django alters no generated column", safe_way=safe_ways.GENERATED_ALTERED))
    if old.primary_key != new.primary_key:
        parts.append(key_altered(change, world))
    if old.type != new.type:
        parts.append(_type(change, old, new, world))
    if old.collation != new.collation:
        parts.append(_collation(change, old, new, world))
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
    live = world.live(change.table)
    lost = live.losses.get(f"{old.column}: {new.type}") if live is not None and not world.moved_data else None
    if lost == "fails":
        return replace(found, fails=f"a value of {new.column} cannot become {new.type}", safe_way=safe_ways.NARROW)
    if lost:
        found = replace(found, drops_data=True, beware=f"values of {new.column} would be cut or rounded by {new.type}")
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
        found = Effect(breaks_new=reason if world.new(table) and needs else "", lock=ACCESS_EXCLUSIVE)
        if world.old_column(table, new.column) is None:
            return found
        return replace(found, beware=f"the old code meets rows that have no {new.column}, which it may not expect")
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
    if nulls and not (new.fills or new.db_default) and not world.moved_data:
        see = f'SELECT * FROM "{table}" WHERE "{new.column}" IS NULL'
        return replace(found, fails=f"rows have NULL in {new.column} ({see})", safe_way=safe_ways.NULLS)
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


def _collation(change: Change, old: Column, new: Column, world: World) -> Effect:
    usual = {"", *world.database.own_collations}
    if {old.collation, new.collation} <= usual:
        return Effect(lock=ACCESS_EXCLUSIVE, grows=True)
    knows_old, knows_new = _known(change, new.column, world)
    reason = "what the database finds and how it sorts depends on the collation, which the {} code may rely on"
    return Effect(
        reason.format("old") if knows_old else "",
        reason.format("new") if knows_new else "",
        declarable=True,
        lock=ACCESS_EXCLUSIVE,
        grows=True,
        safe_way=safe_ways.COLLATION,
    )


def _automatic(change: Change, old: Column, new: Column, world: World) -> Effect:
    knows_old, knows_new = _known(change, new.column, world)
    found = Effect(lock=ACCESS_EXCLUSIVE, safe_way=safe_ways.KEY)
    if new.automatic:
        return replace(found, breaks_new=f"the new code lets the database number {new.column}" if knows_new else "")
    return replace(found, breaks_old=f"the old code lets the database number {new.column}" if knows_old else "")
