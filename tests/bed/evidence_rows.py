# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations of a whole shop under load, each measured and held to account: the rows of ``docs/evidence.md``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bed.fronts import FRONTS, Front, fronted
from tests.bed.load.process import LoadRun, proxy_log
from tests.bed.shop import EVERYTHING, Play, Shop

COLUMNS = (
    "case",
    "updates",
    "requests",
    "failed",
    "keep-alive race",
    "idle closes",
    "longest gap",
    "p99",
    "orders",
    "lost",
    "doubled",
    "seconds",
)


@dataclass(frozen=True)
class Row:
    """One line of a table: what was done, and what the load and the audit counted."""

    case: str
    updates: int
    figures: dict[str, Any]
    good: bool


def measured(shop: Shop, case: str, act: Callable[[LoadRun], tuple[int, float]]) -> Row:
    """Run something under load and hold the result; ``act`` returns how many updates and how many seconds."""
    with shop.load(seconds=1500, rate=110, mix=EVERYTHING) as load:
        time.sleep(3)
        updates, seconds = act(load)
        result = load.stop()
    verdict = shop.settle_accounts(load, result)
    result = result.judged_by(proxy_log(shop.container("nginx")))
    figures = {
        "requests": f"{result.total:,}",
        "failed": result.failed_beyond_race,
        "keep-alive race": result.keepalive_race,
        "idle closes": result.idle_close,
        "longest gap": f"{result.raw['longest_app_gap_ms']:.0f} ms",
        "p99": f"{result.raw['latency_ms']['p99']:.0f} ms",
        "orders": f"{verdict.acknowledged:,}",
        "lost": len(verdict.lost_rows) + len(verdict.lost_tasks),
        "doubled": len(verdict.double_rows) + len(verdict.double_tasks),
        "seconds": f"{seconds:.0f}",
    }
    left = shop.leftovers()
    good = result.failed_beyond_race == 0 and verdict.flawless and left == []
    for failure in result.failures[:50] if not good else ():
        print(f"   {case}: {json.dumps(failure)}", flush=True)
    if left:
        print(f"   {case}: left behind: {left}", flush=True)
    return Row(case, updates, figures, good)


def must(play: Play) -> float:
    """The seconds of a play that has to have succeeded."""
    if play.returncode:
        raise RuntimeError(f"the playbook failed:\n{play.output[-3000:]}")
    return play.seconds


def updates(name: str, case: str, number: int, replicas: int = 1, front: Front = FRONTS["plain"]) -> Row:
    """A number of updates in a row, from one version to the other and back, one of them with an uncached build."""
    shop = Shop(name, {"replicas": {"api": replicas}})
    try:
        shop.destroy()
        shop.create()
        tags = [fronted(shop, tag, front, replicas) for tag in ("v1", "v2")]
        must(shop.update(tags[0]))

        def act(_load: LoadRun) -> tuple[int, float]:
            seconds = 0.0
            for turn in range(number):
                seconds += must(shop.update(tags[(turn + 1) % 2], update_rebuild=turn == 1))
            return number, seconds

        return measured(shop, case, act)
    finally:
        shop.destroy()


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    lines = [f"| {' | '.join(COLUMNS)} | |", f"|{'---|' * (len(COLUMNS) + 1)}"]
    for row in rows:
        cells = [row.case.replace("|", "/"), str(row.updates), *(str(row.figures[c]) for c in COLUMNS[2:])]
        lines.append(f"| {' | '.join(cells)} | {'ok' if row.good else '**not ok**'} |")
    return "\n".join(lines)
