# SPDX-License-Identifier: GPL-3.0-or-later
"""From an empty folder to a shop that serves, by one command that is killed again and again on the way."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.host import processes
from tests.bed.shop import ROOT, Shop, run

#: What the run is killed in, as it names its steps, in this order: each of these runs comes further than the one before.
STEPS = (
    "Export into a release",
    "Resolve the Compose project",
    "Build the images",
    "Start databases and brokers",
    "Run the migrations of the first",
    "Publish the static files",
    "Put nginx's files there",
    "Start everything that does not run",
    "Verify as its users see it|Ask through the proxy",
    "Make it the current release",
)


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    made = Shop("first")
    made.destroy()
    request.addfinalizer(made.destroy)
    return made.create()


def kill_when(shop: Shop, log: Path, due: Callable[[str], bool], **variables: Any) -> None:
    """Begin the first deployment, or another playbook, and kill it with all that it has started once something is so.

    :param due: asked of what it has printed.
    """
    with log.open("w", encoding="utf-8") as stream:
        begun = subprocess.Popen(
            shop.playbook_argv(**(variables or {"update_version": "v1"})), cwd=ROOT, env=shop.environment,
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
        )  # fmt: skip
    end = time.monotonic() + 300
    while not due(log.read_text(encoding="utf-8", errors="replace")):
        if begun.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"it was over before: {log.read_text(encoding='utf-8', errors='replace')[-3000:]}")
        time.sleep(0.05)
    # A moment into the step, where its module works.
    time.sleep(0.4)
    for pid in [p.pid for p in processes.tree(begun.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    begun.wait(10)


@pytest.mark.matrix
def test_killed_in_each_step_the_next_run_goes_on(shop: Shop, tmp_path: Path) -> None:
    for step in STEPS:
        kill_when(shop, tmp_path / "log", lambda text, step=step: bool(re.search(rf"TASK \[.*({step})", text)))  # type: ignore[misc]
    last = shop.update("v1")
    assert last.returncode == 0, last.output[-4000:]
    assert (shop.version(), shop.leftovers()) == ("v1", [])
    again = shop.update("v1")
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]
    assert not [n for n in run(["docker", "ps", "-a", "--format", "{{.Names}}"]).split() if f"{shop.name}-api-run" in n]


@pytest.mark.matrix
def test_killed_between_app_and_proxy(shop: Shop, tmp_path: Path) -> None:
    kill_when(shop, tmp_path / "log", lambda _text: shop.containers("api").get(f"{shop.name}-api-1") == "running")
    for name, state in shop.containers("nginx").items():
        assert state != "running", "killed too late"
        run(["docker", "rm", "-f", name])
    assert not (shop.root / "current").exists()
    again = shop.update("v1")
    assert again.returncode == 0, again.output[-4000:]
    assert (shop.version(), shop.leftovers()) == ("v1", [])
