# SPDX-License-Identifier: GPL-3.0-or-later
"""From an empty folder to a shop that serves, by one command that is killed again and again on the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bed.killed_playbook import kill_when
from tests.bed.shop import Shop, run

#: What the run is killed in, as it names its steps, in this order: each of these runs comes further than the one before.
STEPS = (
    "Export the version into a release",
    "Resolve the Compose project",
    "Build or pull images of",
    "Start stopped databases and brokers",
    "Run migrations of the first",
    "Publish static files",
    "Install nginx's files",
    "Start services that do not run",
    "Run smoke tests: ",
    "Activate the release",
)


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    made = Shop("first")
    made.destroy()
    request.addfinalizer(made.destroy)
    return made.create()


def test_killed_in_each_step_the_next_run_goes_on(shop: Shop, tmp_path: Path) -> None:
    for step in STEPS:
        kill_when(shop, tmp_path / "log", lambda text, step=step: bool(re.search(rf"TASK \[.*({step})", text)))  # type: ignore[misc]
    last = shop.update("v1")
    assert last.returncode == 0, last.output[-4000:]
    assert (shop.version(), shop.leftovers()) == ("v1", [])
    again = shop.update("v1")
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]
    assert not [n for n in run(["docker", "ps", "-a", "--format", "{{.Names}}"]).split() if f"{shop.name}-api-run" in n]


def test_killed_between_app_and_proxy(shop: Shop, tmp_path: Path) -> None:
    kill_when(shop, tmp_path / "log", lambda _text: shop.containers("api").get(f"{shop.name}-api-1") == "running")
    for name, state in shop.containers("nginx").items():
        assert state != "running", "killed too late"
        run(["docker", "rm", "-f", name])
    assert not (shop.root / "current").exists()
    again = shop.update("v1")
    assert again.returncode == 0, again.output[-4000:]
    assert (shop.version(), shop.leftovers()) == ("v1", [])
