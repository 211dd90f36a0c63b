# SPDX-License-Identifier: GPL-3.0-or-later
"""Several databases: one first, one that fails goes back where it was, and the others stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.database.migrations.forked import WarmDjango
from tests.database.migrations.operations import CREATE, NOTE
from tests.database.migrations.running import Running
from tests.database.postgres_server import Postgres

SHARDS = {"default": "planned", "east": "planned_east", "west": "planned_west"}
UNIQUE = 'migrations.RunSQL("CREATE UNIQUE INDEX one_name ON shop_item (name)", "DROP INDEX one_name")'


@pytest.fixture
def shards(tmp_path: Path, warm: Callable[[str], WarmDjango], postgres: Postgres) -> Running:
    """Three databases at r0, which serves; r1 has a column more, and an index that rows may be in the way of."""
    project = Running(tmp_path / "project", warm("5.2"), postgres, "shop", east="planned_east", west="planned_west")
    project.migration("0001_initial", CREATE)
    project.start(databases=tuple(SHARDS))
    project.serving = ("r0",)
    project.migration("0002_both", NOTE, "0001_initial")
    project.migration("0003_unique", UNIQUE, "0002_both", more='evenkeel_phase = "before"')
    return project


def state(project: Running, alias: str) -> tuple[list[str], str]:
    """The columns of one database, and what it has recorded last."""
    columns = "SELECT attname::text FROM pg_attribute WHERE attrelid = 'shop_item'::regclass AND attnum > 0 AND NOT attisdropped"
    last = "SELECT max(name) FROM django_migrations WHERE app = 'shop'"
    found, ((name,),) = (project.rows(sql, SHARDS[alias]) for sql in (columns, last))
    return sorted(c for (c,) in found), name


BEFORE = (["id", "name", "old"], "0001_initial")
AFTER = (["id", "name", "note", "old"], "0003_unique")


def test_one_first_then_the_others(shards: Running) -> None:
    assert "there is no database north" in shards.refused("expanded", "r1", canary_database="north")
    first = shards.expand("r1", canary_database="east")
    assert not first.get("failed"), first["msg"]
    assert {alias: state(shards, alias) for alias in SHARDS} == {"default": BEFORE, "east": AFTER, "west": BEFORE}
    assert {m["database"] for m in first["ran"]} == {"east"}
    rest = shards.expand("r1")
    assert {m["database"] for m in rest["ran"]} == {"default", "west"}
    assert {alias: state(shards, alias) for alias in SHARDS} == dict.fromkeys(SHARDS, AFTER)
    # Code that must know can ask each database.
    sql = "SELECT state FROM evenkeel_migrations WHERE app = 'shop' AND name = '0002_both' AND op_index = -1"
    assert [shards.rows(sql, name) for name in SHARDS.values()] == [[("expanded",)]] * 3


def test_the_code_that_serves_does_not_go_on_with_the_first(shards: Running) -> None:
    (shards.folder / "shop/migrations/0003_unique.py").unlink()
    shards.expand("r1", canary_database="east")
    # Of another release nothing is touched.
    assert shards.run("abandoned", "r1", release="r0")["abandoned"] == []
    taken = shards.run("abandoned", "r1", release="r1", databases=["east"])
    assert [(a["name"], a["unrecorded"], a["database"]) for a in taken["abandoned"]] == [("0002_both", True, "east")]
    assert {alias: state(shards, alias) for alias in SHARDS} == dict.fromkeys(SHARDS, BEFORE)


@pytest.mark.parametrize(
    ("failing", "expanded"),
    [
        ("east", ["default"]),
        pytest.param("default", [], marks=pytest.mark.nightly),
        pytest.param("west", ["default", "east"], marks=pytest.mark.nightly),
    ],
)
def test_one_that_fails_goes_back_and_the_others_stay(shards: Running, failing: str, expanded: list[str]) -> None:
    shards.sql("INSERT INTO shop_item (name, old) VALUES ('same', 'x'), ('same', 'y')", SHARDS[failing])
    result = shards.expand("r1")
    assert result["failed"] and "shop.0003_unique failed" in result["msg"], result["msg"]
    assert f"taken back: shop.0002_both in {failing}" in result["msg"]
    wanted = {alias: AFTER if alias in expanded else BEFORE for alias in SHARDS}
    assert {alias: state(shards, alias) for alias in SHARDS} == wanted
    shards.sql("UPDATE shop_item SET name = old WHERE name = 'same'", SHARDS[failing])
    assert not shards.expand("r1").get("failed")
    assert {alias: state(shards, alias) for alias in SHARDS} == dict.fromkeys(SHARDS, AFTER)


def test_what_would_lose_rows_is_not_taken_back(shards: Running) -> None:
    shards.sql("INSERT INTO shop_item (name) VALUES ('same'), ('same')", "planned")
    fill = "def fill(apps, schema_editor):\n    schema_editor.execute(\"UPDATE shop_item SET note = 'x'\")\n"
    shards.migration("0003_unique", f"migrations.RunPython(fill, migrations.RunPython.noop), {UNIQUE}", "0002_both",
                     before=fill, more='evenkeel_phase = "before"\nclass Migration(Migration):\n    atomic = False')  # fmt: skip
    result = shards.expand("r1")
    assert result["failed"] and "done and kept: shop.0002_both" in result["msg"], result["msg"]
    assert state(shards, "default")[1] == "0002_both"
