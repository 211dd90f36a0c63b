# SPDX-License-Identifier: GPL-3.0-or-later
"""Behind each way in which users let nginx name a service: a roll, one that is undone, a container that moves.

The stack is started by hand and the module called in this process: the playbook is not the subject here.
"""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.compose_rolling import call as roll
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.django_static import call as publish
from tests.bed.crashes import healed_by_a_guard
from tests.bed.fronts import FRONTS, fronted
from tests.bed.hand_started import COMPOSE, HandStarted
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import EVERYTHING, Shop, run

#: By hand it can only be replaced with a gap; an update makes a name of the network of it.
ONE_ONLY = "container_name"
OTHERS = [name for name in FRONTS if name not in ("plain", ONE_ONLY)]


class Fronted(HandStarted):
    """The shop behind one of the ways, each version a tag of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(f"front-{OTHERS.index(name)}")
        self.front = FRONTS[name]

    def start_behind(self, version: str) -> None:
        """Start a version as its owner does."""
        self.create(f"COMPOSE_PROJECT_NAME={self.name}\nCOMPOSE_FILE={COMPOSE}\n")
        (self.root / "shared").mkdir(parents=True)
        (self.root / "current").symlink_to(self.home)
        self.check_out(version)
        self.start()

    def check_out(self, version: str) -> None:
        """Make a version's tree and images the present ones."""
        tag = fronted(self, version, self.front)
        run(["git", "fetch", "--quiet", "--tags", "origin"], cwd=self.home)
        run(["git", "checkout", "--quiet", tag], cwd=self.home)
        run(["docker", "compose", "build", "--quiet"], cwd=self.home)

    def roll(self, version: str, ready_timeout: float) -> dict[str, Any]:
        """Roll to a version, its static files beside the others.

        Not by Django's own ``collectstatic``: it writes files and manifest in place, and whoever is served meanwhile meets that.
        """
        self.check_out(version)
        told = {"project_src": str(self.home), "files": [COMPOSE], "state_dir": str(self.root / ".evenkeel")}
        published = publish({**told, "service": "api", "revision": version}, False)
        assert not published.get("failed"), published["msg"]
        options = {**QUICK, "api": {**QUICK["api"], "ready_timeout": ready_timeout}}
        return roll({**told, "health_url": f"{self.url}/health/", "service_options": options}, False)


# Each has a shop of its own, so whoever is free takes the next.
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.xdist_group(f"front {n}")) for n in OTHERS])
def test_behind(name: str) -> None:
    shop = Fronted(name)
    shop.destroy()
    try:
        shop.start_behind("v1")
        with shop.load(mix=EVERYTHING) as load:
            rolled = shop.roll("v2", 120)
            undone = shop.roll("bad-500", 60)
            result = load.stop()
        assert not rolled.get("failed"), rolled["msg"]
        assert undone["failed"] and "answered 500" in undone["msg"].splitlines()[0], undone["msg"]
        shop.check_out("v2")
        assert (shop.version(), shop.leftovers()) == ("v2", [])
        assert set(result.versions) == {"v1", "v2"}
        assert_nothing_lost(shop, load, result)
        healed = healed_by_a_guard(shop, "v2")
        gap, p99 = result.longest_app_gap_ms, result.latency_ms["p99"]
        print(
            f"\nevidence: behind {name}: {result.total:,} requests of a roll and one undone, 0 failed, longest gap "
            f"{gap:.0f} ms, p99 {p99:.0f} ms; moved, it was found after {healed:.1f} s"
        )
    finally:
        shop.destroy()


@pytest.mark.xdist_group(f"front {ONE_ONLY}")
def test_behind_a_name_that_only_one_container_can_have() -> None:
    shop = Shop(f"front-{len(OTHERS)}")
    shop.destroy()
    try:
        shop.create()
        tags = {tag: fronted(shop, tag, FRONTS[ONE_ONLY]) for tag in ("v1", "v2", "bad-500")}
        first = shop.update(tags["v1"])
        assert first.returncode == 0, first.output[-4000:]
        with shop.load(mix=EVERYTHING) as load:
            rolled, undone = shop.update(tags["v2"]), shop.update(tags["bad-500"])
            result = load.stop()
        assert rolled.returncode == 0, rolled.output[-4000:]
        assert undone.returncode and "answered 500" in undone.message, undone.output[-4000:]
        assert (shop.version(), shop.leftovers()) == ("v2", [])
        assert set(result.versions) == {"v1", "v2"}
        assert_nothing_lost(shop, load, result)
    finally:
        shop.destroy()
