# SPDX-License-Identifier: GPL-3.0-or-later
"""The linters and ansible-test, as tests: `make test` has one summary for all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("script", ["lint", "sanity"])
def test_no_complaint(script: str) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / f"{script}.sh"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, f"scripts/{script}.sh complains, see above; alone: make {script}"
