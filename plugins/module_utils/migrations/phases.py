# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When each pending operation may run: its phase, what is done with it now, and what cannot be.

A phase follows from two questions (``migration_rules``): does the old code break once it is made, does the new code
break until it is made?  In *expand*, before the code is replaced, ``now`` operations run, and of those that are
``defer`` only Django's state moves; in *contract*, when the old code is gone, these run.  So an operation after one
that is put off must not need it: that is where a plan has to be split.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from . import safe_ways
from .bridges import KEEP_DEFAULT, USUAL, WHOLE_TABLE, over
from .constraints import effect_of
from .data_moves import BETWEEN, way_of
from .rules import ACCESS_EXCLUSIVE, Effect, World, together
from .schema import Column, Database, Migration, Operation, Table, Unique
from .schema_changes import Change, changes_of

PHASES = ("either", "before", "after", BETWEEN, "downtime", "unknown", "refuse")
NOW, DEFER, REFUSE = "now", "defer", "refuse"
#: What a migration may declare of an operation that cannot be judged.
DECLARABLE = ("before", "after", "either", BETWEEN)
#: Bytes of a table above which nothing may scan or rewrite it under a lock that others wait for.
BLOCKING_BYTES = 64 * 1024**2

_STRICTNESS = {phase: place for place, phase in enumerate(PHASES)}


@dataclass(frozen=True)
class Judged:
    """The verdict on one operation, with what whoever runs it has to know.

    :ivar index: its place in the migration; with ``app``, ``name`` and ``database`` its identity.
    :ivar method: how it is run without blocking, where plainly it would block for long, or ``batches``; empty for plainly.
    :ivar bridge: temporary DDL that is put up with it and taken down by contract, by which both codes live on one schema.
    """

    app: str
    name: str
    database: str
    index: int
    operation: str
    phase: str
    action: str
    reason: str
    lock: str = ""
    grows_with_table: bool = False
    safe_way: str = ""
    bridge: str = ""
    method: str = ""
    beware: str = ""
    drops_data: bool = False
    reversible: bool = True
    atomic: bool = True
    opaque: bool = False
    declared: str = ""
    sql: tuple[str, ...] | None = None
    bridge_sql: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """Why the plan cannot be carried out as it is: which operation, and the way out."""

    app: str
    name: str
    database: str
    index: int
    operation: str
    phase: str
    reason: str
    safe_way: str


@dataclass(frozen=True)
class Decision:
    """Everything about one database."""

    database: str
    operations: tuple[Judged, ...]
    refused: tuple[Refused, ...]
    migrations: tuple[tuple[str, str, str], ...]


def phase_of(effect: Effect) -> str:
    """The phase that follows from what an operation does."""
    if effect.fails:
        return "refuse"
    if effect.unknown:
        return "unknown"
    if effect.breaks_old and effect.breaks_new:
        return "downtime"
    return "after" if effect.breaks_old else "before" if effect.breaks_new else "either"


def judge(
    database: Database,
    declared: Mapping[str, str],
    old_code_upserts: bool = True,
    blocking_bytes: int = BLOCKING_BYTES,
    made: Mapping[tuple[str, str, int], str] | None = None,
    bridges: Sequence[str] = USUAL,
    standing: Collection[tuple[str, str]] = (),
) -> Decision:
    """Judge the pending operations of one database in their order.

    :param declared: phases by ``app.name`` or ``app.name:index``; they go before those in the migrations' files.
    :param old_code_upserts: whether the old code may name unique columns in ``ON CONFLICT``.
    :param made: what was done with operations since the code that serves was begun; no verdict is given on them again.
    :param bridges: the kinds of bridges that may be put up.
    :param standing: tables and columns that bridges of earlier releases are about; nothing is changed under these.
    """
    world, known = World(database, old_code_upserts), made or {}
    court = _Court(database, declared, world, blocking_bytes, bridges, standing)
    for migration in database.migrations:
        for operation in migration.operations:
            place = (migration.app, migration.name, operation.index)
            if place in known:
                court.remember(migration, operation, known[place])
            else:
                court.hear(migration, operation)
    phases = []
    for migration in database.migrations:
        if migration.recorded:
            continue
        own = [o.phase for o in court.judged if (o.app, o.name) == (migration.app, migration.name)]
        phases.append((migration.app, migration.name, phase_of_all(own)))
    return Decision(database.alias, tuple(court.judged), tuple(court.refused), tuple(phases))


