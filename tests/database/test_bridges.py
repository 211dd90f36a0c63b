# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges on a real PostgreSQL: both codes on one schema until contract, then exactly what plain ``migrate`` would make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import bridges
from tests.database.migrations.forked import WarmDjango
from tests.database.migrations.kills import KILLER, each_in, keep, killed, one_in, points, reset
from tests.database.migrations.running import Running
from tests.database.migrations.schema_dump import SCHEMA
from tests.database.postgres_server import Postgres

Make = Callable[..., Running]
ITEM = (
    '("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50, {})), '
    '("old", models.CharField(max_length=9, null=True))'
)
MORE = 'migrations.AlterModelOptions("item", {})'
STOCK = 'migrations.AddField("item", "stock", models.IntegerField(default=7))'
RENAME = 'migrations.RenameField("item", "name", "title")'
FORGET = 'migrations.RemoveField("item", "name")'


@pytest.fixture
def make(tmp_path: Path, django: WarmDjango, postgres: Postgres) -> Make:
    """Makes a project at release r0, which serves and has two rows."""

    def made(more: str = MORE, name: str = "db_index=True", **settings: str) -> Running:
        project = Running(tmp_path / "project", django, postgres, "shop", **settings)
        project.migration("0001_initial", f'migrations.CreateModel("Item", [{ITEM.format(name)}]), {more}')
        project.start("INSERT INTO shop_item (name) VALUES ('a'), ('b')")
        project.serving = ("r0",)
        return project

    return made


def plain(project: Running) -> list[tuple[Any, ...]]:
    """The schema that Django's own ``migrate`` makes of the same migrations."""
    project.databases["default"] = "plain"
    project.settle()
    project.postgres.make("plain")
    try:
        project.manage("migrate")
        return project.rows(SCHEMA, "plain")
    finally:
        project.databases["default"] = "planned"
        project.settle()


def back(project: Running) -> str:
    """What code that has no migration but the first is told."""
    aside = sorted((project.folder / "shop/migrations").glob("000[2-9]*.py"))
    for path in aside:
        path.rename(project.folder / path.name)
    try:
        return str(project.plan_of("r0")["schema_compatibility"])
    finally:
        for path in aside:
            (project.folder / path.name).rename(path)


def bridged(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(o["action"], o["bridge"]) for m in result["plan"] for o in m["operations"]]


# -- a default that is kept ---------------------------------------------------------------------------------------

COMING = f"""
{STOCK},
migrations.AddField("item", "label", models.CharField(max_length=9, default="it's 5%")),
migrations.AddField("item", "hint", models.TextField(blank=True)),
migrations.AddField("item", "data", models.JSONField(default=dict)),
migrations.AddField("item", "token", models.UUIDField(default=uuid.uuid4)),
migrations.AddField("item", "made", models.DateTimeField(auto_now_add=True, default=timezone.now), preserve_default=False),
migrations.AddField("item", "day", models.DateField(default=datetime.date.today)),
migrations.AddField("item", "code", models.CharField(max_length=9, default=made_up)),
"""
IMPORTS = "import datetime, uuid\nfrom django.utils import timezone\ndef made_up():\n    return 'code'\n"


