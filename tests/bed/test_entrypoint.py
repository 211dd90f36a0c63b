# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop whose image migrates and collects static files whenever a container of it starts."""

from __future__ import annotations

from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import EVERYTHING, Shop


def test_to_an_image_that_migrates_by_itself_and_back_nothing_is_lost(shop: Shop) -> None:
    before = shop.version()
    with shop.load(seconds=600, mix=EVERYTHING) as load:
        # It starts two management commands before it serves.
        there = shop.update("entrypoint", app_services={"api": {"ready_timeout": 90}})
        assert there.returncode == 0, there.output[-6000:]
        assert shop.version() == "entrypoint"
        assert shop.leftovers() == []
        back = shop.update(before)
        assert back.returncode == 0, back.output[-6000:]
        result = load.stop()
    assert (shop.version(), shop.leftovers()) == (before, [])
    assert_nothing_lost(shop, load, result)
    again = shop.update(before)
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]