def phase_of_all(phases: list[str]) -> str:
    """The phase of a migration: its strictest; one that begins before and ends after is begun before."""
    strictest = max(phases, key=lambda p: _STRICTNESS[p], default="either")
    return "before" if strictest in ("after", BETWEEN) and "before" in phases else strictest


class _Court:
    """Hears the operations of one database one after the other."""

    def __init__(
        self,
        database: Database,
        declared: Mapping[str, str],
        world: World,
        blocking_bytes: int,
        bridges: Sequence[str],
        standing: Collection[tuple[str, str]],
    ) -> None:
        self.database, self.declared, self.world, self.blocking_bytes = database, declared, world, blocking_bytes
        self.bridges, self.standing = bridges, standing
        self.judged: list[Judged] = []
        self.refused: list[Refused] = []
        self._deferred: list[tuple[Migration, Operation, frozenset[tuple[str, ...]], bool]] = []
        self._unseen = {(m.app, m.name, i) for m in database.migrations if m.atomic for i in _there_and_back(m)}
        # Nothing has ever been migrated and nothing is there: no code runs on it.
        nothing = not database.applied and all(t is None for t in database.live.values())
        self._empty = nothing and database.vendor == "postgresql"

    def hear(self, migration: Migration, operation: Operation) -> None:
        changes = all_changes(operation)
        effect = self._effect(migration, operation, changes)
        said, opaque, phase = self._declared(migration, operation), _is_opaque(operation), phase_of(effect)
        if self._empty and phase != "refuse":
            phase, said = "before", ""
            effect = Effect(breaks_new="no code runs on an empty database yet")
        elif said and (phase == "unknown" or (phase == "downtime" and effect.declarable and said != BETWEEN)):
            phase = said
        else:
            said = ""
        action = {"either": NOW, "before": NOW, "after": DEFER, BETWEEN: DEFER}.get(phase, REFUSE)
        verdict = Judged(
            migration.app, migration.name, self.database.alias, operation.index, operation.operation, phase, action,
            _reason(effect, said), effect.lock, effect.grows, effect.safe_way, effect.bridge,
            beware=effect.beware, drops_data=effect.drops_data, reversible=operation.reversible,
            atomic=operation.atomic, opaque=opaque, declared=said, sql=operation.sql,
        )  # fmt: skip
        if said and opaque:
            verdict = self._moving(verdict, migration, operation)
        verdict = self._in_order(migration, operation, changes, self._by_size(verdict, effect, changes))
        verdict = self._beside_bridges(verdict, operation, changes)
        self._enter(migration, operation, changes, verdict)

    def remember(self, migration: Migration, operation: Operation, action: str) -> None:
        """What was done with an operation before, for those that come after it."""
        self._follow(migration, operation, all_changes(operation), action)

    # -- what it does ---------------------------------------------------------------------------------------------

    def _effect(self, migration: Migration, operation: Operation, changes: list[Change]) -> Effect:
        if self.database.vendor != "postgresql" and (changes or _is_opaque(operation)):
            reason = f"{self.database.alias} is {self.database.vendor}"
            return Effect(unknown=reason, safe_way=safe_ways.OTHER_DATABASE)
        if (migration.app, migration.name, operation.index) in self._unseen:
            built = any(change.kind == "unique added" for change in changes)
            return Effect(lock=ACCESS_EXCLUSIVE, grows=built, safe_way=safe_ways.UNIQUE_FIRST if built else "")
        # What is done outside of a transaction, or to the database alone, has no bridge.
        allowed = self.bridges if migration.atomic and not operation.separate else ()
        parts = [over(effect_of(change, self.world), change, self.world, allowed) for change in changes]
        if len({part.bridge for part in parts if part.stands}) > 1:
            parts = [over(effect_of(change, self.world), change, self.world, ()) for change in changes]
        if migration.atomic and any(one.concurrently for one in (operation, *_children(operation))):
            parts.append(Effect(fails="nothing is built concurrently in a transaction", safe_way=safe_ways.NOT_ATOMIC))
        parts += [part for one in (operation, *_children(operation)) for part in self._beside(one)]
        parts += self._claimed(operation, changes)
        return _split_where_it_helps(together(parts), parts)

    def _beside(self, operation: Operation) -> list[Effect]:
        """What an operation does that no table shows."""
        if operation.opaque:
            names = {"python": "RunPython", "sql": "RunSQL"}
            what = names.get(operation.opaque, f"{operation.kind} with code of its own")
            return [Effect(unknown=f"what {what} does is not known", safe_way=safe_ways.OPAQUE)]
        if operation.extension:
            fails = "" if operation.available else f"the server has no extension {operation.extension}"
            return [
                Effect(breaks_new="the new code may use it", fails=fails, safe_way=safe_ways.EXTENSION if fails else "")
            ]
        if operation.collation:
            gone = operation.removes
            return [Effect("the old code may use it" if gone else "", "" if gone else "the new code may use it")]
        if operation.validates:
            return [Effect(lock="SHARE UPDATE EXCLUSIVE", grows=True, method="plain")]
        return []

    def _claimed(self, operation: Operation, changes: list[Change]) -> list[Effect]:
        """What the state alone claims: the schema stays as it is, and the new code thinks that it does not."""
        if operation.stated is None or _is_opaque(operation):
            return []
        done = {(c.kind, c.table, c.columns, c.name) for c in changes}
        parts = []
        for claim in changes_of(operation.stated):
            if (claim.kind, claim.table, claim.columns, claim.name) in done or self._is_so(claim):
                continue
            effect = effect_of(claim, self.world)
            if effect.breaks_new:
                reason = (
                    f"the state alone says: {claim.kind} ({claim.table}), and as the database is {effect.breaks_new}"
                )
                parts.append(Effect(unknown=reason, safe_way=safe_ways.SEPARATE))
        return parts

    def _is_so(self, claim: Change) -> bool:
        """Whether the database is already as a claim says."""
        live = self.world.live(claim.table)
        if claim.kind == "table added":
            return (
                isinstance(claim.new, Table)
                and live is not None
                and all(c.column in live.columns for c in claim.new.columns.values())
            )
        if claim.kind == "column added":
            return isinstance(claim.new, Column) and live is not None and claim.new.column in live.columns
        return False

    def _declared(self, migration: Migration, operation: Operation) -> str:
        key = f"{migration.app}.{migration.name}"
        alone = self.declared.get(f"{key}:{operation.index}", "")
        if alone or (not _is_opaque(operation) and any(_is_opaque(o) for o in migration.operations)):
            # What is said of a whole migration is said of what cannot be known, where it has that.
            return alone
        return self.declared.get(key) or migration.declared

    # -- size and order -------------------------------------------------------------------------------------------

    def _by_size(self, verdict: Judged, effect: Effect, changes: list[Change]) -> Judged:
        """Where it would block for long: by the form that does not, or not at all."""
        if not effect.grows or effect.lock in ("", "SHARE UPDATE EXCLUSIVE") or verdict.action == REFUSE:
            return verdict
        tables = [live for live in (self.world.live(c.table) for c in changes) if live is not None]
        largest = max((live.bytes for live in tables), default=0)
        if largest <= self.blocking_bytes:
            return verdict
        # Of a partitioned table nothing is made concurrently.
        if effect.method and all(live.kind == "r" for live in tables):
            return replace(verdict, method=effect.method)
        reason = f"it would hold a lock ({effect.lock}) while it goes through {largest // 1024**2} MiB"
        return replace(verdict, phase="refuse", action=REFUSE, reason=_joined(reason, verdict.reason))

    def _moving(self, verdict: Judged, migration: Migration, operation: Operation) -> Judged:
        """What moves rows as it says: in batches, or in one transaction where that can be short."""
        numbered = f"{migration.app}.{migration.name}:{operation.index}" in self.declared
        alone = numbered or migration.one_transaction
        tables = self.database.sizes.get(migration.app, ())
        way = way_of(operation, verdict.phase, alone, tables, self.blocking_bytes)
        if not way.reason:
            return replace(verdict, method=way.method)
        return replace(verdict, phase="refuse", action=REFUSE, reason=way.reason, safe_way=way.safe_way)

    def _in_order(self, migration: Migration, operation: Operation, changes: list[Change], verdict: Judged) -> Judged:
        """What runs now must not need what was put off."""
        if verdict.action != NOW:
            return verdict
        earlier = self._in_the_way(migration, operation, changes)
        if earlier is None:
            return verdict
        where, what = earlier
        if verdict.phase == "either" and not verdict.opaque:
            return replace(verdict, action=DEFER, reason=f"it goes with {where.app}.{where.name}: {what.operation}")
        reason = (
            f"it would run before the code is replaced, and {what.operation} of {where.app}.{where.name}, which it comes "
            "after, only when the old code is gone"
        )
        return replace(verdict, phase="refuse", action=REFUSE, reason=reason, safe_way=safe_ways.SPLIT)

    def _beside_bridges(self, verdict: Judged, operation: Operation, changes: list[Change]) -> Judged:
        """Nothing is changed under a bridge that still stands, and none is left of what is refused."""
        under = next((c for c in changes if any(self._is_about(c, t, column) for t, column in self.standing)), None)
        if under is not None and verdict.action != REFUSE:
            reason = f"a bridge of an earlier release stands on {under.table} until the code from before it is gone"
            verdict = replace(verdict, phase="refuse", action=REFUSE, reason=reason, safe_way=safe_ways.CONTRACT_FIRST)
        if verdict.action == REFUSE:
            return replace(verdict, bridge="")
        return replace(verdict, bridge_sql=_bridge_sql(verdict, changes, operation)) if verdict.bridge else verdict

    @staticmethod
    def _is_about(change: Change, table: str, column: str) -> bool:
        names = {change.table, change.within.table if change.within else ""}
        whole = column == WHOLE_TABLE or change.kind in ("table removed", "table renamed")
        return table in names and (whole or column in change.columns)

    def _in_the_way(
        self, migration: Migration, operation: Operation, changes: list[Change]
    ) -> tuple[Migration, Operation] | None:
        touched = touched_by(operation, changes)
        for where, what, theirs, opaque in self._deferred:
            related = where.app == migration.app or (where.app, where.name) in migration.ancestors
            if touched & theirs or (_is_opaque(operation) and (related or opaque)):
                return where, what
        return None

    def _enter(self, migration: Migration, operation: Operation, changes: list[Change], verdict: Judged) -> None:
        self.judged.append(verdict)
        if verdict.action == REFUSE:
            v = verdict
            self.refused.append(Refused(v.app, v.name, v.database, v.index, v.operation, v.phase, v.reason, v.safe_way))
        self._follow(migration, operation, changes, verdict.action)
        if verdict.bridge:
            self.world.bridged.update((change.table, column) for change in changes for column in change.columns)

    def _follow(self, migration: Migration, operation: Operation, changes: list[Change], action: str) -> None:
        if action == DEFER:
            self._deferred.append((migration, operation, touched_by(operation, changes), _is_opaque(operation)))
            for change in changes:
                self.world.put_off(change)
        self.world.moved_data = self.world.moved_data or _is_opaque(operation)
        if action == NOW:
            for change in changes:
                self.world.note(change)


