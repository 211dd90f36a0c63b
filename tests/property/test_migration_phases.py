# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever tables become of tables: every operation gets a verdict, and knowing less never makes it milder."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import phases as decide
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import schema as s

TYPES = [
    "bigint",
    "integer",
    "smallint",
    "varchar(20)",
    "varchar(50)",
    "text",
    "numeric(8, 2)",
    "boolean",
    "jsonb",
    "x y",
]
NAMES = ["a", "b", "c", "d"]
MILD = {"either": 0, "before": 1, "after": 1, "downtime": 2, "unknown": 3, "refuse": 3}


@st.composite
def columns(draw: st.DrawFn, name: str) -> s.Column:
    default = draw(st.sampled_from(["", "", "constant", "volatile"]))
    return s.Column(
        name,
        draw(st.sampled_from([name, name, f"{name}_id"])),
        draw(st.sampled_from(TYPES)),
        null=draw(st.booleans()),
        fills=draw(st.booleans()),
        db_default=default and draw(st.sampled_from(["1", "2"])),
        db_default_kind=default,
        generated=draw(st.sampled_from(["", "", "", "g"])),
        total=draw(st.booleans()),
        check=draw(st.sampled_from(["", "", "k"])),
        collation=draw(st.sampled_from(["", "", "C"])),
        reference=draw(
            st.sampled_from([None, None, s.Reference("other", "id"), s.Reference("other", "id", "CASCADE")])
        ),
    )


@st.composite
def tables(draw: st.DrawFn) -> s.Table:
    key = s.Column("id", "id", "bigint", primary_key=True, automatic=True)
    found = {n: draw(columns(n)) for n in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))}
    named = [c.column for c in found.values()]
    uniques, checks, indexes = {}, {}, {}
    if named and draw(st.booleans()):
        some = tuple(draw(st.lists(st.sampled_from(named), unique=True, min_size=1)))
        uniques["u"] = s.Unique(
            "u", some, "u", condition=draw(st.sampled_from(["", "w"])), deferrable=draw(st.booleans())
        )
    if named and draw(st.booleans()):
        checks["k"] = s.Check("k", draw(st.sampled_from(["check", "exclusion", "other"])), "d", (named[0],))
    if named and draw(st.booleans()):
        indexes["i"] = s.Index(
            "i", (named[0],), "i", draw(st.sampled_from(["btree", "gin", "hash"])), draw(st.booleans())
        )
    name = draw(st.sampled_from(["item", "item", "item", "thing"]))
    return s.Table(name, True, ("id",), {"id": key, **found}, uniques, checks, indexes)


@st.composite
def databases(draw: st.DrawFn) -> s.Database:
    steps = draw(st.lists(st.one_of(st.none(), tables(), tables(), tables()), min_size=2, max_size=5))
    operations = []
    for index, (before, after) in enumerate(zip(steps, steps[1:])):
        difference = s.Difference({"app.item": before} if before else {}, {"app.item": after} if after else {})
        opaque = draw(st.sampled_from(["", "", "", "", "python", "sql"]))
        operations.append(s.Operation(index, f"step {index}", opaque=opaque, difference=difference))
    other = s.Table("other", True, ("id",), {"id": s.Column("id", "id", "bigint", primary_key=True)})
    known = {"other": (other,)}
    old, new = ({**known, **({t.table: (t,)} if t else {})} for t in (steps[0], steps[-1]))
    return s.Database(
        "default", "postgresql", (s.Migration("app", "0002", tuple(operations)),), old, new, {}, applied=1,
    )  # fmt: skip


def judged(database: s.Database, **more: bool) -> tuple[decide.Judged, ...]:
    return decide.judge(database, {}, **more).operations


@settings(max_examples=200)
@given(databases())
def test_every_operation_gets_a_verdict_with_its_reason_and_a_way_out(database: s.Database) -> None:
    decided = decide.judge(database, {})
    assert [o.index for o in decided.operations] == [o.index for o in database.migrations[0].operations]
    for one in decided.operations:
        assert one.phase in decide.PHASES and one.reason
        assert one.action == {"after": "defer", "before": "now"}.get(one.phase, "refuse") or one.phase == "either"
        if one.phase in ("after", "downtime", "unknown", "refuse"):
            assert one.safe_way, one
    assert [r.index for r in decided.refused] == [o.index for o in decided.operations if o.action == "refuse"]


@settings(max_examples=200)
@given(databases())
def test_what_runs_now_does_not_touch_what_was_put_off(database: s.Database) -> None:
    put_off: set[tuple[str, ...]] = set()
    for operation, one in zip(database.migrations[0].operations, judged(database)):
        touched = decide.touched_by(operation, decide.all_changes(operation))
        if one.action == "defer":
            put_off |= touched
        elif one.action == "now":
            assert not touched & put_off


@settings(max_examples=200)
@given(databases())
def test_ruling_something_out_never_makes_the_first_verdict_stricter(database: s.Database) -> None:
    """What the code is known not to do can only help; so can what the server is known not to keep."""
    plain = judged(database)[0]
    helped = judged(replace(database, upserts=""), old_code_upserts=False)[0]
    assert MILD[helped.phase] <= MILD[plain.phase]
    prepared = judged(replace(database, prepared_statements=True))[0]
    assert MILD[plain.phase] <= MILD[prepared.phase]


@settings(max_examples=200)
@given(databases())
def test_code_that_knows_nothing_of_a_table_is_not_broken_by_it(database: s.Database) -> None:
    """Old code without the tables: nothing waits for it to go, and nothing needs a gap."""
    unaware = replace(database, old={})
    assert {o.phase for o in judged(unaware) if not o.opaque} <= {"either", "before", "refuse", "unknown"}


@settings(max_examples=200)
@given(databases(), st.integers(0, 200))
def test_a_bigger_table_is_never_safer(database: s.Database, mebibytes: int) -> None:
    def at(size: int) -> list[str]:
        live = {name: s.LiveTable(bytes=size) for name in ("item", "thing")}
        return [o.action for o in judged(replace(database, live=live))][:1]

    small, big = at(0), at(mebibytes * 1024**2)
    assert small == big or big == ["refuse"]
