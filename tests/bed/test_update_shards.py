# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop whose every order is written to three databases, of which one fails to be migrated, under load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.repository import add_commit
from tests.bed.migrated_shop import sql
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import ROOT, Shop, deployed

SHARDS = ("default", "east", "west")
SETTINGS = """
for _shard in ("east", "west"):
    DATABASES[_shard] = {**DATABASES["default"], "NAME": f"shop_{_shard}"}
MIDDLEWARE += ["shop.shards.Copies"]
"""
COPIES = """# SPDX-License-Identifier: GPL-3.0-or-later
import json

from tours.models import Order, Tour


class Copies:
    \"\"\"Each order that was taken is written to every shard, within its request.\"\"\"

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        if response.status_code == 201:
            told = json.loads(response.content)
            for shard in ("east", "west"):
                tour = Tour.objects.using(shard).order_by("pk").first()
                Order.objects.using(shard).create(tour=tour, reference=told["reference"], email="copy@example.com")
        return response
"""
MIGRATION = """# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import migrations, models

evenkeel_phase = "before"
LOOK = "DO $$ BEGIN IF EXISTS (SELECT 1 FROM tours_tour WHERE name = 'not to be migrated') THEN " \\
       "RAISE EXCEPTION 'this shard is not in order'; END IF; END $$"


class Migration(migrations.Migration):
    dependencies = [("tours", "0003_note")]
    operations = [
        migrations.RunSQL(LOOK, migrations.RunSQL.noop),
        migrations.AddIndex("order", models.Index(fields=["email"], name="by_email")),
    ]
"""
NOTE = """# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tours", "0002_first_tours")]
    operations = [migrations.AddField("order", "note", models.CharField(max_length=80, null=True))]
"""
COLUMN = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'tours_order'::regclass AND attname = 'note'"


def name_of(shard: str) -> str:
    return "shop" if shard == "default" else f"shop_{shard}"


@pytest.fixture(scope="module")
def sharded() -> Iterator[Shop]:
    with deployed("shards", version="v2") as made:
        settings = (ROOT / "demo/shop/shop/settings.py").read_text(encoding="utf-8")
        models = (ROOT / "demo/shop/tours/models.py").read_text(encoding="utf-8")
        noted = models.replace("    email = models.EmailField()\n", "    email = models.EmailField()\n"
                               "    note = models.CharField(max_length=80, null=True)\n")  # fmt: skip
        indexed = noted.replace("    note = models.CharField(max_length=80, null=True)\n",
                                "    note = models.CharField(max_length=80, null=True)\n\n    class Meta:\n"
                                "        indexes = [models.Index(fields=[\"email\"], name=\"by_email\")]\n")  # fmt: skip
        repository = Path(made.repository)
        add_commit(repository, {"shop/version.py": 'VERSION = "s1"\n', "shop/settings.py": settings + SETTINGS,
                                "shop/shards.py": COPIES}, "s1", "v2")  # fmt: skip
        add_commit(repository, {"shop/version.py": 'VERSION = "s2"\n', "tours/models.py": indexed,
                                "tours/migrations/0003_note.py": NOTE, "tours/migrations/0004_index.py": MIGRATION},
                   "s2", "s1")  # fmt: skip
        for shard in ("east", "west"):
            sql(made, f"CREATE DATABASE {name_of(shard)}")
        first = made.update("s1")
        assert first.returncode == 0, first.output[-5000:]
        yield made


def noted(shop: Shop) -> list[str]:
    """The shards that have the new column."""
    return [shard for shard in SHARDS if sql(shop, COLUMN, name_of(shard)) == "1"]


def orders(shop: Shop) -> set[str]:
    """How many orders each shard has."""
    return {sql(shop, "SELECT count(DISTINCT reference) FROM tours_order", name_of(shard)) for shard in SHARDS}


@pytest.mark.parametrize(
    ("failing", "expanded"), [("default", []), ("east", ["default"]), ("west", ["default", "east"])]
)
def test_one_shard_fails_and_all_go_on_serving(sharded: Shop, failing: str, expanded: list[str]) -> None:
    before = noted(sharded)
    broken = "INSERT INTO tours_tour (name, place, days, price, summary) VALUES ('not to be migrated', '', 1, 1, '')"
    sql(sharded, broken, name_of(failing))
    with sharded.load() as load:
        play = sharded.update("s2")
        result = load.stop()
    assert play.returncode != 0 and "this shard is not in order" in play.message, play.output[-4000:]
    assert f"taken back: tours.0003_note in {failing}" in play.message
    assert noted(sharded) == [shard for shard in SHARDS if shard in {*before, *expanded} - {failing}]
    assert sharded.version() == "s1"
    assert_nothing_lost(sharded, load, result)
    assert len(orders(sharded)) == 1
    sql(sharded, "DELETE FROM tours_tour WHERE name = 'not to be migrated'", name_of(failing))
    print(f"\nevidence: migration fails on {failing} of three databases: {result.total:,} requests, 0 failed; "
          f"migrated and kept: {', '.join(expanded) or 'none'}")  # fmt: skip


def test_then_one_first_and_the_others_after_it(sharded: Shop) -> None:
    with sharded.load() as load:
        play = sharded.update("s2", update_canary_database="west")
        result = load.stop()
    assert play.returncode == 0, play.output[-4000:]
    assert noted(sharded) == list(SHARDS) and sharded.version() == "s2"
    assert_nothing_lost(sharded, load, result)
    assert len(orders(sharded)) == 1
    told = play.output
    assert told.index("Run tolerated migrations on: west") < told.index("Run migrations that the running version")
    print(f"\nevidence: one of three databases first, then the others: {result.total:,} requests, 0 failed")
