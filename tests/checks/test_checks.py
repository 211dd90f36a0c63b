# SPDX-License-Identifier: GPL-3.0-or-later
"""The linters and ansible-test, as tests: `make test` has one summary for all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What `make test` leaves to the night: three minutes of processor time. What they find in a change, ruff, mypy and the units that import
#: every file mostly find too.
SLOW = ("pylint", "import")


def no_complaint(script: str, *arguments: str) -> None:
    """Run one of our scripts; what it prints is the test's output."""
    done = subprocess.run(
        [ROOT / "scripts" / f"{script}.sh", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800, check=False,
    )  # fmt: skip
    print(done.stdout)
    errors = "\n".join(line for line in done.stdout.splitlines() if line.startswith("ERROR"))
    assert done.returncode == 0, f"scripts/{script}.sh complains, see above; alone: make {script}\n{errors}"


def test_lint() -> None:
    no_complaint("lint")


def test_sanity() -> None:
    no_complaint("sanity", *(word for test in SLOW for word in ("--skip-test", test)))


@pytest.mark.nightly
def test_sanity_that_takes_long() -> None:
    no_complaint("sanity", *(word for test in SLOW for word in ("--test", test)))
