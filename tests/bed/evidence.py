# SPDX-License-Identifier: GPL-3.0-or-later
"""``make evidence``: measure on real stacks and write ``docs/evidence.md``; what is right or wrong ``make nightly`` judges.

Cells are run one after the other; ``--only NAME`` runs some, and what was not run says so in the page.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collections"))

from tests.bed import crowded, growth, quiet_speed, rollback_speed, ssh_speed
from tests.bed.evidence_page import sections, versions, written
from tests.bed.evidence_rows import table, updates
from tests.bed.fronts import FRONTS
from tests.bed.hotfix_speed import compared
from tests.bed.plain_evidence import plain
from tests.bed.server_evidence import accidents, accidents_table
from tests.bed.shop import ROOT
from tests.bed.switch_race import races
from tests.bed.switch_race import table as switch_table
from tests.database.migrations.truth import truth_table
from tests.database.migrations.verdicts import pairs_table


def switch_races() -> str:
    """Ours and the usual ways of switching a link, under readers."""
    found = races()
    ours = found[0]
    verdict = "" if (ours.missing, ours.mixed) == (0, 0) else "\n\n**not ok**"
    return switch_table(found) + verdict


#: The ways of an update that a person may choose, beside what stands in guides for the same.
STRATEGIES = (
    "restart", "restart-ours", "up", "script", "down-up", "update-default", "update-canary", "update-blue-green", "update-quick",
)  # fmt: skip


def bench(*methods: str) -> str:
    """Run the bench, all of it or some methods, and take over its table."""
    argv = [sys.executable, "tests/bed/bench.py", *(["--only", ",".join(methods)] if methods else [])]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return f"```\n{done.stdout.strip()}\n```"


@dataclass(frozen=True)
class Cell:
    """A section of the page: its title, the rooms whose code it measures, and what measures it."""

    title: str
    rooms: tuple[str, ...]
    measure: Callable[[], str]


_ROLL = ("rolling", "traffic", "nginx", "engine", "operation")
CELLS = {
    "one": Cell(
        "Updates of `api`, worker and scheduler under load, 1 replica",
        _ROLL,
        lambda: table([updates("evidence-one", "1 replica, one uncached build", 5)]),
    ),
    "two": Cell(
        "The same with 2 replicas",
        _ROLL,
        lambda: table([updates("evidence-two", "2 replicas, one uncached build", 5, replicas=2)]),
    ),
    "keepalive": Cell(
        "The same with upstream keepalive",
        _ROLL,
        lambda: table(
            [updates("evidence-keep", "upstream block with keepalive 16", 5, front=FRONTS["upstream keepalive"])]
        ),
    ),
    "server": Cell(
        "A server whose engine ends, whose power goes, whose connection is cut in the middle of an update",
        _ROLL,
        lambda: accidents_table(accidents()),
    ),
    "hotfix-speed": Cell(
        "Small changes to production: by a bare shell and by role hotfix", ("hotfix", *_ROLL), compared
    ),
    "rollback-speed": Cell(
        "How long a rollback takes, beside the least that it could", ("releases", *_ROLL), rollback_speed.compared
    ),
    "plain": Cell("Without an engine: PHP under load while its release changes", ("releases", "operation"), plain),
    "migrations": Cell("Migrations: what was said of them, and what they do", ("migrations", "django"), truth_table),
    "pairs": Cell(
        "Pairs of releases: whether older code can come back, and what it then does",
        ("migrations", "django"),
        pairs_table,
    ),
    "switch": Cell("Readers while the current release is switched", ("releases",), switch_races),
    "growth": Cell("What more of it costs", ("releases", "status", *_ROLL), growth.measured),
    "quiet": Cell(
        "How long each operation takes, nobody being there", ("base", "hotfix", "status", *_ROLL), quiet_speed.measured
    ),
    "ssh": Cell("Over ssh, near and far", ("base", *_ROLL), ssh_speed.measured),
    "crowded": Cell(
        "What users notice of each operation, on a server with one processor", ("base", *_ROLL), crowded.measured
    ),
    "strategies": Cell("Each strategy, beside the commands of a guide", _ROLL, lambda: bench(*STRATEGIES)),
    "bench": Cell("Beside the usual ways", _ROLL, bench),
}
TITLES = {name: cell.title for name, cell in CELLS.items()}
ROOMS = {name: cell.rooms for name, cell in CELLS.items()}


def main() -> int:
    """Run the cells and write the page; returns 1 where a cell did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(CELLS), default=[])
    parser.add_argument("--mark", action="store_true", help="measure nothing; mark what is older than its code")
    asked = parser.parse_args()
    chosen = [] if asked.mark else asked.only or list(CELLS)
    page = ROOT / "docs/evidence.md"
    known = sections(page.read_text(encoding="utf-8"), TITLES)
    page.write_text(written(known, TITLES, ROOMS), encoding="utf-8")
    failed = False
    for name in chosen:
        print(f"== {TITLES[name]}", flush=True)
        try:
            known[name] = f"{versions()}\n\n{CELLS[name].measure()}"
        except Exception as error:  # the other cells are still worth running, and the page says it
            known[name] = f"{versions()}\n\nThis cell failed: {error}"
            failed = True
        failed = failed or "**not ok**" in known[name]
        print(known[name], flush=True)
        page.write_text(written(known, TITLES, ROOMS), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
