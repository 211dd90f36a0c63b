# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations of a whole shop under load, each measured and held to account: the rows of ``docs/evidence.md``."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bed.crashes import crashed
from tests.bed.fronts import FRONTS, Front, fronted
from tests.bed.killed_roll import PLACES, QUICK, UNDO_PLACES, kill_roll
from tests.bed.load.process import LoadRun, proxy_log
from tests.bed.queued_tasks import all_run_once, send
from tests.bed.shop import Play, Shop

BAD = (
    "bad-unhealthy",
    "bad-crash",
    "bad-import",
    "bad-500",
    "bad-build",
    "bad-oom",
    "bad-reserve",
    "bad-worker",
    "bad-beat",
)
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
    with shop.load(seconds=1500, rate=110) as load:
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


def must_not(play: Play) -> None:
    """A play that has to have failed."""
    if play.returncode == 0:
        raise RuntimeError("a bad version was taken for a good one")


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


def be_refused(shop: Shop, version: str, said: list[str], _load: LoadRun) -> tuple[int, float]:
    """Update to a bad version, which has to fail; what it said is kept."""
    play = shop.update(version)
    if play.returncode == 0:
        raise RuntimeError(f"{version} was taken for a good version")
    said.append(play.message.splitlines()[0].removeprefix("What: "))
    return 1, play.seconds


def behind(front: Front) -> str:
    """Three updates and one that has to be undone, behind one way of naming the service; then a crash."""
    shop = Shop("evidence-front")
    try:
        shop.destroy()
        shop.create()
        tags = [fronted(shop, tag, front) for tag in ("v1", "v2", "bad-500")]
        must(shop.update(tags[0]))

        def act(_load: LoadRun) -> tuple[int, float]:
            return 3, sum(must(shop.update(tags[turn % 2], app_services=QUICK)) for turn in (1, 2, 3))

        rows = [measured(shop, front.name, act)]
        said: list[str] = []
        row = measured(shop, f"{front.name}, bad-500", functools.partial(be_refused, shop, tags[2], said))
        rows.append(Row(row.case, row.updates, row.figures, row.good and shop.version() == "v2"))
        lead = "Then the new container ends and comes back at another address; healed, counted from its start:"
        return f"{table(rows)}\n\n{lead} {crashed(shop, 'v2')}."
    finally:
        shop.destroy()


def bad_versions() -> list[Row]:
    """Each bad version under load: refused or undone, and nobody met it."""
    shop = Shop("evidence-bad")
    rows = []
    try:
        shop.destroy()
        shop.create()
        must(shop.update("v1"))
        for version in BAD:
            said: list[str] = []
            row = measured(shop, version, functools.partial(be_refused, shop, version, said))
            rows.append(Row(f"{version}: {said[0]}", row.updates, row.figures, row.good and shop.version() == "v1"))
        return rows
    finally:
        shop.destroy()


def kills() -> list[Row]:
    """kill -9 at each place, then the same playbook again, under one load."""
    shop = Shop("evidence-kill")
    try:
        shop.destroy()
        shop.create()
        must(shop.update("v1"))
        must(shop.update("v2"))
        rows = []
        must_not(shop.update("bad-500"))
        for place in (*PLACES, *UNDO_PLACES):

            def act(_load: LoadRun, place: str = place) -> tuple[int, float]:
                version = "v1" if shop.version() == "v2" else "v2"
                if place in UNDO_PLACES:
                    version = shop.version()
                kill_roll(shop, "bad-500" if place in UNDO_PLACES else version, place, QUICK)
                seconds = must(shop.update(version, app_services=QUICK))
                if shop.version() != version:
                    raise RuntimeError(f"{place}: did not converge")
                return 1, seconds

            rows.append(measured(shop, f"kill -9 {place}", act))
        return rows
    finally:
        shop.destroy()


def workers() -> str:
    """Updates with tasks of 20 s running and hundreds waiting: each is run once; the beats of the scheduler."""
    shop = Shop("evidence-workers")
    try:
        shop.destroy()
        shop.create()
        must(shop.update("v1"))
        began, told = time.time(), []

        def act(_load: LoadRun) -> tuple[int, float]:
            seconds = 0.0
            for turn, version in enumerate(("v2", "v1", "v2")):
                send(shop, f"long{turn}", 5, 20)
                send(shop, f"queue{turn}", 300, 0.05)
                seconds += must(shop.update(version))
                for name in (f"long{turn}", f"queue{turn}"):
                    told.append(f"{name}: {len(all_run_once(shop, name, 180))} tasks, each run once")
            return 3, seconds

        row = measured(shop, "5 tasks of 20 s and 300 short ones in the queue", act)
        beats = shop.heartbeats(began, time.time())
        told.append(
            f"beats: {beats.count}, double {len(beats.double_slots)}, longest gap {beats.longest_gap:.1f} s (due every 2 s)"
        )
        good = row.good and not beats.double_slots
        return "\n".join([table([Row(row.case, row.updates, row.figures, good)]), "", *(f"- {line}" for line in told)])
    finally:
        shop.destroy()


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    lines = [f"| {' | '.join(COLUMNS)} | |", f"|{'---|' * (len(COLUMNS) + 1)}"]
    for row in rows:
        cells = [row.case.replace("|", "/"), str(row.updates), *(str(row.figures[c]) for c in COLUMNS[2:])]
        lines.append(f"| {' | '.join(cells)} | {'ok' if row.good else '**not ok**'} |")
    return "\n".join(lines)
