# SPDX-License-Identifier: GPL-3.0-or-later
"""When a migration may run: what single changes do to both codes, the order of a plan, and what is declared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import phases as decide
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import schema as s
from tests.unit.one_table import ITEM, KEY, NAME, NOTE, database, having, live_of, phases, unique, without


@pytest.mark.parametrize(
    ("before", "after", "phase"),
    [
        (ITEM, having(NOTE), "before"),
        (ITEM, having(replace(NOTE, null=False, fills=True)), "downtime"),
        (ITEM, having(replace(NOTE, null=False, db_default="d", db_default_kind="constant")), "before"),
        (ITEM, having(replace(NOTE, null=False)), "refuse"),
        (having(NOTE), ITEM, "after"),
        (having(replace(NOTE, null=False)), ITEM, "downtime"),
        (None, ITEM, "before"),
        (ITEM, None, "after"),
        (ITEM, replace(ITEM, table="thing"), "downtime"),
        (ITEM, having(replace(NAME, type="text")), "before"),
        (ITEM, having(replace(NAME, type="varchar(20)")), "after"),
        (ITEM, having(replace(NAME, type="integer")), "downtime"),
        (ITEM, having(replace(NAME, column="title")), "after"),
        (ITEM, having(replace(NAME, null=True)), "before"),
        (having(NOTE), having(replace(NOTE, null=False)), "after"),
        (ITEM, having(replace(NAME, generated="g")), "refuse"),
        (ITEM, having(replace(NAME, comment="c")), "either"),
        (ITEM, replace(ITEM, checks={"c": s.Check("c")}), "after"),
        (replace(ITEM, checks={"c": s.Check("c")}), ITEM, "before"),
        (ITEM, replace(ITEM, checks={"c": s.Check("c", "other")}), "unknown"),
        (ITEM, replace(ITEM, uniques=unique("name")), "downtime"),
        (ITEM, replace(ITEM, indexes={"i": s.Index("i", ("name",), "i")}), "either"),
        (having(replace(NAME, type="text")),
         having(replace(NAME, type="text"), indexes={"i": s.Index("i", ("name",), "i")}), "after"),
        (ITEM, replace(ITEM, primary_key=("name",)), "downtime"),
        (ITEM, ITEM, "either"),
        (replace(ITEM, managed=False), having(NOTE, table=replace(ITEM, managed=False)), "either"),
    ],
)  # fmt: skip
def test_what_a_change_of_a_table_means(before: s.Table | None, after: s.Table | None, phase: str) -> None:
    assert [p for p, _action in phases(database(before, after))] == [phase]


def test_a_field_that_is_made_nullable_first_can_go_in_the_same_update() -> None:
    nullable = having(replace(NAME, null=True))
    assert phases(database(ITEM, nullable, without("name", ITEM))) == [("before", "now"), ("after", "defer")]


def test_the_catalogue_knows_better_than_the_state() -> None:
    strict = having(replace(NOTE, null=False))
    given = live_of(strict, columns={**live_of(strict).columns, "note": s.LiveColumn(True, True)})
    assert phases(database(strict, ITEM, live={"item": given})) == [("after", "defer")]
    strict_in_fact = live_of(ITEM, columns={**live_of(ITEM).columns, "note": s.LiveColumn(True, False)})
    assert phases(database(having(NOTE), ITEM, live={"item": strict_in_fact})) == [("downtime", "refuse")]


def test_rows_that_are_in_the_way_are_known_before() -> None:
    nulls = live_of(having(NOTE), nulls={"note": True})
    assert phases(database(having(NOTE), having(replace(NOTE, null=False)), live={"item": nulls})) == [
        ("refuse", "refuse")
    ]
    filled = having(replace(NOTE, null=False, fills=True))
    assert phases(database(having(NOTE), filled, live={"item": nulls})) == [("after", "defer")]
    same = live_of(ITEM, duplicates={"name": True})
    (refused,) = decide.judge(database(ITEM, replace(ITEM, uniques=unique("name")), live={"item": same}), {}).refused
    assert "rows have the same name (SELECT" in refused.reason and "settle the rows" in refused.safe_way


def test_what_was_put_off_is_not_needed_by_what_runs_now() -> None:
    again = having(replace(NOTE, type="integer"))
    decided = decide.judge(database(having(NOTE), ITEM, again), {})
    assert [(o.phase, o.action) for o in decided.operations] == [("after", "defer"), ("refuse", "refuse")]
    (refused,) = decided.refused
    assert (refused.app, refused.name, refused.index) == ("app", "0002", 1)
    assert "release of its own" in refused.safe_way and "step 0 of app.0002" in refused.reason


def test_what_nobody_depends_on_waits_with_what_it_comes_after() -> None:
    narrow = having(replace(NAME, type="varchar(20)"))
    indexed = replace(narrow, indexes={"i": s.Index("i", ("name",), "i")})
    assert phases(database(ITEM, narrow, indexed)) == [("after", "defer"), ("either", "defer")]


DATA = s.Operation(0, "data", "RunPython", opaque="python")


def test_what_cannot_be_known_has_to_be_declared() -> None:
    assert phases(database(ITEM, DATA)) == [("unknown", "refuse")]
    assert phases(database(ITEM, DATA, declared="before")) == [("before", "now")]
    assert phases(database(ITEM, DATA, declared="before"), {"app.0002": "after"}) == [("after", "defer")]
    assert phases(database(ITEM, DATA), {"app.0002:0": "either", "app.0002": "after"}) == [("either", "now")]


def renamed(*columns: str) -> s.Database:
    """A column that goes from one name to the next."""
    return database(*(having(replace(NAME, column=column)) for column in columns))


def test_a_name_that_the_next_operation_takes_back_is_seen_by_nobody() -> None:
    assert phases(renamed("name", "title", "name")) == [("either", "now")] * 2
    assert [action for _phase, action in phases(renamed("name", "title", "other"))] == ["defer", "refuse"]
    # A third one is not taken back by anything.
    assert phases(renamed("name", "title", "name", "title"))[:2] == [("either", "now")] * 2
    assert phases(renamed("name", "title", "name", "title"))[2][1] == "defer"
    # With anything between, or outside of a transaction, somebody may meet it.
    between = database(ITEM, having(replace(NAME, column="title")), DATA, ITEM, declared="either")
    assert "refuse" in [action for _phase, action in phases(between)]
    (migration,) = (of := renamed("name", "title", "name")).migrations
    apart = replace(of, migrations=(replace(migration, atomic=False),))
    assert "now" not in [action for _phase, action in phases(apart)]


def test_what_keeps_rows_apart_may_become_another_constraint() -> None:
    one, two = replace(ITEM, uniques=unique("name")), replace(ITEM, uniques={"two": s.Unique("two", ("name",), "two")})
    index = {"one": s.LiveIndex(("name",), unique=True)}
    # Away and there again in one transaction, as makemigrations orders it.
    at_once = database(one, ITEM, two, live={"item": live_of(one, indexes=index)})
    assert phases(at_once) == [("either", "now")] * 2
    # There before the other one goes.
    both = replace(ITEM, uniques={**one.uniques, **two.uniques})
    beside = database(one, both, two, live={"item": live_of(one, indexes=index)})
    assert phases(beside) == [("either", "now")] * 2
    # But not both of them, and not where a big table would be searched under a lock.
    gone = database(one, both, two, ITEM, live={"item": live_of(one, indexes=index)})
    assert [action for _phase, action in phases(gone)] == ["now", "now", "refuse"]
    big = database(one, ITEM, two, live={"item": live_of(one, indexes=index, bytes=2**30)})
    judged = decide.judge(big, {})
    assert [o.action for o in judged.operations] == ["now", "refuse"] and "AddConstraint" in judged.refused[0].safe_way


def test_a_collation_that_sorts_as_the_database_does_is_no_other_one() -> None:
    of = database(ITEM, having(replace(NAME, collation="C.utf8")))
    assert phases(of) == [("downtime", "refuse")]
    assert phases(replace(of, own_collations=frozenset({"C.utf8"}))) == [("either", "now")]


def test_data_is_not_moved_before_what_it_comes_after() -> None:
    assert phases(database(having(NOTE), ITEM, DATA, declared="before")) == [("after", "defer"), ("refuse", "refuse")]
    assert phases(database(ITEM, having(NOTE), DATA, declared="before")) == [("before", "now"), ("before", "now")]


def test_a_declaration_settles_only_what_the_code_may_leave_undone() -> None:
    of = database(ITEM, replace(ITEM, uniques=unique("name")))
    assert phases(of, {"app.0002": "after"}) == [("after", "defer")]
    assert phases(replace(of, upserts="")) == [("after", "defer")]
    assert phases(database(ITEM, having(replace(NOTE, null=False, fills=True))), {"app.0002": "before"}) == [
        ("downtime", "refuse")
    ]
    # Said of a migration with a data migration, it is said of that alone.
    mixed = database(ITEM, replace(ITEM, uniques=unique("name")), DATA, declared="after")
    assert phases(mixed) == [("downtime", "refuse"), ("after", "defer")]


def test_what_is_no_longer_unique_keeps_nobody_from_repeating() -> None:
    index = {"one": s.LiveIndex(("name",), unique=True)}
    one, two = replace(ITEM, uniques=unique("name")), replace(ITEM, uniques=unique("name", "id"))
    of = database(one, ITEM, two, live={"item": live_of(one, indexes=index)})
    assert phases(replace(of, upserts=""), {"app.0002:0": "before"}) == [("before", "now"), ("after", "defer")]
    # As long as it is unique by less, nothing more can be repeated.
    assert phases(database(one, two, live={"item": live_of(one, indexes=index)}))[0][0] != "after"


def test_a_big_table_is_changed_without_blocking_or_not_at_all() -> None:
    big = {"item": live_of(ITEM, bytes=10 * decide.BLOCKING_BYTES)}
    indexed = replace(ITEM, indexes={"i": s.Index("i", ("name",), "i")})
    (index,) = decide.judge(database(ITEM, indexed, live=big), {}).operations
    assert (index.action, index.method) == ("now", "concurrently")
    parts = {"item": live_of(ITEM, bytes=10 * decide.BLOCKING_BYTES, kind="p")}
    assert phases(database(ITEM, indexed, live=parts)) == [("refuse", "refuse")]
    (key,) = decide.judge(database(ITEM, having(replace(KEY, type="integer")), live=big), {}).operations
    assert key.action == "refuse" and "640 MiB" in key.reason


def test_deletes_that_a_foreign_key_would_stop() -> None:
    place = s.Table("place", primary_key=("id",), columns={"id": KEY})
    reference = s.Column("place", "place_id", "bigint", null=True, reference=s.Reference("place", "id"))
    of = database(having(reference), ITEM, live={"item": None})
    known = replace(of, old={**of.old, "place": (place,)}, new={**of.new, "place": (place,)}, live={})
    (removed,) = decide.judge(known, {}).operations
    assert (removed.phase, removed.action, removed.bridge) == ("after", "defer", "foreign_key")
    kept = replace(reference, reference=None)
    first = database(having(reference), having(kept), ITEM)
    both = replace(first, old=known.old, new=known.new, live={})
    assert phases(both) == [("before", "now"), ("after", "defer")]
    # One by which the database deletes what refers to a row goes in two releases, and it is said how.
    acting = replace(reference, reference=s.Reference("place", "id", "CASCADE"))
    at_once = replace(database(having(acting), having(kept)), live={})
    (gone,) = decide.judge(at_once, {}).operations
    assert gone.phase == "downtime" and "the next release" in gone.safe_way
    # Rows that the new code refers to are named: the old code cannot delete them.
    added = replace(database(ITEM, having(reference)), live={})
    (new,) = decide.judge(replace(added, old={**added.old, "place": (place,)}), {}).operations
    assert new.phase == "before" and "deletes in place fail" in new.beware


def test_state_and_database_apart() -> None:
    strict = having(replace(NOTE, null=False))
    claim = s.Difference({"app.item": strict}, {"app.item": ITEM})
    apart = s.Operation(0, "apart", "SeparateDatabaseAndState", stated=claim)
    of = replace(database(strict, apart), new={"item": (ITEM,)})
    assert phases(of) == [("unknown", "refuse")]
    harmless = s.Operation(0, "apart", stated=s.Difference({"app.item": having(NOTE)}, {"app.item": ITEM}))
    assert phases(replace(database(having(NOTE), harmless), new={"item": (ITEM,)})) == [("either", "now")]
    done = s.Operation(0, "inside", difference=claim)
    whole = replace(database(strict, replace(apart, separate=(done,))), new={"item": (ITEM,)})
    assert phases(whole) == [("downtime", "refuse")]
    # The column of a field that left the state a release ago: nobody misses it.
    dropped = replace(database(strict, ITEM), old={"item": (ITEM,)}, live={"item": live_of(having(NOTE))})
    assert phases(dropped) == [("either", "now")]


def test_an_empty_database_has_no_code_on_it() -> None:
    fresh = replace(database(None, ITEM, DATA), applied=0, live={"item": None})
    assert phases(fresh) == [("before", "now"), ("before", "now")]


def test_prepared_statements_do_not_survive_another_type() -> None:
    of = replace(database(ITEM, having(replace(NAME, type="text"))), prepared_statements=True)
    (judged,) = decide.judge(of, {}).operations
    assert judged.phase == "downtime" and "cached plan" in judged.reason


def test_the_phase_of_a_migration_is_its_strictest() -> None:
    assert decide.phase_of_all([]) == "either"
    assert decide.phase_of_all(["either", "before"]) == "before"
    assert decide.phase_of_all(["before", "after"]) == "before"
    assert decide.phase_of_all(["either", "after"]) == "after"
    assert decide.phase_of_all(["after", "downtime", "before"]) == "downtime"


def test_what_is_returned_names_each_operation() -> None:
    result = decide.as_dicts(decide.judge(database(ITEM, having(NOTE)), {}))
    (migration,) = result["plan"]
    assert {k: migration[k] for k in ("app", "name", "database", "phase")} == {
        "app": "app", "name": "0002", "database": "default", "phase": "before"
    }  # fmt: skip
    (operation,) = migration["operations"]
    contract = {"operation", "phase", "action", "bridge", "reason", "lock", "grows_with_table", "safe_way"}
    assert contract | {"index"} <= set(operation) and result["refused"] == []