def test_fields_with_defaults_come_while_the_old_code_writes(make: Make) -> None:
    project = make()
    named = 'evenkeel_defaults = {"item.code": "old"}'
    project.migration("0002_coming", COMING, "0001_initial", before=IMPORTS, more=f"    {named}")
    result = project.expand("r1")
    assert not result.get("failed"), result["msg"]
    assert bridged(result) == [("now", "keep_default")] * 8
    # The old code's INSERT, which names none of them.
    project.sql("INSERT INTO shop_item (name) VALUES ('c')", "planned")
    (row,) = project.rows("SELECT stock, label, hint, data::text, code, made > now() - interval '1 minute', day = current_date "
                          "FROM shop_item WHERE name = 'c'")  # fmt: skip
    assert row == (7, "it's 5%", "", "{}", "old", True, True)
    assert project.rows("SELECT count(DISTINCT token) FROM shop_item") == [(2,)]
    assert [(o["index"], o["bridge"]) for o in result["open"]] == [(i, "keep_default") for i in range(8)]
    assert back(project) == "code only"
    assert project.contract("r1")["waits"]
    # All of it is Django's to apply nothing of.
    assert "No migrations to apply" in project.manage("migrate")
    project.serving = ("r1",)
    done = project.contract("r1")
    assert done["open"] == [] and len(done["contracted"]) == 8, done["msg"]
    assert project.rows(SCHEMA) == plain(project)
    assert {state for _n, _i, state in project.ledger()} == {"settled"}
    assert back(project) == "reverse"
    assert not project.expand("r1")["changed"]


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ('migrations.AddField("item", "code", models.CharField(max_length=9, default=made_up))', "is a function (made_up)"),
        ('migrations.AddField("item", "code", models.CharField(max_length=9, default="x", unique=True))', "same"),
        (('migrations.SeparateDatabaseAndState([migrations.AddField("item", "n", models.IntegerField(default=1))], '
         '[migrations.AddField("item", "n", models.IntegerField(default=1))])'), "NOT NULL"),
    ],
    ids=["a function of the app's", "unique", "the database alone"],
)  # fmt: skip
def test_what_the_database_cannot_keep_is_refused_with_the_reason(make: Make, operation: str, why: str) -> None:
    project = make()
    project.migration("0002_coming", operation, "0001_initial", before=IMPORTS)
    said = project.refused("expanded", "r1")
    assert why in said and "Next:" in said
    assert project.columns() == ["id", "name", "old"]


def test_without_bridges_it_is_as_without_them(make: Make) -> None:
    project = make()
    project.migration("0002_stock", STOCK, "0001_initial")
    assert "keeps no default in the database" in project.refused("expanded", "r1", bridges=("set_default",))


# -- a default for what goes --------------------------------------------------------------------------------------


def test_a_field_goes_that_the_new_code_does_not_name_any_more(make: Make) -> None:
    project = make()
    project.migration("0002_forget", FORGET, "0001_initial")
    project.model("class Item(models.Model):\n    old = models.CharField(max_length=9, null=True)\n")
    result = project.expand("r1")
    assert not result.get("failed"), result["msg"]
    assert bridged(result) == [("defer", "set_default")]
    (operation,) = result["plan"][0]["operations"]
    assert "fills name of the new code's rows with ''" in operation["reason"]
    script = "from shop.models import Item; Item.objects.create(old='new')"
    project.manage("shell", "-c", script)
    assert project.rows("SELECT name FROM shop_item WHERE old = 'new'") == [("",)]
    assert back(project) == "abandon"
    project.serving = ("r1",)
    assert project.contract("r1")["waits"]
    done = project.contract("r1", allow_data_loss=["shop.0002_forget"])
    assert done["open"] == [], done["msg"]
    assert project.rows(SCHEMA) == plain(project)


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ('models.CharField(max_length=9, default="x", unique=True)', "unique"),
        ('models.ForeignKey("item", models.CASCADE, default=1)', "refers to rows of shop_item"),
    ],
    ids=["unique", "a foreign key"],
)
def test_what_nothing_can_be_made_up_for_is_refused(make: Make, field: str, why: str) -> None:
    project = make(more='migrations.AddField("item", "other", models.IntegerField(null=True))')
    project.sql("DELETE FROM shop_item", "planned")
    project.migration("0002_more", f'migrations.AddField("item", "key", {field})', "0001_initial", before="")
    project.manage("migrate")
    project.migration("0003_gone", 'migrations.RemoveField("item", "key")', "0002_more")
    assert why in project.refused("expanded", "r1")


# -- a column under two names -------------------------------------------------------------------------------------


