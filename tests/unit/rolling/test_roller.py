# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll learns on its way, on a machine that says just what a test wants to be seen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.answer import Answer
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import WEB, WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.roller import Roller, Seen, StepFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import Container, Policy, Proxy, Wanted
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.steps import Start

WANTED = Wanted("api", WEB, "image-2", "hash-2", replicas=2, prove_seconds=6, monitor=0, drain_timeout=4)
OLD = Container("old", "shop-api-1", "api", "image-1", "hash-1", address="10.0.0.1", in_rotation=True)
#: Started again in place, with the same address: nginx leads to it, and a look cannot tell.
UNKNOWN = replace(OLD, id="unknown", address="10.0.0.2", number=2, in_rotation=False, connections=1)


class Machine:
    """Containers, a clock, and when each of them was stopped."""

    def __init__(self, *containers: Container) -> None:
        self.containers = {c.id: c for c in containers}
        self.clock = 100.0
        self.joined = 0.0
        self.stopped: dict[str, float] = {}
        self.idle: set[str] = set()

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def look(self) -> Seen:
        return Seen(tuple(self.containers.values()), Proxy())

    def start(self, step: Start) -> None:
        for name, count in step.create:
            for number in range(3, 3 + count):
                self.containers[f"new{number}"] = Container(
                    f"new{number}",
                    f"shop-{name}-{number}",
                    name,
                    "image-2",
                    "hash-2",
                    number=number,
                    address=f"10.0.0.{number}",
                    unkept=name in step.unkept,
                )

    def keep(self, ids: Sequence[str]) -> None:
        self.containers.update({i: replace(self.containers[i], unkept=False) for i in ids})

    def ready(self, ids: Sequence[str]) -> dict[str, Answer]:
        return dict.fromkeys(ids, Answer(True))

    def prove(self, ids: Sequence[str], proxied: bool) -> dict[str, Answer]:
        return dict.fromkeys(ids, Answer(True))

    def hold(self, service: str, addresses: Sequence[str]) -> None:
        pass

    def rotate(self, service: str, addresses: Sequence[str]) -> None:
        self.joined = self.clock
        self.containers = {i: replace(c, in_rotation=c.address in addresses) for i, c in self.containers.items()}

    def stop(self, ids: Sequence[str], idle: Collection[str] = ()) -> None:
        for container_id in ids:
            self.stopped[container_id] = self.clock
            self.idle.update(idle)
            self.containers[container_id] = replace(self.containers[container_id], state="exited", connections=0)

    def remove(self, ids: Sequence[str]) -> None:
        for container_id in ids:
            del self.containers[container_id]

    def unpin(self, service: str) -> None:
        pass

    await_dns = unpin

    def quiesce(self, ids: Sequence[str]) -> list[str]:
        return list(ids)

    def resume(self, ids: Sequence[str]) -> None:
        pass

    def tasks(self, ids: Sequence[str]) -> dict[str, int | None]:
        return dict.fromkeys(ids)


def test_the_time_to_drain_begins_with_the_switch_for_whoever_was_thought_to_be_away_before() -> None:
    machine = Machine(OLD, UNKNOWN)
    outcome = Roller(machine, Policy((WANTED,))).run()
    assert not outcome.failed
    assert machine.joined >= 106 and machine.stopped["unknown"] >= machine.joined + WANTED.drain_timeout


@pytest.mark.parametrize("connections, idle", [(0, {"old"}), (1, set())])
def test_a_stop_says_of_whom_nobody_waits_for_an_answer(connections: int, idle: set[str]) -> None:
    machine = Machine(replace(OLD, connections=connections))
    assert not Roller(machine, Policy((replace(WANTED, replicas=1),))).run().failed
    assert machine.idle == idle and "old" in machine.stopped


