# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of migrations and projects that are run: several databases, squashes, renames, commands of the app's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.database.migrations.forked import WarmDjango
from tests.database.migrations.operations import CREATE, INDEX, ITEM, NOTE, REMOVE
from tests.database.migrations.running import Running
from tests.database.postgres_server import Postgres

pytestmark = pytest.mark.nightly

Make = Callable[..., Running]


@pytest.fixture
def make(tmp_path: Path, django: WarmDjango, postgres: Postgres) -> Make:
    return lambda **more: Running(tmp_path / "project", django, postgres, "shop", **more)


def test_a_first_deployment_and_then_a_plain_migrate_does_nothing(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.migration("0002_both", f"{NOTE}, {REMOVE}", "0001_initial")
    result = project.run("migrated", "r0")
    assert not result.get("failed") and project.columns() == ["id", "name", "note"]
    assert "No migrations to apply" in project.manage("migrate")
    # No code was made for what was before: nothing is left to be known.
    project.serving = ("r0",)
    assert not project.order("planned", "r1")[2]["due"]


def test_a_release_without_migrations_after_one_with_some_changes_nothing_of_the_database(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.run("migrated", "r0")
    project.serving = ("r0",)
    project.migration("0002_note", NOTE, "0001_initial")
    planned = project.order("planned", "r1")[2]
    assert planned["due"] and planned["changes"]
    assert not project.expand("r1").get("failed")
    project.serving = ("r1",)
    planned = project.order("planned", "r2")[2]
    assert planned["due"] and not planned["changes"], "it is only to be noted that r2 knows the note"


def test_deferred_sql_of_django_is_in_the_transaction_that_records(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.run("migrated", "r0")
    project.serving = ("r0",)
    line = (
        'migrations.CreateModel("Line", [("id", models.BigAutoField(primary_key=True)), '
        '("item", models.ForeignKey("shop.Item", models.CASCADE))])'
    )
    broken = "migrations.RunPython(lambda apps, editor: 1 / 0)"
    project.migration("0002_line", f"{line}, {broken}", "0001_initial", more='evenkeel_phase = "before"')
    assert "ZeroDivisionError" in project.expand("r1")["msg"] and project.columns("shop_line") == []
    project.migration("0002_line", line, "0001_initial")
    result = project.expand("r1")
    assert not result.get("failed"), result["msg"]
    assert project.rows(
        "SELECT contype::text FROM pg_constraint WHERE conrelid = 'shop_line'::regclass AND contype = 'f'"
    ) == [("f",)]


def test_of_several_databases_those_before_the_one_that_fails_are_kept(make: Make) -> None:
    project = make(other="planned_other")
    project.migration("0001_initial", CREATE)
    project.run("migrated", "r0")
    project.serving = ("r0",)
    project.sql("INSERT INTO shop_item (name) VALUES ('same'), ('same')", "planned_other")
    unique = 'migrations.RunSQL("CREATE UNIQUE INDEX one_name ON shop_item (name)")'
    project.migration("0002_unique", f"{NOTE}, {unique}", "0001_initial", more='evenkeel_phase = "before"')
    result = project.expand("r1")
    assert result["failed"] and "could not create unique index" in result["msg"]
    assert [(one["name"], one["database"]) for one in result["ran"]] == [("0002_unique", "default")]
    project.sql("DELETE FROM shop_item", "planned_other")
    again = project.expand("r1")
    assert [(one["name"], one["database"]) for one in again["ran"]] == [("0002_unique", "other")]


def test_a_squash_is_recorded_and_a_renamed_model_keeps_its_content_type(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE.replace("])", '], {"db_table": "shop_item"})'))
    project.migration("0002_note", NOTE, "0001_initial")
    project.run("migrated", "r0")
    project.serving = ("r0",)
    more = '    replaces = [("shop", "0001_initial"), ("shop", "0002_note")]'
    created = CREATE.replace("])", '], {"db_table": "shop_item"})')
    project.migration("0001_squashed_0002_note", f"{created}, {NOTE}", more=more)
    assert not project.expand("r1").get("failed")
    assert "0001_squashed_0002_note" in project.recorded()
    project.migration("0003_thing", 'migrations.RenameModel("Item", "Thing")', "0001_squashed_0002_note",
                      more='evenkeel_phase = "either"')  # fmt: skip
    before = project.rows("SELECT id FROM django_content_type WHERE model = 'item'")
    result = project.expand("r2")
    assert not result.get("failed"), result["msg"]
    assert project.rows("SELECT id FROM django_content_type WHERE model = 'thing'") == before


def test_who_wants_nothing_taken_away_is_told_what_would_be(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.run("migrated", "r0")
    project.serving = ("r0",)
    project.migration("0002_both", f"{NOTE}, {REMOVE}", "0001_initial")
    said = project.refused("expanded", "r1", additive_only=True)
    assert "Remove field old from item: additive_only is set" in said
    assert project.recorded() == ["0001_initial"]


def test_what_cannot_be_in_any_order_is_refused_before_anything_is_touched(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.run("migrated", "r0")
    project.serving = ("r0",)
    project.migration("0002_index", INDEX, "0001_initial")
    stock = 'migrations.AddField("item", "stock", models.IntegerField(default=0))'
    project.migration("0003_stock", stock, "0002_index")
    said = project.refused("expanded", "r1", bridges=())
    assert "shop.0003_stock, Add field stock to item" in said and "null=True" in said
    assert project.recorded() == ["0001_initial"] and "by_name" not in project.indexes()


def test_a_command_of_the_apps_own_is_run_through_or_refused(make: Make) -> None:
    project = make()
    project.migration("0001_initial", f'migrations.CreateModel("Item", [{ITEM}])')
    commands = project.folder / "shop/management/commands"
    commands.mkdir(parents=True)
    for folder in (commands, commands.parent):
        (folder / "__init__.py").touch()
    (commands / "migrate.py").write_text(
        "from django.core.management.commands.migrate import Command as Django\n"
        "class Command(Django):\n    def handle(self, *a, **o):\n        open('ours', 'w').close()\n"
        "        return super().handle(*a, **o)\n"
    )
    assert not project.run("migrated", "r0").get("failed") and (project.folder / "ours").exists()
    project.serving = ("r0",)
    project.migration("0002_both", f"{NOTE}, {REMOVE}", "0001_initial")
    (commands / "migrate.py").write_text(
        "from django.core.management.base import BaseCommand\nclass Command(BaseCommand):\n    def handle(self, **o):\n        pass\n"
    )
    result = project.expand("r1")
    assert result["failed"] and "a migrate command of its own" in result["msg"] and "note" not in project.columns()