def _children(operation: Operation) -> list[Operation]:
    return [found for child in operation.separate for found in (child, *_children(child))]


def all_changes(operation: Operation) -> list[Change]:
    """What an operation changes in the database, its children's changes included."""
    own = [] if operation.opaque else changes_of(operation.difference)
    return own + [change for child in operation.separate for change in all_changes(child)]


def _there_and_back(migration: Migration) -> set[int]:
    """Operations of which one takes away what the next brings again, in the same transaction: nobody ever sees that.

    A column gets another name and its own again, or what keeps columns unique is another constraint.
    """
    found: set[int] = set()
    for one, other in zip(migration.operations, migration.operations[1:]):
        # What is taken back cannot take back anything itself.
        if one.index not in found and _takes_back(one, other):
            found |= {one.index, other.index}
    return found


def _takes_back(one: Operation, other: Operation) -> bool:
    if one.opaque or one.separate or other.opaque or other.separate:
        return False
    first, second = changes_of(one.difference), changes_of(other.difference)
    if len(first) != 1 or len(second) != 1 or first[0].table != second[0].table:
        return False
    (there, back), old, new = (first[0], second[0]), first[0].old, second[0].new
    if (
        (there.kind, back.kind) == ("unique removed", "unique added")
        and isinstance(old, Unique)
        and isinstance(new, Unique)
    ):
        return old.upsert_target and new.upsert_target and set(old.columns) == set(new.columns)
    return there.kind == back.kind == "column renamed" and there.columns == back.columns[::-1]


