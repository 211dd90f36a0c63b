# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed with -9 at every kind of step of a roll and of its undo, under load: the same call again ends it, or the playbook."""

from __future__ import annotations

import pytest

from tests.bed.killed_roll import CHAINS, PLACES, QUICK, UNDO_PLACES, kill_roll, roll_again
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.running_update import QUICKLY
from tests.bed.shop import EVERYTHING, Shop
from tests.bed.shop_releases import states


def other(shop: Shop) -> str:
    return "v2" if shop.version() == "v3" else "v3"


def ready(shop: Shop) -> None:
    """Have the releases there that are rolled to by the killed calls, and a good one serving."""
    for version in ("v2", "v3", "bad-500"):
        if version not in states(shop):
            shop.update(version, **QUICKLY)


def converges(shop: Shop, place: str, target: str, asked: str) -> None:
    """Roll to a version, killed at a place; then roll to one again."""
    with shop.load() as load:
        kill_roll(shop, target, place, QUICK)
        rolled = roll_again(shop, asked, QUICK)
        result = load.stop()
    assert not rolled.get("failed"), rolled["msg"]
    assert (shop.version(), shop.leftovers()) == (asked, [])
    assert_nothing_lost(shop, load, result)


@pytest.mark.parametrize("place", PLACES)
def test_killed_in_a_roll(shop: Shop, place: str) -> None:
    ready(shop)
    version = other(shop)
    converges(shop, place, version, version)


@pytest.mark.parametrize("place", UNDO_PLACES)
def test_killed_on_the_way_back_from_a_bad_version(shop: Shop, place: str) -> None:
    ready(shop)
    converges(shop, place, "bad-500", shop.version())


@pytest.mark.parametrize("chain", CHAINS, ids=["by the steps", "inside them"])
def test_killed_again_and_again_the_playbook_takes_up_what_the_one_before_left(
    shop: Shop, chain: tuple[str, ...]
) -> None:
    assert sorted(place for chain in CHAINS for place in chain) == sorted(PLACES)
    ready(shop)
    version = other(shop)
    with shop.load(mix=EVERYTHING) as load:
        for place in chain:
            kill_roll(shop, version, place, QUICK)
        play = shop.update(version, **QUICKLY)
        result = load.stop()
    assert play.returncode == 0, play.output[-4000:]
    assert (shop.version(), shop.leftovers()) == (version, [])
    assert_nothing_lost(shop, load, result)