def test_a_field_gets_another_name_while_both_codes_write(make: Make) -> None:
    project = make(name="unique=True")
    project.migration("0002_rename", RENAME, "0001_initial")
    result = project.expand("r1")
    assert not result.get("failed"), result["msg"]
    assert bridged(result) == [("defer", "mirror_column")]
    rows = "SELECT name, title FROM shop_item ORDER BY id"
    assert project.rows(rows) == [("a", "a"), ("b", "b")]
    # Both codes write, each by its own name.
    for statement in (
        "INSERT INTO shop_item (name) VALUES ('old')",
        "INSERT INTO shop_item (title) VALUES ('new')",
        "INSERT INTO shop_item (title) VALUES ('b') ON CONFLICT (title) DO UPDATE SET title = EXCLUDED.title || '!'",
        "INSERT INTO shop_item (name) VALUES ('a') ON CONFLICT (name) DO UPDATE SET name = EXCLUDED.name || '?'",
        "UPDATE shop_item SET name = name || '1' WHERE name = 'old'",
        "UPDATE shop_item SET title = title || '2', old = 'x' WHERE title = 'new'",
        "UPDATE shop_item SET old = 'y' WHERE title = 'old1'",
    ):
        project.sql(statement, "planned")
    assert project.rows(rows) == [("a?", "a?"), ("b!", "b!"), ("old1", "old1"), ("new2", "new2")]
    for statement in ("INSERT INTO shop_item (title) VALUES ('a?')", "INSERT INTO shop_item (old) VALUES ('none')"):
        with pytest.raises(psycopg.errors.IntegrityError):
            project.sql(statement, "planned")
    assert back(project) == "abandon"
    assert project.contract("r1")["waits"]
    project.serving = ("r1",)
    done = project.contract("r1")
    assert done["open"] == [], done["msg"]
    assert project.rows(SCHEMA) == plain(project)
    assert project.rows("SELECT title FROM shop_item ORDER BY id") == [("a?",), ("b!",), ("old1",), ("new2",)]
    assert back(project) == "reverse"


# -- what refers to rows that are deleted ---------------------------------------------------------------------------

PLACES = """
migrations.CreateModel("Place", [("id", models.BigAutoField(primary_key=True))]),
migrations.AddField("item", "place", models.ForeignKey("place", models.CASCADE, null=True)),
migrations.AddField("item", "parent", models.ForeignKey("item", models.CASCADE, null=True)),
migrations.AddField("item", "tags", models.ManyToManyField("place", related_name="+")),
migrations.CreateModel("Note", [("id", models.BigAutoField(primary_key=True)), ("item", models.ForeignKey("item", models.CASCADE))]),
"""
LINKED = """
INSERT INTO shop_place DEFAULT VALUES; INSERT INTO shop_place DEFAULT VALUES;
UPDATE shop_item SET place_id = id, parent_id = id; INSERT INTO shop_item_tags (item_id, place_id) SELECT id, id FROM shop_item;
INSERT INTO shop_note (item_id) SELECT id FROM shop_item
"""


def test_what_refers_to_others_goes_while_the_new_code_deletes_these(make: Make) -> None:
    project = make(more=PLACES)
    project.sql(LINKED, "planned")
    gone = [
        "RemoveField('item', 'place')",
        "RemoveField('item', 'parent')",
        "RemoveField('item', 'tags')",
        "DeleteModel('note')",
    ]
    project.migration("0002_gone", ", ".join(f"migrations.{one}" for one in gone), "0001_initial")
    result = project.expand("r1")
    assert not result.get("failed"), result["msg"]
    assert bridged(result) == [("defer", "foreign_key")] * 4
    # As the new code deletes, which knows of none of these.
    project.sql("DELETE FROM shop_place WHERE id = 1", "planned")
    assert project.rows("SELECT id, place_id FROM shop_item ORDER BY id") == [(1, None), (2, 2)]
    project.sql("DELETE FROM shop_item WHERE id = 2", "planned")
    assert project.rows("SELECT item_id FROM shop_note") == [(1,)]
    assert project.rows("SELECT count(*) FROM shop_item_tags") == [(0,)]
    assert back(project) == "abandon"
    project.serving = ("r1",)
    assert project.contract("r1", allow_data_loss=["shop.0002_gone"])["open"] == []
    assert project.rows(SCHEMA) == plain(project)


