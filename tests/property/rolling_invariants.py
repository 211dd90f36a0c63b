# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds in every simulated roll, whatever its seed has drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import WEB, WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling import next_step, steps
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.roller import Outcome, Roller
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import FORWARD, Policy, Stack, is_outdated
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.steps import Start, Step
from tests.property.drawn_rolls import AT_PORT, BAD, draw
from tests.property.rolling_order import problem_with
from tests.property.simulated_machine import NEW, OLD, SimulatedMachine
from tests.property.simulated_parts import Killed


def roll(machine: SimulatedMachine, policy: Policy, fickle: bool = False, limit: int = 40) -> Outcome:
    """Run the playbook again and again until a run ends by itself, as a person would after each kill.

    :param fickle: after the first kill the old version is asked for instead.
    """
    for _attempt in range(limit):
        roller = Roller(machine, policy, poll=0.1)
        steps = 0

        def count(step: Step, stack: Stack, *_more: object, policy: Policy = policy) -> None:
            nonlocal steps
            steps += 1
            assert steps < 5000, f"does not terminate: {machine.history[-20:]}"
            if not machine.disturbed and not machine.process_killed:
                problem = problem_with(step, stack, policy)
                assert not problem, f"{problem}: {step}, {machine.history[-20:]}"
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
    services = tuple(replace(w, surge=w.surge.replace("new", "old")) for w in [*gone, *kept])
    return replace(policy, services=services, spares=False)


def check_a_change_of_mind(seed: int) -> None:
    """Run one history in which a killed run is followed by one that wants the old version back."""
    machine, policy, behaviour = draw(seed)
    if not machine.boxes:
        return
    outcome = roll(machine, policy, fickle=True)
    story = f"seed {seed} ({behaviour}), outcome {outcome.reason!r}, history {machine.history[-40:]}"
    if not machine.process_killed:
        return
    if outcome.failed:
        assert machine.disturbed, f"the old version, which is good, was not gone back to: {story}"
        return
    for wanted in policy.services:
        mine = [b for b in machine.boxes.values() if b.service == wanted.name]
        expected = set() if wanted.name in machine.added else {OLD}
        assert {b.identity for b in mine} == expected, f"{wanted.name} is not back: {story}"
        assert all(b.consuming for b in mine), f"{wanted.name}: told to fetch no tasks, and left like that: {story}"
    assert not machine.pins, f"a pin was left: {story}"
    stopped = [v for v in machine.violations if "in flight" in v]
    assert not stopped, f"{stopped}: {story}"


def check_spares(machine: SimulatedMachine, policy: Policy, outcome: Outcome, story: str) -> None:
    """Hold that what was left running is all that served before, that nothing starts it again, and that it goes when it has to."""
    left = [b for b in machine.boxes.values() if b.spare and b.state == "running"]
    if outcome.failed:
        return
    if policy.spares and machine.original and not machine.disturbed and not machine.process_killed:
        served = {b for b in machine.original if b in machine.boxes and machine.boxes[b].identity == OLD}
        web = {w.name for w in policy.services if w.kind == WEB and w.replicas}
        assert {b.id for b in left} == {b for b in served if machine.boxes[b].service in web}, (
            f"not left running: {story}"
        )
        assert not web or left or not machine.capacity["api"], f"nothing was left running: {story}"
    assert all(b.unkept for b in left), f"the engine would start again what users are not led to: {story}"


def check(seed: int) -> None:
    """Run one history and hold every invariant."""
    machine, policy, behaviour = draw(seed)
    had_old = bool(machine.boxes)
    outcome = roll(machine, policy)
    story = f"seed {seed} ({behaviour}), outcome {outcome.reason!r}, history {machine.history[-40:]}"
    if not machine.disturbed and not machine.process_killed:
        paused = outcome.failed and policy.failure_action == "pause"
        assert outcome.refused == paused, f"{'not ' * paused}left as it is: {story}"
    if not outcome.refused and behaviour not in ("crash-after-healthy", "dies-when-joined"):
        # What it left behind must go on being good.
        for _moment in range(30):
            machine.sleep(0.25)
    # A kill makes the process forget what it proved, so only an unbroken run can promise what it let in.
    promised = [v for v in machine.violations if not (machine.process_killed and "wrongly" in v)]
    assert not promised, f"{promised}: {story}"
    boxes = list(machine.boxes.values())
    for wanted in policy.services:
        mine = [b for b in boxes if b.service == wanted.name and not (b.spare and policy.spares)]
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
    # What the engine refuses to start on the way back, no order of steps can have running.
    staying = [w for w in policy.services if w.replicas and w.name not in (*machine.added, *machine.unstarted)]
    # Who lets it pause sees to the rest alone; and of what ends when nothing can be gone back to, the outcome tells.
    told = outcome.refused and (policy.failure_action == "pause" or "! late" in machine.history)
    goes_on = had_old and not told
    for wanted in staying if goes_on and behaviour in ("good", "slow", *AT_PORT) else ():
        assert [b for b in boxes if b.service == wanted.name and b.state == "running"], (
            f"{wanted.name} is gone: {story}"
        )
    if not outcome.refused:
        paused = [b.id for b in boxes if b.state == "running" and not b.consuming]
        assert not paused, f"told to fetch no tasks, and left like that: {paused}: {story}"
    spared = {b.service for b in boxes if b.spare}
    if not outcome.refused:
        assert not machine.pins.keys() - spared, f"a pin was left: {story}"
    check_spares(machine, policy, outcome, story)
    # Killed on an empty host, the next run finds nothing outdated to prove again; the role's verify does that.
    if not machine.disturbed and not (machine.process_killed and (machine.added or not had_old)):
        assert outcome.failed == (behaviour in BAD), f"{'failed' if outcome.failed else 'succeeded'}: {story}"
    machine.misfortune.left = 0
    machine.proxy_down_until = 0.0
    again = Roller(machine, policy).observe()
    if not outcome.failed and not machine.disturbed and behaviour in ("good", "slow"):
        assert isinstance(next_step.next_step(again, policy), steps.Done), (
            f"a second run would change something: {story}"
        )
