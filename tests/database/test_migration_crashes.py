# SPDX-License-Identifier: GPL-3.0-or-later
"""What breaks off, happens twice or fails while migrations run: killed at each statement, two at once, bad receivers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.database.migrations.forked import WarmDjango
from tests.database.migrations.kills import KILLER, each_in, keep, killed, one_in, points, reset
from tests.database.migrations.operations import CREATE, NOTE, REMOVE
from tests.database.migrations.running import Running
from tests.database.postgres_server import Postgres

Make = Callable[..., Running]
FILL = """
def fill(apps, schema_editor):
    schema_editor.execute("INSERT INTO filled VALUES (1)")
"""
CONCURRENTLY = 'postgres.AddIndexConcurrently("item", models.Index(fields=["name"], name="by_name"))'


@pytest.fixture
def make(tmp_path: Path, django: WarmDjango, postgres: Postgres) -> Make:
    def made(**more: str) -> Running:
        project = Running(tmp_path / "project", django, postgres, "shop", **more)
        project.migration("0001_initial", CREATE)
        project.start("CREATE TABLE filled (n int)")
        project.serving = ("r0",)
        return project

    return made


def migrations(project: Running) -> None:
    """Atomic ones with everything in them, and one that is not atomic."""
    project.migration("0002_both", f"{NOTE}, migrations.RunPython(fill)", "0001_initial", before=FILL,
                      more='evenkeel_phase = "before"')  # fmt: skip
    project.migration("0003_remove", REMOVE, "0002_both")
    other = 'migrations.AddField("item", "other", models.IntegerField(null=True))'
    project.migration("0004_index", f"{other}, {CONCURRENTLY}", "0003_remove", more="    atomic = False")


STATEMENTS = [one_in(9), *each_in(4)]


@pytest.mark.parametrize("chosen", STATEMENTS)
def test_an_expand_killed_at_any_statement_is_ended_by_the_next(make: Make, chosen: tuple[int, int]) -> None:
    project = make(settings=KILLER)
    migrations(project)
    keep(project, "before")
    order, *_more = project.order("expanded", "r1")
    ended = 0
    for at in points(chosen):
        reset(project, "before")
        if not killed(project, order, at):
            break
        ended += 1
        assert "old" in project.columns()
        result = project.expand("r1")
        assert not result.get("failed"), (at, result["msg"])
        assert project.recorded() == ["0001_initial", "0002_both", "0003_remove", "0004_index"], at
        assert project.columns() == ["id", "name", "note", "old", "other"], at
        assert project.indexes()["by_name"] is True, at
        assert project.rows("SELECT count(*) FROM filled") == [(1,)], at
        assert [(o["name"], o["index"]) for o in result["open"]] == [("0003_remove", 0)], at
        assert project.rows("SELECT count(*) FROM evenkeel_migrations WHERE name = 'post_migrate'") == [(0,)], at
        assert project.rows("SELECT count(*) FROM django_content_type WHERE app_label = 'shop'") == [(1,)], at
    assert ended >= 3


@pytest.mark.parametrize("chosen", STATEMENTS)
def test_a_contract_killed_at_any_statement_is_ended_by_the_next(make: Make, chosen: tuple[int, int]) -> None:
    project = make(settings=KILLER)
    migrations(project)
    project.migration("0005_more", 'migrations.AlterField("item", "note", models.CharField(max_length=9, default="")), '
                      'migrations.RemoveField("item", "other")', "0004_index")  # fmt: skip
    project.expand("r1")
    project.sql("UPDATE shop_item SET note = ''", "planned")
    project.serving = ("r1",)
    keep(project, "expanded")
    allow = {"allow_data_loss": ["shop.0003_remove", "shop.0005_more"]}
    order, *_more = project.order("contracted", "r1", **allow)
    assert len(order["databases"][0]["contract"]) >= 2
    ended = 0
    for at in points(chosen):
        reset(project, "expanded")
        if not killed(project, order, at):
            break
        ended += 1
        result = project.contract("r1", **allow)
        assert not result.get("failed") and result["open"] == [], (at, result["msg"])
        assert project.columns() == ["id", "name", "note"], at
    assert ended >= 2


def test_two_at_once_run_nothing_twice_and_the_second_says_for_whom_it_waits(make: Make) -> None:
    project = make()
    slow = FILL + '    schema_editor.execute("SELECT pg_sleep(2)")\n'
    project.migration("0002_fill", "migrations.RunPython(fill)", "0001_initial", before=slow,
                      more='evenkeel_phase = "before"')  # fmt: skip
    order, *_more = project.order("expanded", "r1")
    both = [project.begin(order), project.begin(order)]
    printed = [p.communicate()[0] for p in both]
    assert project.rows("SELECT count(*) FROM filled") == [(1,)]
    assert sum("waits for another migration of this database" in text for text in printed) == 1
    # It finds that nothing of what was judged is pending, and touches nothing.
    assert sum('"kind": "changed"' in text for text in printed) == 1
    again = project.expand("r1")
    assert not again["changed"] and again["pending"] == 0


def test_who_waits_too_long_is_told_whom_to_ask(make: Make) -> None:
    project = make()
    project.migration("0002_note", NOTE, "0001_initial")
    with project.session(f"SELECT pg_advisory_lock({int.from_bytes(b'evenkeel', 'big')})"):
        result = project.expand("r1", wait=0.6)
    assert result["failed"] and "another migration works on the database default: reports (pid" in result["msg"]
    assert not project.expand("r1").get("failed")


def test_somebody_who_migrates_plainly_in_between_stops_it_before_it_touches_anything(make: Make) -> None:
    project = make()
    migrations(project)
    order, *_more = project.order("expanded", "r1")
    project.manage("migrate", "shop", "0002")
    process = project.begin(order)
    printed, _errors = process.communicate()
    assert '"kind": "changed"' in printed and project.recorded() == ["0001_initial", "0002_both"]
    assert project.expand("r1")["changed"] and "old" in project.columns()


def test_a_failed_migration_is_rolled_back_and_told_without_rows(make: Make) -> None:
    project = make()
    project.sql("INSERT INTO shop_item (name) VALUES ('hunter2'), ('hunter2')", "planned")
    project.migration("0002_note", NOTE, "0001_initial")
    unique = 'migrations.RunSQL("CREATE UNIQUE INDEX by_name ON shop_item (name)")'
    project.migration("0003_unique", unique, "0002_note", more='evenkeel_phase = "before"')
    result = project.expand("r1")
    assert result["failed"] and result["changed"] and "hunter2" not in str(result)
    assert "shop.0003_unique failed: could not create unique index" in result["msg"]
    assert "done and kept: shop.0002_note" in result["msg"] and project.recorded()[-1] == "0002_note"


def test_a_receiver_that_fails_after_the_migrations_is_told_as_that(make: Make) -> None:
    project = make()
    (project.folder / "shop/apps.py").write_text(
        "import os\nfrom django.apps import AppConfig\nfrom django.db.models.signals import post_migrate\n"
        "def receive(**more):\n    if os.path.exists('broken'):\n        raise ValueError('no such group')\n"
        "class Shop(AppConfig):\n    name = 'shop'\n    def ready(self):\n        post_migrate.connect(receive, weak=False)\n"
    )
    project.migration("0002_note", NOTE, "0001_initial")
    (project.folder / "broken").touch()
    result = project.expand("r1")
    assert result["failed"] and result["changed"] and "no such group" in result["msg"]
    assert "the migrations are applied" in result["msg"] and project.recorded()[-1] == "0002_note"
    (project.folder / "broken").unlink()
    again = project.expand("r1")
    assert not again.get("failed") and again["ran"] == []
    assert project.rows("SELECT count(*) FROM evenkeel_migrations WHERE name = 'post_migrate'") == [(0,)]


def test_what_was_broken_off_outside_of_a_transaction_is_never_begun_again_by_itself(make: Make) -> None:
    project = make()
    failing = FILL + "    if not __import__('os').path.exists('well'):\n        raise RuntimeError('half done')\n"
    other = 'migrations.AddField("item", "other", models.IntegerField(null=True))'
    project.migration("0002_fill", f"{other}, migrations.RunPython(fill)", "0001_initial", before=failing,
                      more='    atomic = False\nevenkeel_phase = "before"')  # fmt: skip
    first = project.expand("r1")
    assert first["failed"] and "RuntimeError: half done" in first["msg"]
    assert "interrupted: {shop.0002_fill:1: again}" in first["msg"]
    second = project.expand("r1")
    assert second["failed"] and "and was broken off" in second["msg"]
    assert project.rows("SELECT count(*) FROM filled") == [(1,)]
    (project.folder / "well").touch()
    third = project.expand("r1", interrupted={"shop.0002_fill:1": "again"})
    assert not third.get("failed") and project.recorded()[-1] == "0002_fill"
    assert project.rows("SELECT count(*) FROM filled") == [(2,)]


def test_an_index_that_was_broken_off_is_taken_away_and_built_again(make: Make) -> None:
    project = make()
    project.migration("0002_index", CONCURRENTLY, "0001_initial", more="    atomic = False")
    project.limits = (20, 0)
    # A concurrent build waits for every transaction that has seen the table.
    with project.session("INSERT INTO shop_item (name) VALUES ('x')"):
        result = project.expand("r1")
        assert result["failed"] and re.search(r'index "by_name" was not given its lock.*reports', result["msg"]), result
        assert project.indexes()["by_name"] is False
    result = project.expand("r1")
    assert not result.get("failed"), result["msg"]
    assert project.indexes()["by_name"] is True and "takes away what a broken build has left" in result["printed"]


BIG = "INSERT INTO shop_item (name, old) SELECT md5(n::text) || repeat('x', 15), 'a' FROM generate_series(1, 600000) n"


def test_on_a_big_table_everything_that_would_block_is_done_beside_the_traffic(make: Make) -> None:
    project = make()
    project.sql(BIG, "planned")
    project.sql("VACUUM ANALYZE shop_item", "planned")
    project.migration("0002_index", 'migrations.AddIndex("item", models.Index(fields=["name"], name="by_name")), '
                      'migrations.AlterField("item", "old", models.CharField(max_length=9)), '
                      'migrations.AddConstraint("item", models.UniqueConstraint(fields=["name"], name="one_name"))',
                      "0001_initial", more='evenkeel_phase = "after"')  # fmt: skip
    order, *_more = project.order("expanded", "r1")
    methods = [a["method"] for a in order["databases"][0]["migrations"][0]["actions"]]
    assert methods == [
        "concurrently",
        "check, validate, then NOT NULL",
        "index concurrently, then the constraint by it",
    ]
    result = project.expand("r1")
    assert not result.get("failed"), result["msg"]
    assert project.indexes().get("by_name") is True
    project.serving = ("r1",)
    result = project.contract("r1")
    assert not result.get("failed") and result["open"] == [], result["msg"]
    constraints = project.rows(
        "SELECT conname, contype::text, convalidated FROM pg_constraint WHERE conrelid = 'shop_item'::regclass "
        "AND contype <> 'n' ORDER BY 1"
    )
    assert constraints == [("one_name", "u", True), ("shop_item_pkey", "p", True)]
    assert project.rows("SELECT attnotnull FROM pg_attribute WHERE attname = 'old'") == [(True,)]


def test_on_a_big_table_a_default_is_filled_in_batches_before_it_is_not_null(make: Make) -> None:
    project = make()
    project.sql(BIG.replace("'a' FROM", "CASE n % 3 WHEN 0 THEN NULL ELSE 'a' END FROM"), "planned")
    project.sql("VACUUM ANALYZE shop_item", "planned")
    default = 'models.CharField(max_length=9, default="it\'s 5%")'
    project.migration("0002_default", f'migrations.AlterField("item", "old", {default})', "0001_initial")
    result = project.expand("r1")
    assert not result.get("failed"), result["msg"]
    project.serving = ("r1",)
    done = project.contract("r1")
    assert not done.get("failed") and done["open"] == [], done["msg"]
    assert project.rows("SELECT old, count(*) FROM shop_item GROUP BY 1 ORDER BY 1") == [
        ("a", 400000),
        ("it's 5%", 200000),
    ]
    assert project.rows("SELECT attnotnull, atthasdef FROM pg_attribute WHERE attname = 'old'") == [(True, False)]
