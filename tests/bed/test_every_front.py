# SPDX-License-Identifier: GPL-3.0-or-later
"""Behind each way in which users let nginx name a service: an update, one that is undone, a container that moves."""

from __future__ import annotations

import pytest

from tests.bed.crashes import healed_by_a_guard
from tests.bed.fronts import FRONTS, fronted
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import EVERYTHING, Shop

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
        with shop.load(mix=EVERYTHING) as load:
            play = shop.update(better)
            undone = shop.update(bad)
            result = load.stop()
        assert play.returncode == 0, play.output[-4000:]
        assert undone.returncode != 0 and "answered 500" in undone.message.splitlines()[0], undone.output[-4000:]
        assert (shop.version(), shop.leftovers()) == ("v2", [])
        assert set(result.versions) <= {"v1", "v2"}
        assert_nothing_lost(shop, load, result)
        healed = healed_by_a_guard(shop, "v2")
        gap, p99 = result.longest_app_gap_ms, result.latency_ms["p99"]
        print(
            f"\nevidence: behind {name}: {result.total:,} requests of an update and one undone, 0 failed, longest gap "
            f"{gap:.0f} ms, p99 {p99:.0f} ms; moved, it was found after {healed:.1f} s"
        )
    finally:
        shop.destroy()