def test_nothing_is_changed_under_a_bridge_that_stands(make: Make) -> None:
    project = make()
    project.migration("0002_rename", RENAME, "0001_initial")
    project.expand("r1")
    project.migration("0003_text", 'migrations.AlterField("item", "title", models.TextField())', "0002_rename")
    project.serving = ("r1", "r0")
    assert "into a release of its own" in project.refused("expanded", "r2")
    project.serving = ("r1",)
    assert "a bridge of an earlier release stands on shop_item" in project.refused("expanded", "r2")
    # An update contracts first: what waits for nothing is in nobody's way when it is planned.
    assert project.plan_of("r2")["refused"] == []
    assert project.contract("r1")["open"] == []
    assert not project.expand("r2").get("failed")


# -- a table under two names --------------------------------------------------------------------------------------


def test_a_model_gets_another_name_while_both_codes_write(make: Make) -> None:
    reference = 'models.ForeignKey("item", models.CASCADE)'
    note = f'migrations.CreateModel("Note", [("id", models.BigAutoField(primary_key=True)), ("item", {reference})])'
    project = make(more=note)
    project.migration("0002_thing", 'migrations.RenameModel("Item", "Thing")', "0001_initial")
    assert "update_allow_downtime" in project.refused("expanded", "r1")
    result = project.expand("r1", bridges=bridges.KINDS)
    assert not result.get("failed"), result["msg"]
    assert bridged(result) == [("defer", "synonym")]
    for statement in (
        "INSERT INTO shop_item (name) VALUES ('old')",
        "INSERT INTO shop_thing (name) VALUES ('new')",
        "UPDATE shop_thing SET old = name WHERE name = 'old'",
        "UPDATE shop_item SET old = name WHERE name = 'new'",
        "INSERT INTO shop_note (item_id) SELECT id FROM shop_thing WHERE name = 'new'",
        "DELETE FROM shop_thing WHERE name = 'a'",
    ):
        project.sql(statement, "planned")
    # As Django aggregates: by the key alone.
    rows = "SELECT t.name, t.old, count(n.id) FROM {} t LEFT JOIN shop_note n ON n.item_id = t.id GROUP BY t.id ORDER BY t.id"
    both = [project.rows(rows.format(table)) for table in ("shop_item", "shop_thing")]
    assert both[0] == both[1] == [("b", None, 0), ("old", "old", 0), ("new", "new", 1)]
    assert back(project) == "abandon"
    project.run("abandoned", "r1")
    assert project.rows("SELECT to_regclass('shop_thing')::text") == [(None,)]
    assert not project.expand("r1", bridges=bridges.KINDS).get("failed")
    project.serving = ("r1",)
    done = project.contract("r1")
    assert done["open"] == [], done["msg"]
    project.sql("INSERT INTO shop_thing (name) VALUES ('last')", "planned")
    assert project.rows("SELECT name FROM shop_thing ORDER BY id") == [("b",), ("old",), ("new",), ("last",)]
    assert project.rows(SCHEMA) == plain(project)


# -- and back -----------------------------------------------------------------------------------------------------


def three(project: Running) -> None:
    """A bridge of each kind."""
    other = 'migrations.AlterField("item", "old", models.CharField(max_length=9, db_column="former", null=True))'
    project.migration("0002_stock", STOCK, "0001_initial")
    project.migration("0003_forget", FORGET, "0002_stock")
    project.migration("0004_former", other, "0003_forget")


