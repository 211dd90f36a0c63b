# SPDX-License-Identifier: GPL-3.0-or-later
"""``make evidence``: measure on real stacks and write ``docs/evidence.md``; what is right or wrong ``make nightly`` judges.

Cells are run one after the other; ``--only NAME`` runs some, and what was not run says so in the page.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from tests.bed import rollback_speed  # noqa: E402 (the line above makes it importable)
from tests.bed.evidence_page import sections, versions, written  # noqa: E402 (likewise)
from tests.bed.evidence_rows import table, updates  # noqa: E402 (likewise)
from tests.bed.fronts import FRONTS  # noqa: E402 (likewise)
from tests.bed.hotfix_speed import compared  # noqa: E402 (likewise)
from tests.bed.plain_evidence import plain  # noqa: E402 (likewise)
from tests.bed.server_evidence import accidents, accidents_table  # noqa: E402 (likewise)
from tests.bed.switch_race import races  # noqa: E402 (likewise)
from tests.bed.switch_race import table as switch_table  # noqa: E402 (likewise)
from tests.database.migrations.truth import truth_table  # noqa: E402 (likewise)
from tests.database.migrations.verdicts import pairs_table  # noqa: E402 (likewise)


def switch_races() -> str:
    """Ours and the usual ways of switching a link, under readers."""
    found = races()
    ours = found[0]
    verdict = "" if (ours.missing, ours.mixed) == (0, 0) else "\n\n**not ok**"
    return switch_table(found) + verdict


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
    "server": (
        "A server whose engine ends, whose power goes, whose connection is cut in the middle of an update",
        lambda: accidents_table(accidents()),
    ),
    "hotfix-speed": ("Small changes to production: by a bare shell and by role hotfix", compared),
    "rollback-speed": ("How long a rollback takes, beside the least that it could", rollback_speed.compared),
    "plain": ("Without an engine: PHP under load while its release changes", plain),
    "migrations": ("Migrations: what was said of them, and what they do", truth_table),
    "pairs": ("Pairs of releases: whether older code can come back, and what it then does", pairs_table),
    "switch": ("Readers while the current release is switched", switch_races),
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
