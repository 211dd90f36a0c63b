# SPDX-License-Identifier: GPL-3.0-or-later
"""Behind each way in which users let nginx name a service: an update, one that is undone, a container that moves."""

from __future__ import annotations

import pytest

from tests.bed.crashes import crash, give_addresses_back, heals
from tests.bed.fronts import FRONTS, fronted
from tests.bed.guard_process import GuardProcess
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Shop

OTHERS = [name for name in FRONTS if name != "plain"]


# Each has a shop of its own, so whoever is free takes the next.
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.xdist_group(f"front {n}")) for n in OTHERS])
def test_behind(name: str) -> None:
    shop = Shop(f"front-{OTHERS.index(name)}", {"app_services": QUICK})
    shop.destroy()
    try:
        shop.create()
        good, better, bad = (fronted(shop, tag, FRONTS[name]) for tag in ("v1", "v2", "bad-500"))
        first = shop.update(good)
        assert first.returncode == 0, first.output[-4000:]
        with shop.load() as load:
            play = shop.update(better)
            undone = shop.update(bad)
            result = load.stop()
        assert play.returncode == 0, play.output[-4000:]
        assert undone.returncode != 0 and "answered 500" in undone.message.splitlines()[0], undone.output[-4000:]
        assert (shop.version(), shop.leftovers()) == ("v2", [])
        assert set(result.versions) <= {"v1", "v2"}
        assert_nothing_lost(shop, load, result)
        moved(shop, "v2")
    finally:
        shop.destroy()


def moved(shop: Shop, version: str) -> None:
    """The web container comes back at another address, and with a guard nginx finds it."""
    guard = GuardProcess(shop.folder, shop.name, shop.root / ".evenkeel")
    guard.install()
    try:
        guard.begin()
        crash(shop, 0)
        assert heals(shop, version) is not None, guard.said()
    finally:
        guard.end()
        give_addresses_back(shop)
