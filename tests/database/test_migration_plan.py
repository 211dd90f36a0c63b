# SPDX-License-Identifier: GPL-3.0-or-later
"""What Django itself would migrate, asked of real projects on a real PostgreSQL, with the oldest and newest Django."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.database.migrations.forked import WarmDjango
from tests.database.migrations.project import Project
from tests.database.postgres_server import Postgres

ITEM = '("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50))'
CREATE = f'migrations.CreateModel("Item", [{ITEM}])'
NOTE = 'migrations.AddField("item", "note", models.CharField(max_length=9, null=True))'
Make = Callable[..., Project]


@pytest.fixture
def make(tmp_path: Path, django: WarmDjango, postgres: Postgres) -> Make:
    """Makes a project with one version of Django."""
    return lambda apps="shop", **more: Project(tmp_path / "project", django, postgres, apps, **more)


def operations(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(m["name"], o["phase"], o["action"]) for m in result["plan"] for o in m["operations"]]


def test_nothing_is_changed_and_nothing_is_told_twice(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    result = project.plan()
    assert [m["name"] for m in result["plan"]] == ["0001_initial", "0002_remove_content_type_name", "0001_initial"]
    assert {o["action"] for m in result["plan"] for o in m["operations"]} == {"now"}
    assert project.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    project.manage("migrate")
    assert project.plan()["plan"] == []
    project.migration("0002_note", NOTE, "0001_initial")
    assert operations(project.plan()) == [("0002_note", "before", "now")]
    columns = project.rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'shop_item'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert columns == [("id",), ("name",)]
    (operation,) = project.plan()["plan"][0]["operations"]
    assert operation["index"] == 0 and operation["sql"][0].startswith('ALTER TABLE "shop_item" ADD COLUMN "note"')


UNIQUE = 'migrations.AlterField("item", "name", models.CharField(max_length=50, unique=True))'


def test_a_unique_field_waits_for_the_old_code_where_no_file_of_the_app_upserts(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.manage("migrate")
    project.migration("0002_unique", UNIQUE, "0001_initial")
    assert operations(project.plan()) == [("0002_unique", "after", "defer")]
    # Beside the app, as code of a project may be; of tools that are installed in its folder nothing is asked.
    for folder in ("services", "venv/lib"):
        (project.folder / folder).mkdir(parents=True)
    (project.folder / "venv/lib/tool.py").write_text("def upsert(): ...")
    assert operations(project.plan()) == [("0002_unique", "after", "defer")]
    (project.folder / "services/stock.py").write_text("import shop\n\nrows.bulk_create(new, update_conflicts=True)\n")
    (refused,) = project.plan()["refused"]
    assert refused["phase"] == "downtime" and "services/stock.py:3)" in refused["reason"]


def test_what_cannot_be_read_may_upsert(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.manage("migrate")
    project.migration("0002_unique", UNIQUE, "0001_initial")
    (project.folder / "gone.py").symlink_to("nowhere")
    (refused,) = project.plan()["refused"]
    assert "gone.py cannot be read (No such file or directory)" in refused["reason"]


def test_a_squash_is_recorded_though_nothing_is_pending(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.migration("0002_note", NOTE, "0001_initial")
    project.manage("migrate")
    more = '    replaces = [("shop", "0001_initial"), ("shop", "0002_note")]'
    project.migration("0001_squashed_0002_note", f"{CREATE}, {NOTE}", more=more)
    result = project.plan()
    assert result["plan"] == []
    assert result["to_record"] == [{"app": "shop", "name": "0001_squashed_0002_note", "database": "default"}]
    assert "1 squashed to be recorded" in result["msg"]
    project.manage("migrate")
    assert project.plan()["to_record"] == []


def test_conflicting_leaves_name_the_merge_command(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.migration("0002_one", NOTE, "0001_initial")
    project.migration("0002_two", NOTE.replace("note", "other"), "0001_initial")
    said = project.why()
    assert "0002_one, 0002_two in shop" in said and "makemigrations --merge" in said


def test_a_history_that_cannot_be_and_a_missing_parent(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.migration("0002_note", NOTE, "0001_initial")
    project.manage("migrate")
    project.sql("DELETE FROM django_migrations WHERE name = '0001_initial' AND app = 'shop'", "planned")
    assert "shop.0002_note is applied before its dependency shop.0001_initial" in project.why()
    project.migration("0003_lost", NOTE, "0002_gone")
    assert "do not fit together" in project.why() and "0002_gone" in project.why()


def test_wrong_credentials_a_database_that_is_not_there_and_one_that_is_down(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.password = "hunter2"
    project.settle()
    said = project.why()
    assert "refused the app" in said and "hunter2" not in said
    project.password, project.databases["default"] = "measured", "nowhere"
    project.settle()
    assert "does not exist" in project.why()
    project.port = "1"
    project.settle()
    assert "could not be asked" in project.why() and "see that the database runs" in project.why()


def test_several_databases_with_routers(make: Make) -> None:
    routers = 'DATABASE_ROUTERS = ["routers.Router"]'
    project = make("shop log", other="planned_log", again="planned", settings=routers)
    (project.folder / "routers.py").write_text(
        "class Router:\n    def allow_migrate(self, db, app_label, **hints):\n"
        "        return (db == 'other') == (app_label == 'log')\n"
    )
    project.migration("0001_initial", CREATE)
    project.migration("0001_initial", CREATE.replace("Item", "Line"), app="log")
    project.manage("migrate")
    project.manage("migrate", "--database", "other")
    project.migration("0002_drop", 'migrations.AlterField("item", "name", models.IntegerField())', "0001_initial")
    project.migration("0002_data", "migrations.RunPython(lambda apps, editor: None)", "0001_initial", app="log")
    result = project.plan()
    found = {(m["database"], m["app"]): m["operations"][0]["phase"] for m in result["plan"]}
    assert found == {("default", "shop"): "downtime", ("default", "log"): "either",
                     ("other", "shop"): "either", ("other", "log"): "unknown"}  # fmt: skip
    assert result["notes"] == ["again is left out: the same database as default"]
    assert {r["database"] for r in result["refused"]} == {"default", "other"}
    assert {m["database"] for m in project.plan(databases=["other"])["plan"]} == {"other"}
    assert "there are default, other, again" in project.why(databases=["nowhere"])


def test_a_user_model_of_the_projects_own(make: Make) -> None:
    project = make(
        ["django.contrib.auth", "shop"][1],
        settings='AUTH_USER_MODEL = "shop.User"\nINSTALLED_APPS += ["django.contrib.auth"]',
    )
    project.model("from django.contrib.auth.models import AbstractUser\nclass User(AbstractUser):\n    pass\n")
    project.manage("makemigrations", "shop")
    assert {o["action"] for m in project.plan()["plan"] for o in m["operations"]} == {"now"}
    project.manage("migrate")
    # The table of the user that is swapped out was never made, and nobody misses it.
    project.model(
        "from django.contrib.auth.models import AbstractUser\nclass User(AbstractUser):\n"
        "    shop = models.ForeignKey('auth.Group', models.CASCADE, null=True, related_name='+')\n"
    )
    project.manage("makemigrations", "shop", "-n", "group")
    assert operations(project.plan()) == [("0002_group", "before", "now")]


def test_declared_in_the_file_or_by_the_caller(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.start()
    python = "migrations.RunPython(lambda apps, editor: None)"
    project.migration("0002_data", python, "0001_initial")
    result = project.plan()
    assert operations(result) == [("0002_data", "unknown", "refuse")]
    assert "evenkeel_phase" in result["refused"][0]["safe_way"]
    assert operations(project.plan({"shop.0002_data": "after"})) == [("0002_data", "after", "defer")]
    project.migration("0002_data", python, "0001_initial", before='evenkeel_phase = "before"')
    assert operations(project.plan()) == [("0002_data", "before", "now")]
    project.migration("0002_data", python, "0001_initial", before='evenkeel_phase = "sometime"')
    with pytest.raises(Exception, match="evenkeel_phase = 'sometime'"):
        project.plan()


def test_values_are_not_told(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.start()
    secret = "sk_live_" + "123"
    project.migration(
        "0002_secrets",
        f'migrations.AddField("item", "key", models.CharField(max_length=50, default="{secret}")),'
        f'migrations.AddField("item", "pin", models.IntegerField(default=98765431)),'
        f"migrations.RunSQL(\"UPDATE shop_item SET name = '{secret}'\"),"
        f'migrations.AddConstraint("item", models.UniqueConstraint(fields=["name"], condition=models.Q(name="{secret}"), name="u"))',
        "0001_initial",
    )
    told = str(project.ask())
    assert secret not in told and "98765431" not in told and "measured" not in told


def test_the_live_catalogue_is_asked(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE + ',migrations.AddField("item", "note", models.TextField(null=True))')
    project.start()
    project.sql("INSERT INTO shop_item (name) VALUES ('a'), ('a')", "planned")
    project.migration(
        "0002_strict",
        'migrations.AlterField("item", "note", models.TextField()),'
        'migrations.AddConstraint("item", models.UniqueConstraint(fields=["name"], name="one"))',
        "0001_initial",
    )
    assert [r["reason"] for r in project.plan()["refused"]] == [
        'rows have NULL in note (SELECT * FROM "shop_item" WHERE "note" IS NULL)',
        'rows have the same name (SELECT "name", count(*) FROM "shop_item" GROUP BY "name" HAVING count(*) > 1)',
    ]
    # A default that somebody gave the column in the database: dropping it may wait.
    project.sql("ALTER TABLE shop_item ALTER COLUMN name SET DEFAULT ''", "planned")
    project.migration("0002_strict", 'migrations.RemoveField("item", "name")', "0001_initial")
    assert operations(project.plan()) == [("0002_strict", "after", "defer")]
    # What a build that was broken off has left.
    project.migration(
        "0002_strict", 'migrations.AddIndex("item", models.Index(fields=["name"], name="by_name"))', "0001_initial"
    )
    project.sql("CREATE INDEX by_name ON shop_item (name)", "planned")
    project.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_name'::regclass", "planned")
    assert "INVALID index by_name" in project.plan()["refused"][0]["reason"]
    project.migration("0002_strict", 'migrations.RemoveField("item", "note")', "0001_initial")
    project.sql("ALTER TABLE shop_item RENAME TO elsewhere", "planned")
    project.sql("CREATE TABLE shop_item (id bigint, name text, note text) PARTITION BY RANGE (id)", "planned")
    project.sql("CREATE TABLE part PARTITION OF shop_item DEFAULT", "planned")
    project.sql("INSERT INTO shop_item SELECT n, 'x', 'y' FROM generate_series(1, 9999) n", "planned")
    table = project.ask()["databases"][0]["catalogue"]["shop_item"]
    assert table["kind"] == "p" and table["bytes"] > 300_000 and table["empty"] is False
    project.sql("DROP TABLE shop_item", "planned")
    assert project.plan()["refused"][0]["reason"] == "there is no table shop_item"


def test_a_table_that_is_big_is_not_locked_for_long(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.start()
    project.sql("INSERT INTO shop_item (name) SELECT repeat('x', 50) FROM generate_series(1, 900000)", "planned")
    project.sql("ANALYZE shop_item", "planned")
    project.migration(
        "0002_big",
        'migrations.AddIndex("item", models.Index(fields=["name"], name="by_name")),'
        'migrations.AlterField("item", "name", models.CharField(max_length=20))',
        "0001_initial",
    )
    index, narrower = project.plan()["plan"][0]["operations"]
    assert (index["action"], index["method"]) == ("now", "concurrently")
    assert (narrower["action"], narrower["phase"]) == ("refuse", "refuse") and "MiB" in narrower["reason"]


def test_an_engine_that_is_not_judged(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.more = 'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}'
    project.settle()
    result = project.plan()
    assert {r["reason"] for r in result["refused"]} == {"default is sqlite"}


def test_up_to_a_target_and_never_backwards(make: Make) -> None:
    project = make()
    project.migration("0001_initial", CREATE)
    project.start()
    project.migration("0002_note", NOTE, "0001_initial")
    project.migration("0003_more", NOTE.replace("note", "more"), "0002_note")
    assert [m["name"] for m in project.plan(target="shop.0002_note")["plan"]] == ["0002_note"]
    assert [m["name"] for m in project.plan(target="shop")["plan"]] == ["0002_note", "0003_more"]
    project.manage("migrate")
    assert "shop.0003_more would be reversed" in project.why(target="shop.0002_note")
    assert "names 0 migrations" in project.why(target="shop.0009")
