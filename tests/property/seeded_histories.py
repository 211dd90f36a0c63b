# SPDX-License-Identifier: GPL-3.0-or-later
"""Which seeds simulated histories are drawn from: other ones at each commit, and each run again by its number alone."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

#: Histories of each property; a nightly run has more.
HISTORIES = int(os.environ.get("EVENKEEL_HISTORIES", "500"))
#: Parts that each property is tested in, so that several workers share it.
PARTS = 10
#: Histories in which a broken rule has to be noticed. The rarest breach is seen in one of sixty: a run of this many
#: without one is no chance.
NOTICED_WITHIN = 5000

in_parts = pytest.mark.parametrize("part", range(PARTS))


def first_seed() -> int:
    """The first seed of this run: ``EVENKEEL_SEED``, or one that the commit decides, 0 where there is no git."""
    given = os.environ.get("EVENKEEL_SEED")
    if given:
        return int(given)
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return 0
    return int(done.stdout[:8], 16) if done.returncode == 0 else 0


FIRST = first_seed()


def hold(check: Callable[[int], object], part: int) -> None:
    """Hold one part of the histories of a property.

    :param check: raises where the history of a seed breaks the property.
    :raises AssertionError: one did; the message has its seed and the command that runs it again.
    """
    for seed in range(FIRST + part, FIRST + HISTORIES, PARTS):
        try:
            check(seed)
        except Exception as error:
            raise AssertionError(f"{error}\n{replayed_by(seed, 1)}") from error


def replayed_by(seed: int, histories: int) -> str:
    """The command that runs the present test again on the same histories."""
    test = re.split(r"[\[@ ]", os.environ.get("PYTEST_CURRENT_TEST", "tests/property"))[0]
    return f"again: EVENKEEL_SEED={seed} EVENKEEL_HISTORIES={histories} .venv/bin/python -m pytest {test}"


def is_noticed(check: Callable[[int], object]) -> bool:
    """Whether one of many histories shows that a rule is broken."""
    for seed in range(FIRST, FIRST + NOTICED_WITHIN):
        try:
            check(seed)
        except AssertionError:
            return True
    return False
