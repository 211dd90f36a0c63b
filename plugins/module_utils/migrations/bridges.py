# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges: temporary DDL by which old and new code live on one schema, where neither order of the change would do.

A bridge is put up in the transaction of the expand step that it belongs to, and taken down by contract, when no code is
left that needs it.  Which changes have one is decided here; the DDL is in ``inside/bridges.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .rules import Effect, World
from .schema import Column, Table
from .schema_changes import Change

#: A column comes, and its default stays in the database, for the rows of code that does not know it.
KEEP_DEFAULT = "keep_default"
#: A column goes later, and until then has a default, for the rows of code that does not know it any more.
SET_DEFAULT = "set_default"
#: A column gets its new name later, and until then there are both, kept in step by a trigger.
MIRROR_COLUMN = "mirror_column"
#: What refers to other rows goes later, and until then a trigger takes it along where the new code deletes these.
FOREIGN_KEY = "foreign_key"
#: A table gets its new name later, and until then the new name is a partitioned table of which the old one is the only part.
SYNONYM = "synonym"
KINDS = (KEEP_DEFAULT, SET_DEFAULT, MIRROR_COLUMN, FOREIGN_KEY, SYNONYM)
#: What is put up unless somebody says otherwise.
USUAL = KINDS[:-1]
#: In the place of a column: all of the table.
WHOLE_TABLE = "*"


def over(effect: Effect, change: Change, world: World, allowed: Sequence[str]) -> Effect:
    """A change as it is with its bridge, where it needs one and has one; else with the reason why it has none."""
    if not (effect.bridge and effect.breaks_old and effect.breaks_new) or effect.fails:
        return replace(effect, bridge="")
    if effect.bridge not in allowed:
        return replace(effect, bridge="")
    kinds = {
        KEEP_DEFAULT: _keep_default,
        SET_DEFAULT: _set_default,
        MIRROR_COLUMN: _mirror_column,
        FOREIGN_KEY: _foreign_key,
        SYNONYM: _synonym,
    }
    why, healed = kinds[effect.bridge](effect, change, world)
    if not why and any((change.table, column) in world.bridged for column in change.columns):
        why = "another bridge of the same update is about that column"
    if why:
        broken = f"{effect.breaks_old}, which cannot be bridged: {why}"
        return replace(effect, bridge="", breaks_old=broken)
    return healed


def _keep_default(effect: Effect, change: Change, world: World) -> tuple[str, Effect]:
    new, within = change.new, change.within
    if not isinstance(new, Column) or within is None:
        return "no table is known that it belongs to", effect
    stands = f"until the old code is gone, the database fills {new.column} of its rows with {new.stand_in}"
    return _missing(new), replace(effect, breaks_old="", stands=stands)


def _missing(column: Column) -> str:
    """Why the database has nothing to put into a column, empty where it has."""
    return "" if column.stand_in else column.no_stand_in or f"no value for {column.column} is known"


def _set_default(effect: Effect, change: Change, world: World) -> tuple[str, Effect]:
    old, within = change.old, change.within
    if not isinstance(old, Column) or within is None:
        return "no table is known that it belongs to", effect
    column = old.column
    why = _missing(old)
    if old.primary_key:
        why = f"{column} is the key"
    elif old.reference is not None:
        why = f"{column} refers to rows of {old.reference.table}, and a row without one cannot be made up"
    elif any(column in u.columns or not u.plain for u in within.uniques.values()):
        why = f"{column} is in a unique constraint, or may be, and all rows of the new code would have the same"
    elif any(column in c.columns or c.kind != "check" for c in within.checks.values()):
        why = f"{column} is in a constraint, which a value that is made up may not fulfil"
    return why, replace(
        effect,
        breaks_new="",
        stands=f"until it is dropped, the database fills {column} of the new code's rows with {old.stand_in}",
        beware=f"the old code meets rows of the new one that have {old.stand_in} in {column}",
    )


def _mirror_column(effect: Effect, change: Change, world: World) -> tuple[str, Effect]:
    old, new, within = change.old, change.new, change.within
    if not isinstance(old, Column) or not isinstance(new, Column) or within is None:
        return "no table is known that it belongs to", effect
    why = ""
    if within.table != change.table:
        why = "its table gets another name too"
    elif old.primary_key:
        why = f"{old.column} is the key"
    elif old.automatic or old.generated:
        why = f"the database makes {old.column} itself"
    elif getattr(world.live(within.table), "kind", "r") != "r":
        why = "its table is partitioned, and no index of it can be built concurrently"
    elif old.db_default and old.null:
        why = f"nobody can tell a NULL in {old.column} from a value that the database is to give"
    elif (old.type, old.null, old.collation) != (new.type, new.null, new.collation):
        why = "it is another column too, not the same under another name"
    stands = f"until the old code is gone there are both {old.column} and {new.column}, kept in step by a trigger"
    return why, replace(effect, breaks_new="", stands=stands)


def _foreign_key(effect: Effect, change: Change, world: World) -> tuple[str, Effect]:
    old = change.old
    column = old.column if isinstance(old, Column) else ""
    # Of a column that goes the rows stay, so it has to be one that may be empty.
    stays = isinstance(old, Column) and world.column(change.table, old).not_null
    going = f"{column} is emptied" if column else f"rows of {change.table} are deleted"
    stands = f"until it is dropped, {going} where it refers to what the new code deletes"
    return f"{column} is NOT NULL" if stays else "", replace(effect, breaks_new="", stands=stands)


def _synonym(effect: Effect, change: Change, world: World) -> tuple[str, Effect]:
    old, new = change.old, change.new
    if not isinstance(old, Table) or not isinstance(new, Table):
        return "no table is known that it belongs to", effect
    why = ""
    if len(old.primary_key) != 1:
        why = "its key is of several columns"
    elif getattr(world.live(old.table), "kind", "r") != "r":
        why = "it is partitioned"
    elif world.database.upserts and any(unique.upsert_target for unique in old.uniques.values()):
        why = f"an upsert (ON CONFLICT) by the name {new.table} finds no unique index ({world.database.upserts})"
    stands = f"until the old code is gone, {new.table} is a second name of {old.table}"
    return why, replace(effect, breaks_new="", stands=stands)


def touched(rows: Sequence[Mapping[str, Any]]) -> frozenset[tuple[str, str]]:
    """Tables and columns that standing bridges are about."""
    return frozenset((str(t), str(c)) for row in rows for t, c in row["detail"].get("touches") or ())
