# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a team that starts with this collection: take over what runs, update it, go back, and users notice nothing."""

from __future__ import annotations

import pytest

from tests.bed.hand_started import HandStarted
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost

_STANDING = ("db", "redis", "nginx")

pytestmark = pytest.mark.matrix


def test_a_checkout_is_adopted_updated_and_brought_back_under_load() -> None:
    shop = HandStarted("adopt-load")
    shop.destroy()
    try:
        shop.create().start()
        before, tree = shop.lives(), shop.tree()
        with shop.load() as load:
            play = shop.adopt()
            assert play.returncode == 0 and shop.lives() == before and shop.tree() == tree, play.output[-6000:]
            for version in ("v2", "v1"):
                play = shop.update("v2", app_services=QUICK) if version == "v2" else shop.rollback(app_services=QUICK)
                assert play.returncode == 0, play.output[-6000:]
                assert shop.version() == version and shop.leftovers() == []
            result = load.stop()
        assert shop.lives(*_STANDING) == {s: before[s] for s in _STANDING}
        assert_nothing_lost(shop, load, result)
        print(f"\nevidence: adopted, to v2 and back to v1: {result.total:,} requests, 0 failed")
    finally:
        shop.destroy()
