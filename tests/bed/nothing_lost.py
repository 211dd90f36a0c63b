# SPDX-License-Identifier: GPL-3.0-or-later
"""What every operation under load is held to."""

from __future__ import annotations

import json

from tests.bed.load.process import LoadRun, proxy_log
from tests.bed.load.result import Result
from tests.bed.shop import Shop


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
