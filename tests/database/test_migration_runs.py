# SPDX-License-Identifier: GPL-3.0-or-later
"""Expand, contract and abandon on a real PostgreSQL, with the oldest and newest Django that is supported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.database.migrations.forked import WarmDjango
from tests.database.migrations.operations import CREATE, INDEX, NOTE, REMOVE
from tests.database.migrations.running import Running
from tests.database.postgres_server import Postgres

Make = Callable[..., Running]


@pytest.fixture
def make(tmp_path: Path, django: WarmDjango, postgres: Postgres) -> Make:
    """Makes a project at release r0, which serves."""

    def made(**more: str) -> Running:
        project = Running(tmp_path / "project", django, postgres, "shop", **more)
        project.migration("0001_initial", CREATE)
        project.start()
        project.serving = ("r0",)
        return project

    return made


def test_what_the_old_code_needs_waits_until_it_is_gone(make: Make) -> None:
    project = make()
    project.migration("0002_both", f"{NOTE}, {REMOVE}", "0001_initial")
    result = project.expand("r1")
    assert result["changed"] and not result.get("failed"), result["msg"]
    assert project.columns() == ["id", "name", "note", "old"] and project.recorded()[-1] == "0002_both"
    (waiting,) = result["open"]
    assert (waiting["name"], waiting["index"], waiting["drops_data"]) == ("0002_both", 1, True)
    # Any entrypoint's migrate is harmless in either version.
    assert "No migrations to apply" in project.manage("migrate")
    newer = project.folder / "shop/migrations/0002_both.py"
    newer.rename(project.folder / "aside.py")
    assert "No migrations to apply" in project.manage("migrate")
    (project.folder / "aside.py").rename(newer)
    refused = project.contract("r1", allow_data_loss=["shop.0002_both"])
    assert refused["failed"] and refused["waits"] and "api-r0 runs r0, which was made before it" in refused["msg"]
    project.serving = ("r1", "r0")
    assert project.contract("r1", allow_data_loss=["shop.0002_both"])["waits"]
    project.serving = ("r1",)
    unnamed = project.contract("r1")
    assert unnamed["waits"] and "allow_data_loss" in unnamed["msg"] and "old" in project.columns()
    done = project.contract("r1", allow_data_loss=["shop.0002_both"])
    assert done["changed"] and done["open"] == [] and "old" not in project.columns()
    assert project.ledger() == [("0002_both", -1, "settled"), ("0002_both", 1, "settled")]
    again = project.expand("r1")
    assert not again["changed"] and again["pending"] == 0


def test_a_rollback_and_another_update_drop_nothing_that_is_used(make: Make) -> None:
    project = make()
    project.migration("0002_remove", REMOVE, "0001_initial")
    project.expand("r1")
    # It was rolled back, and the next version knows nothing of that migration.
    (project.folder / "shop/migrations/0002_remove.py").unlink()
    project.migration("0002_note", NOTE, "0001_initial")
    result = project.expand("r2")
    assert not result.get("failed") and [m["name"] for m in result["ran"]] == ["0002_note"]
    project.serving = ("r2",)
    said = project.contract("r2", allow_data_loss=["shop.0002_remove"])
    assert said["waits"] and "does not have shop.0002_remove" in said["msg"] and "old" in project.columns()
    taken = project.run("abandoned", "r2")
    assert [(a["name"], a["unrecorded"]) for a in taken["abandoned"]] == [("0002_remove", True)]
    assert project.recorded() == ["0001_initial", "0002_note"] and taken["open"] == []
    assert "old" in project.columns()
    # The version after that brings it again.
    project.migration("0003_remove", REMOVE, "0002_note")
    project.expand("r3")
    project.serving = ("r3",)
    assert project.contract("r3", allow_data_loss=["shop.0003_remove"])["open"] == []
    assert project.columns() == ["id", "name", "note"]


def test_the_next_version_has_it_too_and_nothing_has_to_be_taken_back(make: Make) -> None:
    project = make()
    project.migration("0002_remove", REMOVE, "0001_initial")
    project.expand("r1")
    project.migration("0003_note", NOTE, "0002_remove")
    assert [m["name"] for m in project.expand("r2")["ran"]] == ["0003_note"]
    project.serving = ("r2", "r0")
    assert project.contract("r2", allow_data_loss=["shop.0002_remove"])["waits"]
    project.serving = ("r2",)
    assert project.contract("r2", allow_data_loss=["shop.0002_remove"])["open"] == []
    assert "old" not in project.columns()


def test_what_the_version_that_comes_does_not_have_is_not_contracted_before_it(make: Make) -> None:
    project = make()
    project.migration("0002_remove", REMOVE, "0001_initial")
    project.expand("r1")
    project.serving = ("r1",)
    allow = {"allow_data_loss": ["shop.0002_remove"]}
    said = project.contract("r1", only=["shop.0001_initial"], **allow)
    assert said["waits"] and "the release that comes does not have it" in said["msg"] and "old" in project.columns()
    # Asked of the image that comes, it is not known either.
    (project.folder / "shop/migrations/0002_remove.py").rename(project.folder / "aside.py")
    (waiting,) = project.plan_of("r0")["open"]
    assert waiting["known"] is False
    (project.folder / "aside.py").rename(project.folder / "shop/migrations/0002_remove.py")
    (waiting,) = project.plan_of("r2")["open"]
    assert waiting["known"] is True
    assert project.contract("r1", only=["shop.0002_remove"], **allow)["open"] == []


def test_older_code_is_told_whether_it_can_come_back(make: Make) -> None:
    project = make()

    def back() -> tuple[str, str, list[dict[str, Any]]]:
        """What code is told that has no migration but the first."""
        names = sorted((project.folder / "shop/migrations").glob("000[2-9]*.py"))
        for path in names:
            path.rename(project.folder / path.name)
        try:
            told = project.plan_of("r0")
        finally:
            for path in names:
                (project.folder / path.name).rename(path)
        return told["schema_compatibility"], told["msg"], told["behind"]

    assert back()[0] == "code only"
    project.migration("0002_note", NOTE, "0001_initial")
    project.expand("r1")
    assert back()[0] == "code only"
    project.migration("0003_name", 'migrations.AlterField("item", "note", models.CharField(max_length=9, default=""))',
                      "0002_note")  # fmt: skip
    project.migration("0004_remove", REMOVE, "0003_name")
    project.serving = ("r1",)
    project.expand("r2")
    assert back()[0] == "abandon"
    project.serving = ("r2",)
    project.contract("r2")
    verdict, said, _each = back()
    assert verdict == "reverse" and "needs the reversal of shop.0003_name" in said, said
    project.contract("r2", allow_data_loss=["shop.0004_remove"])
    verdict, said, _each = back()
    assert verdict == "restore" and "shop.0004_remove" in said and "backup" in said, said
    # Everything of it is settled by then, and still told.
    assert [state for _n, _i, state in project.ledger()][-1] == "settled"
    project.migration(
        "0005_plain", 'migrations.AddField("item", "more", models.IntegerField(null=True))', "0004_remove"
    )
    project.manage("migrate")
    told = project.plan_of("r2")
    assert told["schema_compatibility"] == "code only" and told["behind"] == []
    assert [b["name"] for b in back()[2] if b["verdict"] == "unknown"] == ["0005_plain"]


def test_the_code_that_serves_is_what_is_judged_by_not_what_is_recorded(make: Make) -> None:
    project = make()
    project.migration("0002_note", NOTE, "0001_initial")
    project.expand("r1")
    # r0 serves again, and leaves a note that it does not know NULL.
    project.migration(
        "0003_fixed", 'migrations.AlterField("item", "note", models.CharField(max_length=9))', "0002_note"
    )
    order, _told, result, _code = project.order("expanded", "r2")
    (operation,) = result["plan"][0]["operations"]
    assert operation["action"] == "defer"
    assert [m["name"] for m in order["databases"][0]["migrations"]] == ["0003_fixed"]


def test_abandoning_takes_back_what_loses_nothing_and_puts_aside_the_rest(make: Make) -> None:
    project = make()
    project.migration("0002_both", f"{NOTE}, {REMOVE}", "0001_initial")
    project.expand("r1")
    project.serving = ("r1",)
    assert "runs the release that was expanded" in project.refused("abandoned", "r1")
    project.serving = ("r0",)
    assert project.run("abandoned", "r1")["abandoned"][0]["unrecorded"]
    assert project.columns() == ["id", "name", "old"] and project.recorded() == ["0001_initial"]
    again = project.expand("r1")
    assert again["changed"], again["msg"]
    project.sql("INSERT INTO shop_item (name, note) VALUES ('a', 'by r1')", "planned")
    (kept,) = project.run("abandoned", "r1")["abandoned"]
    assert not kept["unrecorded"] and "could lose rows: Add field note to item" in kept["why"]
    assert "note" in project.columns() and "0002_both" in project.recorded()
    project.serving = ("r1",)
    assert project.contract("r1", allow_data_loss=["shop.0002_both"])["contracted"] == []
    project.serving = ("r0",)
    assert project.expand("r2")["open"][0]["release"] == "r2"
    project.serving = ("r2",)
    assert project.contract("r2", allow_data_loss=["shop.0002_both"])["open"] == []
    assert project.columns() == ["id", "name", "note"]


def test_what_another_migration_stands_on_stays_recorded(make: Make) -> None:
    project = make()
    project.migration("0002_remove", REMOVE, "0001_initial")
    project.migration("0003_note", NOTE, "0002_remove")
    project.expand("r1")
    (kept,) = project.run("abandoned", "r1")["abandoned"]
    assert not kept["unrecorded"] and "shop.0003_note is recorded and needs it" in kept["why"]
    project.manage("migrate", "--check")
    assert project.columns() == ["id", "name", "note", "old"]


def test_a_lock_that_is_never_given_names_who_has_it_and_leaves_nothing_half_done(make: Make) -> None:
    project = make()
    project.migration("0002_both", f"{INDEX}, {NOTE}, {REMOVE}", "0001_initial")
    with project.session("INSERT INTO shop_item (name) VALUES ('a secret')"):
        result = project.expand("r1")
        assert result["failed"] and not result["changed"]
        assert "was not given its lock in 2 attempts" in result["msg"]
        assert (
            "reports (pid" in result["msg"]
            and "INSERT INTO shop_item" in result["msg"]
            and "secret" not in result["msg"]
        )
        assert "tries again in" in result["printed"]
        assert project.columns() == ["id", "name", "old"] and project.recorded() == ["0001_initial"]
        assert "by_name" not in project.indexes() and project.ledger() == []
    assert not project.expand("r1").get("failed")
    project.serving = ("r1",)
    with project.session("SELECT * FROM shop_item"):
        result = project.contract("r1", allow_data_loss=["shop.0002_both"])
        assert result["failed"] and "SELECT * FROM shop_item" in result["msg"] and "old" in project.columns()
    assert project.contract("r1", allow_data_loss=["shop.0002_both"])["open"] == []


def test_the_limit_holds_where_options_would_hide_it(make: Make) -> None:
    project = make(settings='DATABASES["default"]["OPTIONS"] = {"options": "-c statement_timeout=7654"}')
    settings = "current_setting('lock_timeout') l, current_setting('statement_timeout') s"
    shown = f'schema_editor.execute("CREATE TABLE shown AS SELECT {settings}")'
    project.migration(
        "0002_shown", "migrations.RunPython(shown)", "0001_initial",
        before=f"def shown(apps, schema_editor):\n    {shown}\n", more='evenkeel_phase = "before"',
    )  # fmt: skip
    project.variables = {"PGOPTIONS": "-c lock_timeout=1"}
    assert not project.expand("r1").get("failed")
    assert project.rows("SELECT l, s FROM shown") == [("300ms", "7654ms")]


def test_a_version_without_migrations_is_noted_in_the_process_that_plans(make: Make) -> None:
    project = make()
    project.migration("0002_both", f"{NOTE}, {REMOVE}", "0001_initial")
    project.expand("r1")
    project.serving = ("r1",)
    assert project.plan_of("r2")["due"] and not project.plan_of("r2")["changes"]
    planned = project.checked("r2")
    assert (planned["due"], planned["pending"]) == (False, 0)
    # What it is for: what was put off is known to the version that comes.
    project.serving = ("r2",)
    assert not project.plan_of("r2")["due"]
    (waiting,) = planned["open"]
    assert waiting["name"] == "0002_both"
    assert project.contract("r2", allow_data_loss=["shop.0002_both"])["open"] == []
    # Nothing is left to be known by the next one.
    assert not project.plan_of("r3")["due"]


def test_what_has_migrations_of_its_own_is_not_begun_with_the_plan(make: Make) -> None:
    project = make()
    project.migration("0002_note", NOTE, "0001_initial")
    assert project.checked("r1")["due"] and "note" not in project.columns()
