# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundreds of simulated histories of the lock: several controllers, crashes, zombies, moving clocks, reboots.

Whatever happens, an act is accepted only of the newest holder, numbers only grow, and whoever waits gets it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.clock import Moment, Process
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation import lease
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.lease import Lock, Operation, Take, Wait
from tests.property.seeded_histories import hold, in_parts, is_noticed

LEASE = 1800.0
WANTED = [Operation("update", "travel", "v2"), Operation("update", "travel", "v3"), Operation("rollback", "travel", "")]


@dataclass
class Job:
    """One run of a playbook: what it wants, the token it got, the module it runs now, whether it is frozen or dead."""

    wanted: Operation
    alone: bool
    token: str = ""
    module: Process | None = None
    frozen: bool = False
    dead: bool = False


@dataclass
class World:
    """A target with its clocks and its lock, and the jobs that want to change it."""

    rng: random.Random
    now: Moment = field(default=Moment(1_790_000_000.0, 5000.0, "boot-1"))
    lock: Lock = field(default=Lock())
    jobs: list[Job] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    pids: int = 100

    def alive(self, process: Process | None) -> bool:
        return process is not None and process.boot == self.now.boot and any(j.module == process for j in self.jobs)

    def spawn(self) -> Process:
        self.pids += 1
        return Process(self.pids % 7, self.pids, self.now.boot)

    def take(self, job: Job, over: bool = False) -> lease.Verdict:
        verdict = lease.may_take(self.lock, self.now, self.alive(self.lock.process), job.wanted, over)
        if isinstance(verdict, Take):
            run = lease.run_id("20261120T000000Z", job.wanted.playbook, f"{self.pids:08x}")
            self.pids += 1
            fresh = lease.taken(self.lock, verdict, run, job.wanted, "anna", LEASE, self.now)
            if job.alone:
                job.module = self.spawn()
                fresh = replace(fresh, process=job.module, alone=True)
            self.lock, job.token = fresh, fresh.token
            self.numbers.append(fresh.number)
        return verdict

    def step(self, job: Job) -> None:
        """What a living job does next."""
        if not job.token:
            self.take(job, over=self.rng.random() < 0.05)
            return
        if lease.objection(self.lock, job.token):
            # Fenced off: it ends, as a playbook does whose module fails.
            job.token, job.module, job.dead = "", None, True
            return
        if not job.module:
            if self.rng.random() < 0.2:
                self.lock, job.token = lease.released(self.lock, self.now), ""
                return
            job.module = self.spawn()
            self.lock = lease.renewed(self.lock, self.now, job.module)
            return
        # Its module acts; the flock makes the check and the act one.
        self.accepted.append(self.lock.number)
        self.lock = lease.renewed(self.lock, self.now, job.module)
        if self.rng.random() < 0.3:
            if job.alone:
                self.lock, job.token, job.module = lease.released(self.lock, self.now), "", None
            else:
                self.lock, job.module = lease.renewed(self.lock, self.now, None), None

    def misfortune(self) -> None:
        rng, job = self.rng, self.rng.choice(self.jobs)
        what = rng.choice(["crash", "controller", "freeze", "wake", "wall", "reboot", "pass", "pass"])
        if what == "crash":
            # kill -9 of everything of the job: nothing is given back.
            job.module, job.dead = None, True
        elif what == "controller":
            # The controller is gone, the module finishes by itself: it acts on, nobody follows it up.
            job.dead = job.module is None
        elif what == "freeze":
            job.frozen = True
        elif what == "wake":
            job.frozen = False
        elif what == "wall":
            self.now = replace(self.now, wall=max(0.0, self.now.wall + rng.uniform(-1e6, 1e6)))
        elif what == "reboot":
            gone = rng.uniform(5, 5000)
            # No boot has the name of another.
            self.pids += 1
            self.now = Moment(self.now.wall + gone, rng.uniform(1, 60), f"boot-{self.pids}")
            for each in self.jobs:
                each.module = None
        else:
            self.passes(rng.uniform(1, 2500))

    def passes(self, seconds: float) -> None:
        self.now = replace(self.now, wall=self.now.wall + seconds, uptime=self.now.uptime + seconds)


def history(seed: int) -> World:
    rng = random.Random(seed)
    world = World(rng)
    for _index in range(rng.randint(2, 5)):
        world.jobs.append(Job(rng.choice(WANTED), rng.random() < 0.2))
    for _index in range(rng.randint(10, 60)):
        if rng.random() < 0.25:
            world.misfortune()
        world.passes(rng.choice([0.1, 1.0, 30.0, 600.0]))
        for job in rng.sample(world.jobs, len(world.jobs)):
            if not job.dead and not job.frozen:
                world.step(job)
    return world


def check(seed: int) -> None:
    """Hold one history."""
    world = history(seed)
    # One who was replaced never acts again: accepted acts carry numbers that never fall.
    assert world.accepted == sorted(world.accepted), (seed, world.accepted)
    assert world.numbers == sorted(set(world.numbers)), (seed, world.numbers)
    assert len({j.token for j in world.jobs if j.token and not lease.objection(world.lock, j.token)}) <= 1, seed
    assert lease.from_json(lease.to_json(world.lock)) == world.lock, seed
    # Everybody who has it is dead or frozen from now on: a stranger gets it once the lease has passed, whatever
    # becomes of the wall clock, and the same operation at once where no process of it lives.
    if world.rng.random() < 0.5:
        world.now = Moment(world.rng.uniform(0, 3e9), 20.0, "the last boot")
    stranger = Job(Operation("hotfix", "travel", "x"), False)
    left = lease.remaining(world.lock, world.now)
    assert 0 <= left <= LEASE, seed
    if world.lock.held and not world.lock.alone and not world.alive(world.lock.process):
        again = lease.may_take(world.lock, world.now, False, world.lock.operation)
        assert isinstance(again, Take), seed
    verdict = world.take(stranger)
    if isinstance(verdict, Wait):
        assert not verdict.attach
        world.now = replace(world.now, wall=world.rng.uniform(0, 3e9))
        world.passes(LEASE + 0.001)
        assert isinstance(world.take(stranger), Take), seed


@in_parts
def test_histories(part: int) -> None:
    hold(check, part)


def test_the_histories_are_eventful() -> None:
    # Always the same: it is the generator that is judged.
    worlds = [history(seed) for seed in range(500)]
    assert sum(len(w.accepted) for w in worlds) > 2000
    assert sum(len(w.numbers) > 3 for w in worlds) > 200
    # Fenced off by others, with a token in hand.
    assert sum(any(j.dead and not j.token for j in w.jobs) for w in worlds) > 100


def any_token(_original: object) -> object:
    return lambda lock, token: ""


def same_number(original: object) -> object:
    def taken(lock: Lock, *arguments: object) -> Lock:
        return replace(original(lock, *arguments), number=max(lock.number, 1))  # type: ignore[operator]

    return taken


def forgetful(_original: object) -> object:
    return lambda lock, now: Lock(renewed=now)


def wall_only(_original: object) -> object:
    return lambda lock, now: max(0.0, lock.lease - (now.wall - lock.renewed.wall))


@pytest.mark.parametrize(
    ("name", "mutate"),
    [("objection", any_token), ("taken", same_number), ("released", forgetful), ("remaining", wall_only)],
)
def test_a_broken_rule_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str, mutate: object) -> None:
    monkeypatch.setattr(lease, name, mutate(getattr(lease, name)))  # type: ignore[operator]
    assert is_noticed(check)