def _is_opaque(operation: Operation) -> bool:
    return bool(operation.opaque) or any(_is_opaque(child) for child in operation.separate)


def touched_by(operation: Operation, changes: list[Change]) -> frozenset[tuple[str, ...]]:
    """What an operation is about, as names that another one may be about too."""
    found: set[tuple[str, ...]] = set()
    claimed = [c for o in (operation, *_children(operation)) if o.stated for c in changes_of(o.stated)]
    for change in (*changes, *claimed):
        found.update(("column", change.table, column) for column in change.columns)
        if change.name:
            found.add(("name", change.name))
        found.update(_referred_to(change))
        for side in (change.old, change.new):
            if isinstance(side, Table):
                found.add(("table", side.table))
                found.update(("column", side.table, c.column) for c in side.columns.values())
                found.update(("name", n) for n in (*side.uniques, *side.checks, *side.indexes))
    for one in (operation, *_children(operation)):
        if one.validates:
            found.add(("name", one.validates[1]))
        if one.collation:
            found.add(("collation", one.collation))
    return frozenset(found)


def _referred_to(change: Change) -> set[tuple[str, ...]]:
    """Columns that foreign keys of a new column or table need to be as they are to be."""
    columns = [change.new] if isinstance(change.new, Column) else []
    if isinstance(change.new, Table):
        columns = list(change.new.columns.values())
    return {("column", c.reference.table, c.reference.column) for c in columns if c.reference}