class Busy(Machine):
    """A worker that has so many tasks left whenever it is asked, and fetches no more once it is told so."""

    left = 0

    def quiesce(self, ids: Sequence[str]) -> list[str]:
        self.containers.update({i: replace(self.containers[i], consumes=False) for i in ids})
        return []

    def tasks(self, ids: Sequence[str]) -> dict[str, int | None]:
        return dict.fromkeys(ids, self.left)


@pytest.mark.parametrize("left, idle", [(0, {"old"}), (2, set())])
def test_a_stop_says_which_worker_has_no_task_left(left: int, idle: set[str]) -> None:
    machine = Busy(replace(OLD, in_rotation=False, consumes=True))
    machine.left = left
    outcome = Roller(machine, Policy((replace(WANTED, kind=WORKER, replicas=1),))).run()
    assert not outcome.failed and outcome.cut_tasks == left
    assert machine.idle == idle and "old" in machine.stopped


class Ending(Machine):
    """What is to stay was told to end by a run that was killed, and does so while it is asked."""

    def ready(self, ids: Sequence[str]) -> dict[str, Answer]:
        if "half" in ids:
            self.containers["half"] = replace(self.containers["half"], state="exited", address="")
        return {i: Answer(i != "half") for i in ids}


def test_what_a_killed_run_was_stopping_is_replaced_by_another_when_it_is_wanted_after_all() -> None:
    half = Container("half", "shop-api-2", "api", "image-2", "hash-2", number=2, address="10.0.0.2")
    machine = Ending(OLD, half)
    outcome = Roller(machine, Policy((replace(WANTED, replicas=1),))).run()
    assert not outcome.failed, outcome.reason
    assert [c.name for c in machine.containers.values()] == ["shop-api-3"]


class Refusing(Machine):
    """The new version is never right, and the engine refuses to stop it so many times."""

    def __init__(self, refusals: int, *containers: Container) -> None:
        super().__init__(*containers)
        self.refusals = refusals

    def prove(self, ids: Sequence[str], proxied: bool) -> dict[str, Answer]:
        return dict.fromkeys(ids, Answer(False, "GET / answered 500"))

    def stop(self, ids: Sequence[str], idle: Collection[str] = ()) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StepFailed("the engine said no")
        super().stop(ids, idle)


@pytest.mark.parametrize("refusals, left", [(2, ["old"]), (3, ["old", "new3"])])
def test_one_failure_of_the_engine_does_not_leave_the_way_back_half_done(refusals: int, left: list[str]) -> None:
    machine = Refusing(refusals, OLD)
    outcome = Roller(machine, Policy((replace(WANTED, replicas=1, prove_seconds=0),))).run()
    assert outcome.failed and "GET / answered 500" in outcome.reason
    assert list(machine.containers) == left
    assert outcome.refused == ("undoing it failed: the engine said no" in outcome.reason) == (refusals == 3)


class Slow(Machine):
    """Each round of questions takes so long that the time to get ready is over when the first right answer comes."""

    def __init__(self, *containers: Container, answers: Sequence[bool]) -> None:
        super().__init__(*containers)
        self.answers = list(answers)

    def ready(self, ids: Sequence[str]) -> dict[str, Answer]:
        self.clock += WANTED.ready_timeout * 0.6
        ok = self.answers.pop(0)
        return dict.fromkeys(ids, Answer(ok, f"GET /health/ answered {200 if ok else 500}"))


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([False, True, True], ""),
        ([False, False], "api: shop-api-3 never became ready in 60 s: GET /health/ answered 500"),
        ([False, True, False], "api: shop-api-3 never became ready in 60 s: GET /health/ answered 500"),
    ],
)
def test_answers_of_which_several_are_wanted_may_come_late(answers: list[bool], reason: str) -> None:
    wanted = replace(WANTED, replicas=1, prove_seconds=0)
    machine = Slow(replace(OLD, connections=0), answers=answers)
    assert Roller(machine, Policy((wanted,))).run().reason == reason
    assert list(machine.containers) == (["old"] if reason else ["new3"])
