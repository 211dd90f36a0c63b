# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that are moved in batches beside the code that serves: killed at any statement, locked, left over, too long."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.database.migrations.forked import WarmDjango
from tests.database.migrations.kills import KILLER, each_in, keep, killed, one_in, points, reset
from tests.database.migrations.operations import CREATE, NOTE, REMOVE
from tests.database.migrations.running import Running
from tests.database.postgres_server import Postgres

Make = Callable[..., Running]
# As docs/migrations.md has it, with a count beside the rows that shows what was done twice.
FILL = """
def batches(apps, schema_editor, after):
    items = apps.get_model("shop", "Item").objects.using(schema_editor.connection.alias)
    while rows := list(items.filter(pk__gt=after or 0).order_by("pk")[:10]):
        for row in rows:
            row.note = (row.note or "") + "x"
        items.bulk_update(rows, ["note"])
        after = rows[-1].pk
        yield after

def fill(apps, schema_editor):
    for _batch in batches(apps, schema_editor, None):
        pass

fill.evenkeel_batches = batches
"""
MOVE = {"operations": "migrations.RunPython(fill, migrations.RunPython.noop)", "after": "0002_note", "before": FILL}
ROWS = "INSERT INTO shop_item (name) SELECT 'item' FROM generate_series(1, 45)"
#: How many rows were filled how often.
COUNTED = "SELECT note, count(*) FROM shop_item GROUP BY 1 ORDER BY 1"


@pytest.fixture
def make(tmp_path: Path, django: WarmDjango, postgres: Postgres) -> Make:
    """Makes a project at r0, which serves, with rows whose note is to be filled."""

    def made(**more: str) -> Running:
        project = Running(tmp_path / "project", django, postgres, "shop", **more)
        project.migration("0001_initial", CREATE)
        project.migration("0002_note", NOTE, "0001_initial")
        project.start(ROWS)
        project.serving = ("r0",)
        return project

    return made


def test_between_is_after_the_roll_and_before_what_needs_it(make: Make) -> None:
    project = make()
    project.migration("0003_fill", **MOVE, more='evenkeel_phase = "between"')
    project.migration("0004_filled", 'migrations.AlterField("item", "note", models.CharField(max_length=9, default=""))',
                      "0003_fill")  # fmt: skip
    result = project.expand("r1")
    assert not result.get("failed") and [o["moves"] for o in result["open"]] == [True, False], result["msg"]
    assert result["plan"][0]["phase"] == "between" and result["plan"][0]["operations"][0]["method"] == "batches"
    assert project.rows(COUNTED) == [(None, 45)]
    assert "No migrations to apply" in project.manage("migrate")
    project.serving = ("r1", "r0")
    assert "api-r0 runs r0" in project.contract("r1", only_data_moves=True)["msg"]
    project.serving = ("r1",)
    moved = project.contract("r1", only_data_moves=True)
    assert not moved.get("failed") and not moved.get("waits"), moved["msg"]
    assert [o["name"] for o in moved["contracted"]] == ["0003_fill"] and "5 batches" in moved["printed"]
    assert project.rows(COUNTED) == [("x", 45)]
    assert [o["name"] for o in moved["open"]] == ["0004_filled"]
    assert not project.contract("r1", only_data_moves=True)["changed"]
    assert project.contract("r1")["open"] == []
    assert project.rows("SELECT attnotnull FROM pg_attribute WHERE attname = 'note'") == [(True,)]


def test_it_does_not_wait_for_a_column_that_nobody_has_named(make: Make) -> None:
    project = make()
    project.migration("0003_remove", REMOVE, "0002_note")
    project.migration("0004_fill", **{**MOVE, "after": "0003_remove"}, more='evenkeel_phase = "between"')
    result = project.expand("r1")
    assert [(o["name"], o["moves"]) for o in result["open"]] == [("0003_remove", False), ("0004_fill", True)]
    project.serving = ("r1",)
    moved = project.contract("r1", only_data_moves=True)
    assert not moved.get("failed"), moved["msg"]
    assert project.rows(COUNTED) == [("x", 45)] and "old" in project.columns()
    assert project.contract("r1", allow_data_loss=["shop.0003_remove"])["open"] == []


def test_plain_migrate_moves_everything(make: Make) -> None:
    project = make()
    project.migration("0003_fill", **MOVE, more='evenkeel_phase = "between"')
    project.manage("migrate")
    assert project.rows(COUNTED) == [("x", 45)]


@pytest.mark.parametrize("chosen", [one_in(13), *each_in(4)])
@pytest.mark.parametrize("phase", ["between", pytest.param("before", marks=pytest.mark.nightly)])
def test_killed_at_any_statement_every_row_is_moved_once(make: Make, phase: str, chosen: tuple[int, int]) -> None:
    project = make(settings=KILLER)
    project.migration("0003_fill", **MOVE, more=f'    atomic = False\nevenkeel_phase = "{phase}"')
    if phase == "between":
        project.expand("r1")
        project.serving = ("r1",)
    keep(project, "waiting")
    state = "contracted" if phase == "between" else "expanded"
    order, *_more = project.order(state, "r1")
    ended = 0
    for at in points(chosen):
        reset(project, "waiting")
        if not killed(project, order, at):
            break
        ended += 1
        result = project.run(state, "r1")
        assert not result.get("failed") and result["open"] == [], (at, result["msg"])
        assert project.rows(COUNTED) == [("x", 45)], at
        assert project.recorded()[-1] == "0003_fill"
    assert ended >= 2