def test_abandoning_takes_bridges_down_and_the_next_expand_puts_them_up_again(make: Make) -> None:
    project = make()
    before = project.rows(SCHEMA)
    three(project)
    assert not project.expand("r1").get("failed")
    assert len(project.run("abandoned", "r1")["abandoned"]) == 3
    # What came has rows, so it stays with its default; the old code goes on with all of it.
    left = [row for row in project.rows(SCHEMA) if row not in before]
    assert [(kind, name, default) for kind, name, _type, _null, default in left] == [("column", "shop_item.stock", "7")]
    project.sql("INSERT INTO shop_item (name, old) VALUES ('c', 'c')", "planned")
    again = project.expand("r1")
    assert not again.get("failed"), again["msg"]
    project.sql("INSERT INTO shop_item (former) VALUES ('d')", "planned")
    assert project.rows("SELECT name, old, former, stock FROM shop_item WHERE id > 2 ORDER BY id") == [
        ("c", "c", "c", 7), ("", "d", "d", 7)
    ]  # fmt: skip
    project.serving = ("r1",)
    assert project.contract("r1", allow_data_loss=["shop.0003_forget"])["open"] == []
    assert project.rows(SCHEMA) == plain(project)


def test_reversing_takes_bridges_down(make: Make) -> None:
    project = make()
    before = project.rows(SCHEMA)
    three(project)
    project.expand("r1")
    done = project.run("reversed", "r1", target="shop.0001_initial", allow_data_loss=["shop.0002_stock"])
    assert len(done["reversed"]) == 3, done["msg"]
    assert project.rows(SCHEMA) == before and project.ledger() == []


STATEMENTS = [one_in(9), *each_in(4)]


@pytest.mark.parametrize("chosen", STATEMENTS)
def test_killed_at_any_statement_while_bridges_are_put_up(make: Make, chosen: tuple[int, int]) -> None:
    project = make(settings=KILLER)
    three(project)
    keep(project, "before")
    order, *_more = project.order("expanded", "r1")
    ended = 0
    for at in points(chosen):
        reset(project, "before")
        if not killed(project, order, at):
            break
        ended += 1
        # Whatever stands of them, the old code works.
        project.sql("INSERT INTO shop_item (name, old) VALUES ('c', 'c')", "planned")
        result = project.expand("r1")
        assert not result.get("failed"), (at, result["msg"])
        assert [o["bridge"] for o in result["open"]] == ["keep_default", "set_default", "mirror_column"], at
        assert not any(o["state"] == "rising" for o in result["open"]), at
        project.sql("INSERT INTO shop_item (former, stock) VALUES ('d', 1)", "planned")
        assert project.rows("SELECT count(*) FROM shop_item WHERE old IS DISTINCT FROM former") == [(0,)], at
    assert ended >= 3


@pytest.mark.parametrize("chosen", STATEMENTS)
def test_killed_at_any_statement_while_bridges_are_taken_down(make: Make, chosen: tuple[int, int]) -> None:
    project = make(settings=KILLER)
    three(project)
    wanted = plain(project)
    assert not project.expand("r1").get("failed")
    project.serving = ("r1",)
    keep(project, "expanded")
    allow = {"allow_data_loss": ["shop.0003_forget"]}
    order, *_more = project.order("contracted", "r1", **allow)
    assert len(order["databases"][0]["contract"]) == 3
    ended = 0
    for at in points(chosen):
        reset(project, "expanded")
        if not killed(project, order, at):
            break
        ended += 1
        result = project.contract("r1", **allow)
        assert not result.get("failed") and result["open"] == [], (at, result["msg"])
        assert project.rows(SCHEMA) == wanted, at
    assert ended >= 2


