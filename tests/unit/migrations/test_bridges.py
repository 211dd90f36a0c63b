# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changes have a bridge, which have none and why, and what may not be changed while one stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import bridges, expansion, schema_compatibility
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import phases as decide
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import schema as s
from tests.unit.one_table import ITEM, KEY, NAME, database, having, unique, without

STOCK = s.Column("stock", "stock", "integer", fills=True)


def told(of: s.Database, stand_in: str = "0", why: str = "") -> s.Database:
    """With what the app says the database could put into columns that come and go."""
    (migration,) = of.migrations
    known = {("item", name): (stand_in, why) for name in ("stock", "name")}
    operations = tuple(
        replace(o, difference=replace(o.difference, stand_ins=known)) for o in migration.operations
    )  # fmt: skip
    return replace(of, migrations=(replace(migration, operations=operations),))


def judged(of: s.Database, **more: Any) -> list[tuple[str, str, str]]:
    return [(o.phase, o.action, o.bridge) for o in decide.judge(of, {}, **more).operations]


COMES, GOES = database(ITEM, having(STOCK)), database(ITEM, without("name", ITEM))
RENAMED = database(ITEM, having(replace(NAME, column="title")))


def test_each_kind_makes_a_change_possible_that_neither_order_does() -> None:
    assert judged(told(COMES)) == [("before", "now", "keep_default")]
    assert judged(told(GOES)) == [("after", "defer", "set_default")]
    assert judged(RENAMED) == [("after", "defer", "mirror_column")]
    for of in (told(COMES), told(GOES), RENAMED):
        assert judged(of, bridges=()) == [("downtime", "refuse", "")]


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (told(COMES, "", "the default of stock is a function (made_up)"), "is a function (made_up)"),
        (told(GOES, "", "no value of geometry says nothing"), "says nothing"),
        (told(database(replace(ITEM, uniques=unique("name")), without("name", ITEM))), "unique"),
        (told(database(replace(ITEM, checks={"c": s.Check("c", columns=("name",))}), without("name", ITEM))), "constraint"),
        (told(database(having(replace(NAME, reference=s.Reference("place", "id"))), without("name", ITEM))), "refers to"),
        (database(having(replace(KEY, automatic=False)), having(replace(KEY, automatic=False, column="key"))), "the key"),
        (database(having(replace(NAME, generated="g")), having(replace(NAME, generated="g", column="title"))), "itself"),
        (database(ITEM, having(replace(NAME, column="title", type="text"))), "another column too"),
    ],
    ids=["function", "no value", "unique", "check", "reference", "key", "generated", "another type"],
)  # fmt: skip
def test_what_has_no_bridge_says_why(of: s.Database, why: str) -> None:
    (refused,) = decide.judge(of, {}).refused
    assert refused.phase == "downtime" and why in refused.reason and "cannot be bridged" in refused.reason


def test_a_migration_that_is_not_atomic_has_none() -> None:
    of = told(COMES)
    of = replace(of, migrations=tuple(replace(m, atomic=False) for m in of.migrations))
    assert judged(of) == [("downtime", "refuse", "")]


def test_two_bridges_are_not_put_on_one_column() -> None:
    renamed = having(replace(STOCK, column="rest"))
    assert judged(told(database(ITEM, having(STOCK), renamed)))[1][1:] == ("refuse", "")


def test_nothing_is_changed_under_a_bridge_of_an_earlier_release() -> None:
    wider = database(ITEM, having(replace(NAME, type="text")))
    assert judged(wider, standing=[("item", "old")]) == [("before", "now", "")]
    assert judged(wider, standing=[("item", "name")]) == [("refuse", "refuse", "")]
    assert judged(database(ITEM, None), standing=[("item", "name")])[0][1] == "refuse"
    rows = [{"detail": {"touches": [["item", "name"]]}}, {"detail": {}}]
    assert bridges.touched(rows) == {("item", "name")}


def row(state: str, **detail: Any) -> dict[str, Any]:
    index = 0 if detail.get("bridge") else -1
    return {"app": "shop", "name": "0002", "index": index, "state": state, "operation": "Add field stock to item",
            "release": "r1", "image": "i1", "since": "", "detail": detail}  # fmt: skip


def rows_of(state: str, bridge: str) -> list[dict[str, Any]]:
    action = {"action": "now", "phase": "before", "bridge": bridge, "reversible": True}
    whole = row("expanded", operations=["Add field stock to item"], actions=[action])
    return [whole, row(state, **action)]


def test_a_bridge_waits_for_the_code_that_needs_it() -> None:
    known, rows = {"shop.0002": ["Add field stock to item"]}, rows_of("bridged", "keep_default")
    old, new = ({"container": f"api-{r}", "revision": r, "image": ""} for r in ("r0", "r1"))
    (waits,) = expansion.open_operations(rows, "default", known, [old, new])
    assert "api-r0 runs r0" in waits.waits_for and waits.bridge == "keep_default"
    (ready,) = expansion.open_operations(rows, "default", known, [new])
    assert ready.waits_for == ""
    (rising,) = expansion.open_operations(rows_of("rising", "mirror_column"), "default", known, [new])
    assert "not finished" in rising.waits_for and expansion.unfinished(rows_of("rising", "mirror_column"), "r1", "i1")


@pytest.mark.parametrize(("state", "verdict"), [("bridged", "code only"), ("done", "reverse"), ("settled", "reverse")])
def test_older_code_needs_the_default_that_was_kept_for_it(state: str, verdict: str) -> None:
    (behind,) = schema_compatibility.behind([("shop", "0002")], rows_of(state, "keep_default"), "default")
    assert behind.verdict == verdict


def test_in_a_window_nothing_stands_and_older_code_does_not_survive_it() -> None:
    plan = [{"app": "shop", "name": "0002", "operations": [
        {"index": 0, "action": "now", "phase": "before", "bridge": "keep_default", "reversible": True}]}]  # fmt: skip
    ((action,),) = (one["actions"] for one in expansion.at_once(plan, {("shop", "0002"): ["Add field stock to item"]}))
    assert (action["bridge"], action["phase"]) == ("", "downtime")
    whole = row("settled", operations=["Add field stock to item"], actions=[action])
    (behind,) = schema_compatibility.behind([("shop", "0002")], [whole], "default")
    assert behind.verdict == "reverse"


COLUMNS = st.builds(
    s.Column, st.just("name"), st.sampled_from(["name", "title"]), st.sampled_from(["text", "integer", "varchar(9)"]),
    null=st.booleans(), fills=st.booleans(), db_default=st.sampled_from(["", "d"]), stand_in=st.sampled_from(["", "0"]),
)  # fmt: skip


@given(st.none() | COLUMNS, st.none() | COLUMNS, st.sampled_from(["", "0"]))
def test_a_bridge_only_makes_possible_what_was_refused(
    before: s.Column | None, after: s.Column | None, stand_in: str
) -> None:
    tables = [without("name", ITEM) if c is None else having(c) for c in (before, after)]
    of = told(database(*tables), stand_in)
    for without_any, with_all in zip(decide.judge(of, {}, bridges=()).operations, decide.judge(of, {}).operations):
        if with_all.bridge:
            assert without_any.phase == "downtime" and with_all.action in ("now", "defer")
        else:
            assert (without_any.phase, without_any.action) == (with_all.phase, with_all.action)
