# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations that are taken back: only what can be, only what nobody uses, and killed at any statement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.database.migrations.forked import WarmDjango
from tests.database.migrations.kills import KILLER, keep, killed, points, reset
from tests.database.migrations.operations import CREATE, INDEX, NOTE, REMOVE
from tests.database.migrations.running import Running
from tests.database.postgres_server import Postgres

Make = Callable[..., Running]


@pytest.fixture
def make(tmp_path: Path, django: WarmDjango, postgres: Postgres) -> Make:
    def made(**more: str) -> Running:
        project = Running(tmp_path / "project", django, postgres, "shop", **more)
        project.migration("0001_initial", CREATE)
        project.start()
        project.serving = ("r0",)
        return project

    return made


def back(project: Running, release: str = "r1", **params: object) -> dict[str, object]:
    return project.run("reversed", release, **{"target": "shop.0001_initial", **params})


def test_what_code_that_runs_was_made_for_stays_and_then_goes(make: Make) -> None:
    project = make()
    project.migration("0002_note", f"{NOTE}, {INDEX}", "0001_initial")
    project.migration(
        "0003_noop", "migrations.RunPython(migrations.RunPython.noop, migrations.RunPython.noop)", "0002_note"
    )
    project.expand("r1")
    project.serving = ("r1",)
    refused = back(project)
    assert refused["failed"] and "api-r1 runs code that may be made for it" in str(refused["msg"])
    assert project.recorded()[-1] == "0003_noop" and refused["reversed"] == []
    project.serving = ("r0",)
    done = back(project)
    assert not done.get("failed") and done["changed"], done["msg"]
    assert [m["name"] for m in done["reversed"]] == ["0003_noop", "0002_note"]  # type: ignore[attr-defined]
    assert project.columns() == ["id", "name", "old"] and "by_name" not in project.indexes()
    assert project.recorded() == ["0001_initial"] and project.ledger() == []
    again = back(project)
    assert not again["changed"] and again["msg"] == "nothing is to be taken back"
    assert project.expand("r1")["changed"] and "note" in project.columns()


def test_what_was_put_off_needs_no_way_back(make: Make) -> None:
    project = make()
    project.migration("0002_remove", REMOVE, "0001_initial")
    project.expand("r1")
    assert not back(project).get("failed") and project.recorded() == ["0001_initial"]
    assert "old" in project.columns()


def test_what_would_be_lost_has_to_be_named_and_what_is_gone_only_a_backup_has(make: Make) -> None:
    project = make()
    project.migration("0002_both", f"{NOTE}, {REMOVE}", "0001_initial")
    project.expand("r1")
    project.sql("INSERT INTO shop_item (name, note) VALUES ('a', 'kept')", "planned")
    refused = back(project)
    assert "its rows would be lost" in str(refused["msg"]) and "allow_data_loss" in str(refused["msg"])
    assert project.rows("SELECT note FROM shop_item") == [("kept",)]
    project.serving = ("r1",)
    project.contract("r1", allow_data_loss=["shop.0002_both"])
    project.serving = ()
    refused = back(project)
    assert "in a backup only" in str(refused["msg"]) and "old" not in project.columns()
    assert not back(project, allow_data_loss=["shop.0002_both"]).get("failed")
    assert project.columns() == ["id", "name", "old"]


def test_what_has_no_way_back_is_refused_before_anything_is_touched(make: Make) -> None:
    project = make()
    project.migration("0002_sql", 'migrations.RunSQL("SELECT 1")', "0001_initial", more='evenkeel_phase = "before"')
    project.migration("0003_note", NOTE, "0002_sql")
    project.expand("r1")
    refused = back(project)
    assert refused["failed"] and "cannot be reversed" in str(refused["msg"]) and not refused["changed"]
    assert project.recorded()[-1] == "0003_note"
    assert "names 0 migrations" in str(back(project, target="shop.0009")["msg"])
    assert "has no migrations" in str(back(project, target="nowhere.0001")["msg"])
    assert "needs the target" in project.refused("reversed", "r1")
    # As far as there is a way.
    assert not back(project, target="shop.0002").get("failed") and project.recorded()[-1] == "0002_sql"


def test_killed_at_any_statement_the_same_call_ends_it(make: Make) -> None:
    project = make(settings=KILLER)
    project.migration("0002_note", f"{NOTE}, {INDEX}", "0001_initial")
    project.migration("0003_more", 'migrations.AddField("item", "more", models.IntegerField(null=True))', "0002_note")
    project.expand("r1")
    keep(project, "expanded")
    order, *_more = project.order("reversed", "r1", target="shop.0001_initial")
    ended = 0
    for at in points((1, 11)):
        reset(project, "expanded")
        if not killed(project, order, at):
            break
        ended += 1
        result = back(project)
        assert not result.get("failed"), (at, result["msg"])
        assert project.recorded() == ["0001_initial"] and project.columns() == ["id", "name", "old"], at
        assert project.ledger() == [], at
    assert ended >= 3


def test_what_ran_in_a_gap_goes_by_name_where_nobody_has_written_since(make: Make) -> None:
    project = make()
    project.migration("0002_note", NOTE, "0001_initial")
    filled = 'migrations.RunSQL("UPDATE shop_item SET note = name", migrations.RunSQL.noop)'
    project.migration("0003_filled", filled, "0002_note")
    project.migration("0004_remove", REMOVE, "0003_filled")
    project.sql("INSERT INTO shop_item (name, old) VALUES ('a', 'b')", "planned")
    project.serving = ()
    assert project.run("migrated", "r1")["changed"]
    named = ["shop.0002_note", "shop.0003_filled"]
    wanting = {"target": "", "nothing_written": True}
    needed = back(project, only=named, **wanting)
    assert "0004_remove is recorded and needs it" in str(needed["msg"]) and len(project.recorded()) == 4
    dropped = back(project, only=[*named, "shop.0004_remove"], **wanting)
    assert "in a backup only" in str(dropped["msg"]) and len(project.recorded()) == 4
    done = back(project, only=["shop.0004_remove"], allow_data_loss=["shop.0004_remove"], **wanting)
    assert [m["name"] for m in done["reversed"]] == ["0004_remove"]  # type: ignore[attr-defined]
    written = back(project, only=named, target="")
    assert "its rows would be lost" in str(written["msg"]) and len(project.recorded()) == 3
    done = back(project, only=[*named, "shop.0009_never"], **wanting)
    assert [m["name"] for m in done["reversed"]] == ["0003_filled", "0002_note"]  # type: ignore[attr-defined]
    assert "note" not in project.columns() and project.recorded() == ["0001_initial"]
    assert not back(project, only=named, **wanting)["changed"]
