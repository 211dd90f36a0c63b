# SPDX-License-Identifier: GPL-3.0-or-later
"""What every operation under load is held to."""

from __future__ import annotations

import json

from tests.bed.load.process import LoadRun, proxy_log
from tests.bed.load.result import Result
from tests.bed.shop import RATE, Play, Shop


def assert_nothing_lost(shop: Shop, load: LoadRun, result: Result) -> None:
    """Hold a load's result: no failed request, every acknowledged order a row and a task run."""
    # nginx closes idle keep-alive connections when it reloads; a client that sends at that very moment sees it.
    # It is nginx's own race with any reload, proven by its log, and counted apart.
    result = result.judged_by(proxy_log(shop.container(shop.proxy)))
    assert result.failed_beyond_race == 0, (result.keepalive_race, *map(json.dumps, result.failures[:8]))
    assert result.total > 0
    assert result.abandoned == 0
    verdict = shop.settle_accounts(load, result)
    assert not verdict.lost_rows, verdict
    assert not verdict.double_rows, verdict
    assert not verdict.wrong_ids, verdict
    assert not verdict.lost_tasks, verdict
    assert not verdict.double_tasks, verdict
    assert verdict.acknowledged > 0


def update_under_load(shop: Shop, version: str, what: str = "", rate: float = RATE, **variables: object) -> Play:
    """An update that loses nothing; what was measured is printed.

    :param rate: requests a second.
    """
    with shop.load(rate=rate) as load:
        play = shop.update(version, **variables)
        result = load.stop()
    assert play.returncode == 0, play.output[-6000:]
    assert shop.version() == version
    assert shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
    gap, slowest = result.longest_app_gap_ms, result.latency_ms["max"]
    print(f"\nevidence: {what or version}: {result.total:,} requests, 0 failed, no answer for at most {gap:.0f} ms, the "
          f"slowest answer after {slowest:.0f} ms, {play.seconds:.0f} s")  # fmt: skip
    return play
