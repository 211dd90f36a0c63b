# SPDX-License-Identifier: GPL-3.0-or-later
"""One run, several stages: the slower do not start when a faster one failed."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

TESTS = Path(__file__).parent


#: A run of a script, and what it printed.
Check = tuple["subprocess.Popen[str]", IO[str]]


@pytest.fixture(scope="session", autouse=True)
def checks(request: pytest.FixtureRequest) -> Iterator[dict[str, Check]]:
    """Begin at once what takes one core and no machine: it runs beside the units, and test_ground.py says how it ended."""
    asked = [i.callspec.params["script"] for i in request.session.items if stage_of(i) == "ground"]  # type: ignore[attr-defined]
    begun: dict[str, Check] = {}
    for script in asked:
        output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # closed below
        begun[script] = (
            subprocess.Popen(
                [TESTS.parent / "scripts" / f"{script}.sh"],
                cwd=TESTS.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            ),
            output,
        )
    yield begun
    for process, output in begun.values():
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        output.close()


def stage_of(item: pytest.Item) -> str:
    """The folder of `tests/` that the test lives in."""
    return item.path.relative_to(TESTS).parts[0]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    session = item.session
    before = getattr(session, "evenkeel_stage", None)
    stage = stage_of(item)
    session.evenkeel_stage = stage  # type: ignore[attr-defined]
    if before not in (None, stage) and session.testsfailed:
        session.shouldfail = f"stage {before} failed, so {stage} was not begun"
        raise session.Failed(session.shouldfail)
