# SPDX-License-Identifier: GPL-3.0-or-later
"""``make evidence``: run the whole matrix on real stacks and write ``docs/evidence.md`` from what was measured.

Cells are run one after the other; ``--only NAME`` runs some, and what was not run says so in the page.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from tests.bed.crashes import crashed  # noqa: E402 (the line above makes it importable)
from tests.bed.evidence_page import sections, versions, written  # noqa: E402 (likewise)
from tests.bed.fronts import FRONTS, Front, fronted  # noqa: E402 (likewise)
from tests.bed.killed_roll import PLACES, QUICK, UNDO_PLACES, kill_roll  # noqa: E402 (likewise)
from tests.bed.load.process import LoadRun, proxy_log  # noqa: E402 (likewise)
from tests.bed.migrations.truth import truth_table  # noqa: E402 (likewise)
from tests.bed.plain_evidence import plain  # noqa: E402 (likewise)
from tests.bed.server_evidence import accidents, accidents_table  # noqa: E402 (likewise)
from tests.bed.shop import Play, Shop  # noqa: E402 (likewise)
from tests.bed.switch_race import races  # noqa: E402 (likewise)
from tests.bed.switch_race import table as switch_table  # noqa: E402 (likewise)
from tests.bed.test_workers import all_run_once, send  # noqa: E402 (likewise)

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


def beds(*files: str) -> str:
    """Beds too long for ``make test``, as their test runner counts them."""
    argv = [sys.executable, "-m", "pytest", "-q", "-s", "--tb=short", *files]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    print(done.stdout[-6000:], flush=True)
    told = [line.strip() for line in lines if line.startswith("evidence: ")]
    verdict = f"`{lines[-1].strip('= ')}`" + ("" if done.returncode == 0 else " **not ok**")
    return "\n".join([verdict, "", *(f"- {line.removeprefix('evidence: ')}" for line in told)])


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    lines = [f"| {' | '.join(COLUMNS)} | |", f"|{'---|' * (len(COLUMNS) + 1)}"]
    for row in rows:
        cells = [row.case.replace("|", "/"), str(row.updates), *(str(row.figures[c]) for c in COLUMNS[2:])]
        lines.append(f"| {' | '.join(cells)} | {'ok' if row.good else '**not ok**'} |")
    return "\n".join(lines)


def switch_races() -> str:
    """Ours and the usual ways of switching a link, under readers."""
    found = races()
    ours = found[0]
    verdict = "" if (ours.missing, ours.mixed) == (0, 0) else "\n\n**not ok**"
    return switch_table(found) + verdict


def properties() -> str:
    """Run the simulated histories and their mutants."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/property"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    histories = os.environ.get("EVENKEEL_HISTORIES", "10000")
    ended = done.stdout.strip().splitlines()[-1]
    return f"{histories} simulated rolls, those of locks and guards, and deliberately broken rules: `{ended}`"


def bench() -> str:
    """Run the bench and take over its table."""
    argv = [sys.executable, "tests/bed/bench.py"]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return f"```\n{done.stdout.strip()}\n```"


