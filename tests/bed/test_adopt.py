# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack that was started by hand is taken over as it runs, then updated and brought back, and nothing is lost by it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bed.hand_started import COMPOSE, HandStarted
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Play, run

_STANDING = ("db", "redis", "nginx")


def started(name: str, **options: Any) -> HandStarted:
    made = HandStarted(name, **options)
    made.destroy()
    return made


@pytest.fixture(scope="module")
def shop() -> Iterator[HandStarted]:
    """A checkout with nothing changed in it, whose containers run."""
    made = started("adopt")
    try:
        yield made.create().start()
    finally:
        made.destroy()


def manifest(shop: HandStarted) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shop.root / "current/.evenkeel/manifest.json").read_text())
    return found


def ok(play: Play) -> Play:
    assert play.returncode == 0, play.output[-6000:]
    return play


def there_and_back(shop: HandStarted) -> None:
    """To v2 and back again, under load; database, broker and proxy stay what they are."""
    standing = shop.lives(*_STANDING)
    with shop.load() as load:
        ok(shop.update("v2", app_services=QUICK))
        assert shop.version() == "v2" and shop.leftovers() == []
        assert shop.lives(*_STANDING) == standing
        ok(shop.rollback(app_services=QUICK))
        result = load.stop()
    assert shop.version() == "v1" and shop.leftovers() == []
    assert shop.lives(*_STANDING) == standing
    assert_nothing_lost(shop, load, result)
    print(f"\nevidence: adopted, to v2 and back: {result.total:,} requests, 0 failed")


def test_what_cannot_be_adopted_is_refused_before_anything_is_touched(shop: HandStarted) -> None:
    before, tree = shop.lives(), shop.tree()
    assert "there run: " in shop.adopt(app_name="evenkeel-nobody").message
    assert "is the folder that runs" in shop.adopt(app_root=str(shop.home)).message
    assert "lies in the folder that runs" in shop.adopt(app_root=str(shop.home / "srv")).message
    assert "was not started from /srv" in shop.adopt(adopt_folder="/srv").message
    assert f"set app_compose_files: [{COMPOSE}]" in shop.adopt(app_compose_files=["compose.yml"]).message
    compose = shop.home / COMPOSE
    text = compose.read_text()
    compose.write_text(text.replace("stop_grace_period: 60s", "stop_grace_period: 61s"))
    differs = shop.adopt()
    compose.write_text(text)
    assert differs.returncode != 0 and "is not what runs: celery\n" in differs.message, differs.output[-3000:]
    assert not shop.root.exists() and shop.lives() == before and shop.tree() == tree
    assert not (shop.home / ".evenkeel").exists()


def test_a_checkout_is_adopted_updated_and_brought_back_under_load(shop: HandStarted) -> None:
    before, tree = shop.lives(), shop.tree()
    looked = ok(shop.adopt("--check", "--diff"))
    assert "would be adopted" in looked.output and not shop.root.exists()
    with shop.load(mix="new=4,keepalive=4,static=1") as load:
        play = ok(shop.adopt())
        result = load.stop()
    assert result.failed == 0 and shop.lives() == before, result.failures[:4]
    assert manifest(shop)["state"] == "verified" and shop.leftovers() == []
    assert manifest(shop)["revision"] == run(["git", "-C", str(shop.home), "rev-parse", "HEAD"]).strip()
    generated = shop.root / "current/compose.yaml"
    assert generated.stat().st_mode & 0o777 == 0o600 and (shop.root / "shared/.env").stat().st_mode & 0o777 == 0o600
    assert shop.tree() == tree and "no container is touched" in play.output
    again = ok(shop.adopt())
    assert again.changed == 0 and shop.lives() == before
    # Given up again, and once more.
    ok(shop.adopt(adopt_state="absent"))
    assert shop.lives() == before and not (shop.root / "current").exists() and not (shop.root / "releases").exists()
    assert ok(shop.adopt(adopt_state="absent")).changed == 0
    ok(shop.adopt())
    assert shop.lives() == before
    there_and_back(shop)
    refused = shop.adopt(adopt_state="absent")
    assert refused.returncode != 0 and "made from releases" in refused.message, refused.output[-3000:]