def _split_where_it_helps(effect: Effect, parts: list[Effect]) -> Effect:
    """Where no single part is in the way of both codes, two operations would do."""
    alone = [p for p in parts if p.breaks_old and p.breaks_new]
    if effect.breaks_old and effect.breaks_new and not alone:
        return replace(effect, safe_way=safe_ways.TWO_OPERATIONS, bridge="", stands="")
    return effect


def _bridge_sql(verdict: Judged, changes: list[Change], operation: Operation) -> tuple[str, ...]:
    """The statements of a bridge, without values."""
    if verdict.bridge != KEEP_DEFAULT:
        return operation.bridge_sql
    return tuple(
        f'ALTER TABLE "{change.table}" ALTER COLUMN "{change.new.column}" SET DEFAULT {change.new.stand_in}'
        for change in changes
        if isinstance(change.new, Column) and change.new.stand_in
    )


def _joined(*texts: str) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _reason(effect: Effect, said: str) -> str:
    if effect.fails:
        return effect.fails
    text = _joined(effect.unknown, effect.breaks_old, effect.breaks_new, effect.stands)
    if said:
        return f"declared {said}; {text}"
    return text or "neither the old nor the new code depends on it"


def as_dicts(decision: Decision) -> dict[str, Any]:
    """The shape that the module returns."""
    plan = []
    for app, name, phase in decision.migrations:
        own = [asdict(o) for o in decision.operations if (o.app, o.name) == (app, name)]
        for one in own:
            for key in ("app", "name", "database"):
                del one[key]
        plan.append({"app": app, "name": name, "database": decision.database, "phase": phase, "operations": own})
    return {"plan": plan, "refused": [asdict(r) for r in decision.refused]}