CELLS: dict[str, tuple[str, Callable[[], str]]] = {
    "one": (
        "Updates of `api`, worker and scheduler under load, 1 replica",
        lambda: table([updates("evidence-one", "1 replica, one uncached build", 5)]),
    ),
    "two": (
        "The same with 2 replicas",
        lambda: table([updates("evidence-two", "2 replicas, one uncached build", 5, replicas=2)]),
    ),
    "keepalive": (
        "The same with upstream keepalive",
        lambda: table(
            [updates("evidence-keep", "upstream block with keepalive 16", 5, front=FRONTS["upstream keepalive"])]
        ),
    ),
    **{
        f"front-{name.split(',')[0].replace(' ', '-').replace('=', '-')}": (
            f"Behind nginx: {name}",
            functools.partial(behind, FRONTS[name]),
        )
        for name in FRONTS
        if name not in ("plain", "upstream keepalive")
    },
    "fronts-beds": (
        "Neighbours, a foreign reload in the proof, an nginx of the server itself",
        lambda: beds("tests/bed/test_fronts.py", "tests/bed/test_fronts_host.py"),
    ),
    "reader": (
        "The reader of nginx configurations beside crossplane",
        lambda: beds("tests/unit/test_nginx_config.py"),
    ),
    "guard": (
        "A container that comes back at another address, with and without a guard",
        lambda: beds("tests/bed/test_guard.py", "tests/bed/test_guard_unit.py"),
    ),
    "bad": ("Versions that must not reach a user", lambda: table(bad_versions())),
    "kills": ("Killed at every kind of step, then the same playbook again", lambda: table(kills())),
    "workers": ("Workers with long tasks and a full queue", workers),
    "lock": (
        "One change at a time: two at once, zombies, leases, kills with the controller",
        lambda: beds("tests/bed/test_lock.py"),
    ),
    "nginx": (
        "Changes of nginx's configuration, in containers and on a server",
        lambda: beds("tests/bed/test_nginx.py", "tests/bed/test_nginx_host.py"),
    ),
    "workers-beds": (
        "Workers: one that does not start, a verify that fails, a change of mind",
        lambda: beds("tests/bed/test_workers.py"),
    ),
    "docker-group": (
        "Without root: with the group of the engine's socket only",
        lambda: beds("tests/bed/test_docker_group.py"),
    ),
    "server": (
        "A server whose engine ends, whose power goes, whose connection is cut in the middle of an update",
        lambda: accidents_table(accidents()),
    ),
    "stack": (
        "One change of the Compose file, of nginx.conf, of the environment each",
        lambda: beds("tests/bed/test_whole_stack.py"),
    ),
    "frontend": (
        "Jobs, front ends that a service builds, an image that migrates by itself",
        lambda: beds("tests/bed/test_frontend.py", "tests/bed/test_entrypoint.py", "tests/bed/test_jobs.py"),
    ),
    "migrating": (
        "Migrations run beside the code that serves, by versions of Django, killed at each statement",
        lambda: beds(*(str(p.relative_to(ROOT)) for p in sorted((ROOT / "tests/bed").glob("test_*migrat*.py")))),
    ),
    "first": (
        "From an empty folder to a shop that serves, killed in each step",
        lambda: beds("tests/bed/test_first_start.py"),
    ),
    "small": (
        "A server of 2 GB; a disk that is full; somebody who prunes everything",
        lambda: beds("tests/bed/test_small_server.py"),
    ),
    "releases": (
        "Releases on the disk and in the engine",
        lambda: beds("tests/bed/test_releases.py"),
    ),
    "plain": (
        "Without an engine: PHP under load while its release changes, and kills between any two steps",
        lambda: f"{plain()}\n\n{beds('tests/bed/test_plain_sites.py')}",
    ),
    "migrations": ("Migrations: what was said of them, and what they do", truth_table),
    "switch": ("Readers while the current release is switched", switch_races),
    "properties": ("Simulated histories", properties),
    "bench": ("Beside the usual ways", bench),
}


def main() -> int:
    """Run the cells and write the page; returns 1 where a cell did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(CELLS), default=[])
    chosen = parser.parse_args().only or list(CELLS)
    page = ROOT / "docs/evidence.md"
    titles = {name: title for name, (title, _cell) in CELLS.items()}
    known = sections(page.read_text(encoding="utf-8"), titles)
    failed = False
    for name in chosen:
        print(f"== {CELLS[name][0]}", flush=True)
        try:
            known[name] = f"{versions()}\n\n{CELLS[name][1]()}"
        except Exception as error:  # the other cells are still worth running, and the page says it
            known[name] = f"{versions()}\n\nThis cell failed: {error}"
            failed = True
        failed = failed or "**not ok**" in known[name]
        print(known[name], flush=True)
        page.write_text(written(known, titles), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
