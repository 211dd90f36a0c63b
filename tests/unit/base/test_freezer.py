# SPDX-License-Identifier: GPL-3.0-or-later
"""A real process in a control group of its own stands still and goes on, with either version of control groups."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import freezer

_ROOTS = [
    path for path in ("/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified", "/sys/fs/cgroup") if os.path.exists(f"{path}/cgroup.procs")
]  # fmt: skip
# None of them is a failure, and not an empty list of tests.
_ROOTS = _ROOTS or ["/sys/fs/cgroup"]
_COUNTS = "import sys, time\nwhile True:\n    sys.stdout.write('.')\n    sys.stdout.flush()\n    time.sleep(0.01)\n"


@pytest.fixture(params=_ROOTS)
def counting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A process that writes on and on, and what it writes to."""
    group = Path(request.param) / f"evenkeel-test-{os.getpid()}"
    group.mkdir()
    said = tmp_path / "said"
    with said.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-c", _COUNTS], stdout=stream)
    try:
        (group / "cgroup.procs").write_text(str(process.pid))
        yield process.pid, said
    finally:
        freezer.thaw(process.pid)
        process.kill()
        process.wait()
        group.rmdir()


def grows(path: Path) -> bool:
    size, until = path.stat().st_size, time.monotonic() + 5
    while path.stat().st_size == size and time.monotonic() < until:
        time.sleep(0.05)
    return path.stat().st_size > size


def test_it_stands_still_and_goes_on(counting: tuple[int, Path]) -> None:
    pid, said = counting
    assert grows(said) and freezer.is_able(pid) and not freezer.is_frozen(pid)
    freezer.freeze(pid)
    size = said.stat().st_size
    time.sleep(0.3)
    assert said.stat().st_size == size and freezer.is_frozen(pid)
    freezer.freeze(pid)
    freezer.thaw(pid)
    assert grows(said) and not freezer.is_frozen(pid)
    freezer.thaw(pid)


def test_what_has_ended_is_left_alone() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert not freezer.is_able(process.pid) and not freezer.is_frozen(process.pid)
    freezer.thaw(process.pid)
