# SPDX-License-Identifier: GPL-3.0-or-later
"""The Molecule scenarios are tests, so that one summary counts them all: one for each server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: A scenario that goes on with the server of another one: a start and its builds less.
GOES_ON = {"hotfix": "update"}
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
CHAINS = [[first, *(s for s in SCENARIOS if GOES_ON.get(s) == first)] for first in SCENARIOS if first not in GOES_ON]
#: Of the servers, whose is run by `make test`.
DAILY = ("update",)
# a whole scenario: create, check, converge, again, verify
LIMIT_SECONDS = 900


def molecule(chain: list[str], *words: str) -> bool:
    """Run one command of Molecule with what the scenarios of a server share; returns whether it went well."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(ROOT / ".cache" / "molecule" / chain[0]),
        "NO_COLOR": "1",
    }
    # this very pytest speaks through it; the one inside molecule must not listen
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [sys.executable, "-m", "molecule", *words],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    print(done.stdout)
    return done.returncode == 0


@pytest.mark.parametrize(
    "chain",
    [pytest.param(c, id="-".join(c), marks=[] if c[0] in DAILY else [pytest.mark.nightly]) for c in CHAINS],
)
def test_scenario(chain: list[str]) -> None:
    away = ("destroy", "--scenario-name", chain[0])
    assert molecule(chain, *away)
    try:
        for scenario in chain:
            fine = molecule(chain, "test", "--destroy", "never", "--scenario-name", scenario)
            assert fine, f"scenario {scenario} failed, see above; try it: molecule converge -s {scenario}"
    finally:
        assert molecule(chain, *away)