@contextlib.contextmanager
def released_at_the_second_attempt(project: Running, holder: psycopg.Connection[Any]) -> Iterator[None]:
    """Ends a session as soon as the second transaction waits for it: the first one was not given its lock then."""
    waiting = "SELECT pid, xact_start FROM pg_stat_activity WHERE datname = 'planned' AND wait_event_type = 'Lock'"
    over = threading.Event()

    def release() -> None:
        seen: set[Any] = set()
        with contextlib.closing(project.postgres.connect("postgres", autocommit=True)) as watching:
            while len(seen) < 2 and not over.wait(0.02):
                seen.update(watching.execute(waiting))
        holder.close()

    releasing = threading.Thread(target=release)
    releasing.start()
    try:
        yield
    finally:
        over.set()
        releasing.join()


def test_a_batch_that_is_not_given_its_rows_is_begun_again_and_then_says_who_has_them(make: Make) -> None:
    project = make()
    project.migration("0003_fill", **MOVE, more='evenkeel_phase = "between"')
    project.expand("r1")
    project.serving = ("r1",)
    with project.session("UPDATE shop_item SET name = 'held' WHERE id = 25"):
        result = project.contract("r1")
        assert result["failed"] and "reports (pid" in result["msg"], result
        assert project.rows(COUNTED) == [("x", 20), (None, 25)]
    project.limits = (300, 8)
    with (
        project.session("UPDATE shop_item SET name = 'held' WHERE id = 25") as holder,
        released_at_the_second_attempt(project, holder),
    ):
        result = project.contract("r1")
    assert not result.get("failed") and "tries again" in result["printed"], result["msg"]
    assert project.rows(COUNTED) == [("x", 45)]


def test_rolled_back_in_the_middle_it_waits_for_the_next_version_that_has_it(make: Make) -> None:
    project = make()
    project.migration("0003_fill", **MOVE, more='evenkeel_phase = "between"')
    project.expand("r1")
    project.serving = ("r1",)
    with project.session("UPDATE shop_item SET name = 'held' WHERE id = 25"):
        project.contract("r1")
    project.serving = ("r0",)
    assert project.contract("r1")["waits"] and project.rows(COUNTED) == [("x", 20), (None, 25)]
    project.migration("0004_more", 'migrations.AddField("item", "more", models.IntegerField(null=True))', "0003_fill")
    project.expand("r2")
    project.serving = ("r2",)
    assert project.contract("r2")["open"] == [] and project.rows(COUNTED) == [("x", 45)]


def test_what_fails_says_how_far_it_came_and_goes_on_when_it_is_corrected(make: Make) -> None:
    project = make()
    check = "        if rows[0].pk > 30 and not __import__('os').path.exists('well'): raise ValueError('no such currency')\n"
    broken = FILL.replace("        for row in rows:", f"{check}        for row in rows:")
    project.migration("0003_fill", **{**MOVE, "before": broken}, more='evenkeel_phase = "between"')
    project.expand("r1")
    project.serving = ("r1",)
    result = project.contract("r1")
    assert result["failed"] and "no such currency" in result["msg"] and "Next: " in result["msg"]
    assert project.rows(COUNTED) == [("x", 30), (None, 15)]
    (project.folder / "well").touch()
    assert not project.contract("r1").get("failed") and project.rows(COUNTED) == [("x", 45)]


def test_batches_that_do_not_come_forward_are_stopped(make: Make) -> None:
    project = make()
    stuck = FILL.replace("after = rows[-1].pk", "pass").replace("yield after", "yield rows[-1].pk")
    project.migration("0003_fill", **{**MOVE, "before": stuck}, more='evenkeel_phase = "between"')
    project.expand("r1")
    project.serving = ("r1",)
    result = project.contract("r1")
    assert result["failed"] and "the same place twice" in result["msg"], result["msg"]
    assert project.rows(COUNTED) == [("x", 10), (None, 35)]


def test_without_batches_it_is_refused_and_on_a_big_table_it_has_to_be_said(make: Make) -> None:
    project = make()
    plain = "def fill(apps, schema_editor):\n    pass\n"
    project.migration("0003_fill", **{**MOVE, "before": plain}, more='evenkeel_phase = "between"')
    said = project.refused("expanded", "r1")
    assert "has no batches" in said and "evenkeel_batches" in said
    project.migration("0003_fill", **{**MOVE, "before": plain}, more='evenkeel_phase = "before"')
    assert not project.plan()["refused"]
    project.sql(
        "INSERT INTO shop_item (name) SELECT repeat(md5(n::text), 1) FROM generate_series(1, 900000) n", "planned"
    )
    said = project.refused("expanded", "r1")
    assert "table shop_item has" in said and "evenkeel_one_transaction" in said
    assert not project.plan({"shop.0003_fill:0": "before"})["refused"]
    project.migration("0003_fill", **{**MOVE, "before": plain},
                      more='evenkeel_phase = "before"\nevenkeel_one_transaction = True')  # fmt: skip
    assert not project.plan()["refused"]
    # With batches, and nowhere to commit them.
    project.migration("0003_fill", **MOVE, more='evenkeel_phase = "before"')
    assert "atomic = False" in project.refused("expanded", "r1")
