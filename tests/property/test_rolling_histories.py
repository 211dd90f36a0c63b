# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Thousands of simulated rolls, with crashes and failures, and what must hold in every one of them.

A history is one seed: it draws the services, the behaviour of the new version and the misfortunes, so a
failing one is run again by its number alone.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.decide import rolling, steps
from ansible_collections.evenkeel.deploy.plugins.module_utils.decide.stack import (
    FORWARD,
    OTHER,
    SCHEDULER,
    STOP_FIRST,
    WEB,
    WORKER,
    Policy,
    Stack,
    Wanted,
    is_outdated,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.decide.steps import Start
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.roller import Outcome, Roller
from tests.property.simulated_machine import NEW, OLD, STAND_IN, SimulatedMachine
from tests.property.simulated_parts import Killed, Misfortune, Version

HISTORIES = int(os.environ.get("EVENKEEL_HISTORIES", "4000"))
CHUNKS = 10

BEHAVIOURS = {
    "good": Version(),
    "slow": Version(boot=4.0),
    "never-ready": Version(boot=None),
    "crash-early": Version(ends_after=0.2),
    "crash-after-healthy": Version(ends_after=2.0),
    "wrong-answers": Version(answers=False),
    "does-not-start": Version(starts=False),
    "dies-when-joined": Version(dies_when_joined=True),
}
AT_PORT = {"port-taken": Version(port_taken=True), "deaf-at-port": Version(deaf_at_port=True)}
ANYWHERE = [name for name in BEHAVIOURS if name not in ("good", "slow")]
BAD = [*ANYWHERE, *AT_PORT]


def draw(seed: int) -> tuple[SimulatedMachine, Policy, str]:
    """Draw one history's machine, policy and the behaviour of its new version."""
    rng = random.Random(seed)
    behaviour = rng.choice(["good", "good", "slow", *ANYWHERE])
    # Together always longer than crash-after-healthy takes; what dies after the watch is the guard's to heal.
    prove, monitor = rng.choice([(0.0, 3.0), (1.0, 2.0), (3.0, 0.0)])
    web = Wanted(
        "api",
        WEB,
        *NEW,
        replicas=rng.choice([1, 1, 2, 3]),
        parallelism=rng.choice([0, 1, 2]),
        delay=rng.choice([0.0, 1.0]),
        ready_timeout=8.0,
        prove_seconds=prove,
        monitor=monitor,
        drain_timeout=30.0,
        drain_policy=rng.choice(["cut", "wait"]),
        learn_seconds=random.Random(f"learn {seed}").choice([None, None, 1.0, 6.0]),
    )
    if web.replicas == 1 and random.Random(f"port {seed}").random() < 0.6:
        web = replace(web, stand_in=f"new-{STAND_IN}")
    worker = Wanted("celery", WORKER, *NEW, replicas=rng.choice([1, 2]), ready_timeout=8.0, monitor=3.0)
    beat = Wanted("celery-beat", SCHEDULER, *NEW, order=STOP_FIRST, ready_timeout=8.0, monitor=3.0)
    services: list[Wanted] = rng.choice([[web], [web], [worker, beat, web], [beat, web], [worker, web]])
    alone = services == [web]
    company = random.Random(f"company {seed}")
    added = []
    if company.random() < 0.25:
        search = Wanted("search", OTHER, *NEW, ready_timeout=8.0, monitor=2.0)
        added = company.choice([[], ["search"], ["search"]])
        needing = company.choice([[w.name for w in services], ["api"], []])
        services = [search, *[replace(w, after=("search",)) if w.name in needing else w for w in services]]
        web = services[-1]
    if company.random() < 0.15:
        # What the new version no longer has.
        services.insert(0, Wanted("flower", company.choice([OTHER, WEB, WORKER]), "", "", replicas=0))
    versions: dict[str, Version] = {w.name: Version() for w in services}
    # Answers and joining mean something only where users come in.
    victims = [w.name for w in services if w is web or behaviour not in ("wrong-answers", "dies-when-joined")]
    victims = [name for name in victims if name != "flower"]
    versions[rng.choice(victims)] = BEHAVIOURS[behaviour]
    fate = random.Random(f"fate {seed}")
    if web.stand_in and behaviour in ("good", "slow") and fate.random() < 0.4:
        behaviour = fate.choice(list(AT_PORT))
        versions = {**dict.fromkeys(versions, Version()), "api": AT_PORT[behaviour]}
    disturbances = rng.choice(["none", "none", "killed", "killed", "outside", "everything"])
    misfortune = Misfortune(left=rng.choice([1, 2, 4]))
    if disturbances in ("killed", "everything"):
        misfortune.kill_process = rng.choice([0.02, 0.1])
    if disturbances in ("outside", "everything"):
        misfortune.kill_old = misfortune.kill_new = 0.02
        misfortune.restart_proxy = misfortune.foreign_reload = 0.02
        misfortune.fail_act = 0.01
    scaled = rng.choice([None, None, None, 1, 3])
    if web.stand_in:
        scaled = None
    machine = SimulatedMachine(
        seed,
        services,
        versions,
        misfortune,
        fresh=rng.random() < 0.05,
        start_replicas=scaled if alone and len(services) == 1 else None,
        added=added,
    )
    backward = random.Random(f"backward {seed}").random() < 0.4
    return machine, Policy(tuple(services), together=rng.random() < 0.7, backward=backward), behaviour


def roll(machine: SimulatedMachine, policy: Policy, fickle: bool = False, limit: int = 40) -> Outcome:
    """Run the playbook again and again until a run ends by itself, as a person would after each kill.

    :param fickle: after the first kill the old version is asked for instead.
    """
    for _attempt in range(limit):
        roller = Roller(machine, policy, poll=0.1)
        steps = 0

        def count(step: object, stack: Stack, *_more: object, policy: Policy = policy) -> None:
            nonlocal steps
            steps += 1
            assert steps < 5000, f"does not terminate: {machine.history[-20:]}"
            if policy.backward and isinstance(step, Start):
                refuse_early_workers(step, stack, policy)

        roller.on_step = count
        try:
            return roller.run()
        except Killed:
            if fickle:
                policy = backwards(policy, machine.added)
                machine.wanted = {w.name: w for w in policy.services}
    raise AssertionError("never ended by itself")


def refuse_early_workers(step: Start, stack: Stack, policy: Policy) -> None:
    """Hold that no older worker is started while somebody waits for an answer of the newer web."""
    kinds = {w.name: w.kind for w in policy.services}
    if any(kinds[name] == WORKER for name, _number in step.create) and stack.goal == FORWARD:
        webs = {w.name: w for w in policy.services if w.kind == WEB}
        newer = [c for c in stack.containers if c.service in webs and is_outdated(c, webs[c.service]) and c.running]
        assert not [c for c in newer if c.in_rotation or c.connections], f"a worker was started too early: {stack}"


def backwards(policy: Policy, added: Sequence[str]) -> Policy:
    """The same with the old version wanted, which has what the new one does not, and has not what that added."""
    kept = [
        replace(w, image=OLD[0], config_hash=OLD[1], replicas=w.replicas or 1, after=())
        for w in policy.services
        if w.name not in added
    ]
    gone = [replace(w, image="", config_hash="", replicas=0) for w in policy.services if w.name in added]
    services = tuple(replace(w, stand_in=w.stand_in.replace("new", "old")) for w in [*gone, *kept])
    return replace(policy, services=services)


def check_a_change_of_mind(seed: int) -> None:
    """Run one history in which a killed run is followed by one that wants the old version back."""
    machine, policy, behaviour = draw(seed)
    if not machine.boxes:
        return
    outcome = roll(machine, policy, fickle=True)
    story = f"seed {seed} ({behaviour}), outcome {outcome.reason!r}, history {machine.history[-40:]}"
    if not machine.process_killed or outcome.failed:
        return
    for wanted in policy.services:
        mine = [b for b in machine.boxes.values() if b.service == wanted.name]
        expected = set() if wanted.name in machine.added else {OLD}
        assert {b.identity for b in mine} == expected, f"{wanted.name} is not back: {story}"
        assert all(b.consuming for b in mine), f"{wanted.name}: told to fetch no tasks, and left like that: {story}"
    assert not machine.pins, f"a pin was left: {story}"
    stopped = [v for v in machine.violations if "in flight" in v]
    assert not stopped, f"{stopped}: {story}"


def check(seed: int) -> None:
    """Run one history and hold every invariant."""
    machine, policy, behaviour = draw(seed)
    had_old = bool(machine.boxes)
    outcome = roll(machine, policy)
    story = f"seed {seed} ({behaviour}), outcome {outcome.reason!r}, history {machine.history[-40:]}"
    if not outcome.refused and behaviour not in ("crash-after-healthy", "dies-when-joined"):
        # What it left behind must go on being good.
        for _moment in range(30):
            machine.sleep(0.25)
    # A kill makes the process forget what it proved, so only an unbroken run can promise what it let in.
    promised = [v for v in machine.violations if not (machine.process_killed and "wrongly" in v)]
    assert not promised, f"{promised}: {story}"
    boxes = list(machine.boxes.values())
    for wanted in policy.services:
        mine = [b for b in boxes if b.service == wanted.name]
        current = [b for b in mine if b.identity == NEW]
        if not outcome.failed:
            assert len(current) == len(mine) == wanted.replicas, f"{wanted.name} not as wanted: {story}"
            if wanted.kind == WEB and not machine.disturbed:
                assert machine.led_to(wanted.name) == {b.address for b in current}, story
        elif had_old and not outcome.refused and not machine.disturbed:
            # What a killed run added is this version's own to the next; going back to the old version takes it away.
            if wanted.name in machine.added and machine.process_killed:
                continue
            assert not current, f"{wanted.name}: something new was left behind: {story}"
            if wanted.name in machine.added:
                continue
            alive = [b for b in mine if b.state == "running"]
            assert alive, f"{wanted.name}: the old version is not there: {story}"
            if wanted.kind == WEB and wanted.replicas:
                assert machine.led_to(wanted.name) == {b.address for b in alive}, story
                if not machine.process_killed:
                    assert {b.id for b in alive} == {
                        b for b in machine.original if machine.boxes[b].service == wanted.name
                    }, story
    staying = [w for w in policy.services if w.replicas and w.name not in machine.added]
    for wanted in staying if had_old and behaviour in ("good", "slow", *AT_PORT) else ():
        assert [b for b in boxes if b.service == wanted.name and b.state == "running"], (
            f"{wanted.name} is gone: {story}"
        )
    if not outcome.refused:
        silent = [b.id for b in boxes if b.state == "running" and not b.consuming]
        assert not silent, f"told to fetch no tasks, and left like that: {silent}: {story}"
    if not outcome.refused:
        assert not machine.pins, f"a pin was left: {story}"
    # Killed on an empty host, the next run finds nothing outdated to prove again; the role's verify does that.
    if not machine.disturbed and not (machine.process_killed and (machine.added or not had_old)):
        assert outcome.failed == (behaviour in BAD), f"{'failed' if outcome.failed else 'succeeded'}: {story}"
    machine.misfortune.left = 0
    machine.proxy_down_until = 0.0
    again = Roller(machine, policy).observe()
    if not outcome.failed and not machine.disturbed and behaviour in ("good", "slow"):
        assert isinstance(rolling.next_step(again, policy), steps.Done), f"a second run would change something: {story}"


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_invariants_hold_in_every_history(chunk: int) -> None:
    for seed in range(chunk, HISTORIES, CHUNKS):
        check(seed)


def test_the_old_version_can_be_asked_for_after_any_kill() -> None:
    for seed in range(HISTORIES // 8):
        check_a_change_of_mind(seed)
