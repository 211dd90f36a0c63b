# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to which run, which tests share a worker, and what a run left to the night."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
#: The folder whose tests all belong to `make nightly`.
BEDS = "bed"
#: Folders whose tests share one server or stack: one worker has all of them.
ONE_WORKER = ("scenarios", "molecule")
#: What only computes gives way to the users of a shop that is under load on the same cores.
NICENESS = {"checks": 10, "unit": 10, "stacks": 10, "property": 10}

pytest.register_assert_rewrite("tests.bed.nothing_lost", "tests.bed.queued_tasks", "tests.bed.shop")


def stage_of(item: pytest.Item) -> str:
    """The folder of `tests/` that the test lives in."""
    return item.path.relative_to(TESTS).parts[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the beds as nightly, and keep together what shares a fixture of its file or folder."""
    for item in items:
        stage = stage_of(item)
        if stage == BEDS:
            item.add_marker(pytest.mark.nightly)
        if item.get_closest_marker("xdist_group") is None and stage != "database":
            item.add_marker(pytest.mark.xdist_group(stage if stage in ONE_WORKER else f"{stage}/{item.path.stem}"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget the secrets of the test before, and set the worker's niceness; without root it stays nice."""
    with contextlib.suppress(ImportError):  # the checks run without the product's path
        from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import known_secrets

        # A module is a process of its own, and knows no secret of another one's.
        known_secrets.forget()
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS.get(stage_of(item), 0))


# -- what was left to the night -----------------------------------------------------------------------------

_LEFT = pytest.StashKey[Counter[str]]()


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count by folder what the run's marker expression left out."""
    for item in items:
        if item.get_closest_marker("nightly"):
            item.config.stash.setdefault(_LEFT, Counter())[stage_of(item)] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that prints the summary: only workers collect."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left"] = dict(session.config.stash.get(_LEFT, Counter()))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it from any worker: each has collected the same."""
    if left := getattr(node, "workeroutput", {}).get("left"):
        node.config.stash[_LEFT] = Counter(left)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name what was not run: nobody shall take this run for all there is."""
    left = config.stash.get(_LEFT, Counter())
    if left and not config.getoption("hours", None):
        told = ", ".join(f"tests/{stage} {count}" for stage, count in sorted(left.items()))
        terminalreporter.write_line(f"left to `make nightly`: {sum(left.values())} tests ({told}); see docs/testing.md")