def test_rows_that_are_many_are_filled_in_batches_and_those_in_work_at_last(make: Make) -> None:
    project = make(settings=KILLER)
    project.sql("INSERT INTO shop_item (name) SELECT 'n' || n FROM generate_series(1, 12000) n", "planned")
    project.migration("0002_rename", RENAME, "0001_initial")
    order, *_more = project.order("expanded", "r1")
    keep(project, "before")
    rising = ("0002_rename", 0, "rising")
    for at in range(1, 99):
        assert killed(project, order, at)
        if rising in project.rows(
            "SELECT name, op_index, state FROM evenkeel_migrations" if at > 9 else "SELECT 1, 1, 1"
        ):
            break
        reset(project, "before")
    # One row is being worked on for as long as it takes.
    with project.session("SELECT * FROM shop_item WHERE name = 'n6000' FOR UPDATE"):
        result = project.expand("r1")
        assert result["failed"] and "was not given its lock" in result["msg"]
        assert project.rows("SELECT name FROM shop_item WHERE title IS NULL") == [("n6000",)]
        project.serving = ("r1",)
        assert "its bridge is not finished" in project.contract("r1")["msg"]
    assert not project.expand("r1").get("failed")
    assert project.rows("SELECT count(*) FROM shop_item WHERE title IS DISTINCT FROM name") == [(0,)]


# -- values that a change would cut -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "value", "new"),
    [
        ("models.TextField(null=True)", "repeat('x', 60)", "models.CharField(max_length=50, null=True)"),
        ("models.DecimalField(max_digits=9, decimal_places=4, null=True)", "1.2345",
         "models.DecimalField(max_digits=9, decimal_places=2, null=True)"),
    ],
    ids=["cut", "rounded"],
)  # fmt: skip
def test_no_value_is_cut_or_rounded_unless_somebody_says_so(make: Make, start: str, value: str, new: str) -> None:
    project = make(more=f'migrations.AddField("item", "body", {start})')
    project.migration("0002_short", f'migrations.AlterField("item", "body", {new})', "0001_initial")
    result = project.run("planned", "r1")
    for_type = result["plan"][0]["operations"][0]
    if for_type["action"] == "refuse":
        # Another scale is another type for both codes; in a window nothing is lost in silence either.
        project.sql(f"UPDATE shop_item SET body = {value}", "planned")
        lost = project.run("migrated", "r1")
        assert lost["failed"] and "would cut or round body of 2 rows" in lost["msg"]
        assert not project.run("migrated", "r1", allow_data_loss=["shop.0002_short"]).get("failed")
        return
    project.expand("r1")
    # Written by the old code after the plan was made.
    project.sql(f"UPDATE shop_item SET body = {value}", "planned")
    project.serving = ("r1",)
    lost = project.contract("r1")
    assert lost["failed"] and "would cut or round body of 2 rows" in lost["msg"] and "SELECT * FROM" in lost["msg"]
    assert project.rows(f"SELECT count(*) FROM shop_item WHERE body = {value}") == [(2,)]
    project.sql("UPDATE shop_item SET body = 'short'", "planned")
    assert project.contract("r1")["open"] == []


# -- somebody else ------------------------------------------------------------------------------------------------


def test_who_takes_a_migration_back_by_hand_is_named_and_what_stood_is_forgotten(make: Make) -> None:
    project = make()
    before = project.rows(SCHEMA)
    project.migration("0002_stock", STOCK, "0001_initial")
    project.migration("0003_title", RENAME, "0002_stock")
    project.expand("r1")
    # Of what was put off there is nothing to take back, and Django's own statement says so.
    with pytest.raises(AssertionError, match="already exists"):
        project.manage("migrate", "shop", "0002")
    project.run("abandoned", "r1", release="r1")
    project.manage("migrate", "shop", "0001")
    assert project.rows(SCHEMA) == before
    said = project.contract("r1")
    assert said["waits"] and "taken its migration back by plain migrate" in said["msg"]
    project.run("abandoned", "r1")
    assert project.ledger() == []
    assert not project.expand("r1").get("failed")


def test_a_value_that_the_field_cannot_have_is_refused(make: Make) -> None:
    project = make()
    operation = 'migrations.AddField("item", "code", models.CharField(max_length=9, default=made_up))'
    named = '    evenkeel_defaults = {"item.code": "much too long for it"}'
    project.migration("0002_code", operation, "0001_initial", before=IMPORTS, more=named)
    assert "evenkeel_defaults has a value that code cannot have" in project.refused("expanded", "r1")
