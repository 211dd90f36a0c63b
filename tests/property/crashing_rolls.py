# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Away from a version whose containers crash again and again: nobody is led back to them once something better serves."""

from __future__ import annotations

import random

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import SCHEDULER, WEB, WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import STOP_FIRST
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import Policy, Wanted
from tests.property.drawn_rolls import BEHAVIOURS
from tests.property.rolling_invariants import roll
from tests.property.simulated_machine import NEW, OLD, SimulatedMachine
from tests.property.simulated_parts import Box, Misfortune, Version


class CrashingOld(SimulatedMachine):
    """The old version's web containers end, lose their address, and are started again after longer and longer pauses."""

    def __init__(self, seed: int, wanted: list[Wanted], versions: dict[str, Version], misfortune: Misfortune) -> None:
        self.turns: dict[str, float] = {}
        self.reached = False
        super().__init__(seed, wanted, versions, misfortune)
        for box in self._crashing():
            box.restarts = 9
        # There is nothing to keep of what serves nobody.
        self.capacity["api"] = 0
        self.good = versions["api"] in (BEHAVIOURS["good"], BEHAVIOURS["slow"])

    def _crashing(self) -> list[Box]:
        return [b for b in self._of("api") if b.identity == OLD and b.state in ("running", "restarting")]

    def _serving(self, box: Box) -> bool:
        return not (box.service == "api" and box.identity == OLD) and super()._serving(box)

    def _advance(self, seconds: float) -> None:
        for box in self._crashing():
            if self.clock + seconds < self.turns.setdefault(box.id, self.clock):
                continue
            up = box.state == "restarting"
            if up:
                box.restarts += 1
                box.started = self.clock
                self.counter += self.random.choice([0, 1])
                box.address = f"10.1.0.{self.counter}"
            else:
                box.address = ""
            box.state = "running" if up else "restarting"
            self.turns[box.id] = self.clock + self.random.choice([0.5, 1.5, 4.0] if up else [0.1, 0.4, 3.0, 12.0])
        super()._advance(seconds)

    def _watch(self) -> None:
        super()._watch()
        rotation = self._rotation("api")
        reached = any(b.address in rotation and self._serving(b) for b in self._of("api"))
        if self.good and self.reached and not reached:
            self._violate("api: users were led away from what serves them")
        self.reached = self.reached or reached


def check(seed: int) -> None:
    """Run one history."""
    rng = random.Random(seed)
    web = Wanted(
        "api",
        WEB,
        *NEW,
        replicas=rng.choice([1, 1, 2]),
        parallelism=rng.choice([0, 1]),
        ready_timeout=8.0,
        prove_seconds=rng.choice([0.0, 3.0]),
        monitor=rng.choice([0.0, 3.0]),
        dns_seconds=rng.choice([None, None, 1.0]),
    )
    worker = Wanted("celery", WORKER, *NEW, ready_timeout=8.0, monitor=3.0)
    beat = Wanted("celery-beat", SCHEDULER, *NEW, order=STOP_FIRST, ready_timeout=8.0, monitor=3.0)
    services = rng.choice([[web], [worker, beat, web]])
    behaviour = rng.choice(["good", "good", "slow", "never-ready", "wrong-answers", "does-not-start"])
    versions = {**{w.name: Version() for w in services}, "api": BEHAVIOURS[behaviour]}
    misfortune = Misfortune(kill_process=rng.choice([0.0, 0.0, 0.05]), left=2)
    machine = CrashingOld(seed, services, versions, misfortune)
    outcome = roll(machine, Policy(tuple(services), together=rng.random() < 0.7))
    story = f"seed {seed} ({behaviour}), outcome {outcome.reason!r}, history {machine.history[-40:]}"
    assert not machine.violations, f"{machine.violations}: {story}"
    assert outcome.failed != machine.good, story
    assert not machine.pins or outcome.refused, f"a pin was left: {story}"
    if machine.good:
        assert {b.identity for b in machine.boxes.values()} == {NEW}, story
        assert machine.led_to("api") == {b.address for b in machine.boxes.values() if b.service == "api"}, story
