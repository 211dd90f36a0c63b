# SPDX-License-Identifier: GPL-3.0-or-later
"""Single decisions of a canary, and of old containers that go on running."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import SCHEDULER, WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import STOP_FIRST
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling import steps
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.next_step import next_step
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import (
    LONGEST_ROTATION,
    SPARE,
    SPENT,
    UNDO,
    Container,
    Policy,
    Proxy,
    Stack,
    Wanted,
    weights,
)
from tests.unit.rolling_containers import JOINED, LEFT, NEW, OLD, PROVEN, WANTED, decide

TRIED = replace(WANTED, canary_time=60)
WATCHED = replace(JOINED, joined_at=0)
KEPT = replace(LEFT, spare=SPARE)


def sparing(
    *containers: Container, now: float = 40, services: tuple[Wanted, ...] = (WANTED,), **stack: Any
) -> steps.Step:
    return next_step(Stack(now, containers, **stack), Policy(services, spares=True))


def test_the_first_new_one_joins_beside_all_old_ones() -> None:
    wanted = replace(TRIED, replicas=2)
    others = (
        replace(OLD, id="old2", number=3, address="10.0.0.3"),
        replace(PROVEN, id="new2", number=4, address="10.0.0.4"),
    )
    step = decide(OLD, others[0], PROVEN, others[1], wanted=wanted)
    assert step == steps.Join("api", ("10.0.0.1", "10.0.0.2", "10.0.0.3"), ("new",), ())


def test_its_share_is_how_often_it_is_in_the_rotation() -> None:
    step = decide(OLD, PROVEN, wanted=replace(TRIED, canary_share=25))
    assert step == steps.Join("api", ("10.0.0.1",) * 3 + ("10.0.0.2",), ("new",), ())


@pytest.mark.parametrize(
    "now, expected",
    [
        (79, steps.Prove(("new",), proxied=True, tried=True)),
        (80, steps.Leave("api", ("10.0.0.2",), ("old",))),
    ],
)
def test_the_old_one_leaves_when_the_trial_is_over(now: float, expected: steps.Step) -> None:
    assert decide(OLD, JOINED, wanted=TRIED, now=now) == expected


def test_a_run_that_takes_up_a_killed_one_tries_it_anew() -> None:
    taken_up = replace(JOINED, joined_at=None, inside_since=30)
    assert decide(OLD, taken_up, wanted=TRIED, now=89) == steps.Prove(("new",), proxied=True, tried=True)
    assert decide(OLD, taken_up, wanted=TRIED, now=90) == steps.Leave("api", ("10.0.0.2",), ("old",))


def test_the_time_in_which_it_proves_it_is_none_of_its_trial() -> None:
    taken_up = replace(JOINED, joined_at=None, inside_since=30, proof_since=35)
    wanted = replace(TRIED, prove_seconds=5)
    assert decide(OLD, taken_up, wanted=wanted, now=99) == steps.Prove(("new",), proxied=True, tried=True)
    assert decide(OLD, taken_up, wanted=wanted, now=100) == steps.Leave("api", ("10.0.0.2",), ("old",))


def test_where_nothing_serves_there_is_nobody_to_compare_with() -> None:
    assert decide(PROVEN, wanted=TRIED) == steps.Join("api", ("10.0.0.2",), ("new",), ())


def test_a_proxy_that_asks_for_names_knows_the_new_one_before_its_trial_begins() -> None:
    assert decide(OLD, JOINED, wanted=replace(TRIED, dns_seconds=10), now=89) == steps.Prove(
        ("new",), proxied=True, tried=True
    )


@given(st.integers(1, 20), st.integers(1, 20), st.integers(3, 50))
def test_a_share_is_met_as_near_as_a_rotation_can(new: int, old: int, share: int) -> None:
    each_new, each_old = weights(new, old, share)
    assert min(each_new, each_old) >= 1 and new * each_new + old * each_old <= max(LONGEST_ROTATION, new + old)
    if new == 1 and old <= 3:
        assert abs(each_new / (each_new + old * each_old) - share / 100) < 0.02


def test_without_a_share_all_have_as_much() -> None:
    assert weights(1, 3, 0) == (1, 1)


def test_what_nobody_is_led_to_goes_on_running() -> None:
    assert sparing(LEFT, WATCHED) == steps.Spare(("old",))


def test_it_has_ended_what_it_had_by_then() -> None:
    assert sparing(replace(LEFT, connections=2), WATCHED) == steps.Drain(("old",))


def test_it_is_done_with_then_and_what_keeps_users_away_stays() -> None:
    assert sparing(KEPT, WATCHED, proxy=Proxy(pinned=("api",))) == steps.Done()
    # Gone by itself, as after a reboot.
    gone = replace(KEPT, state="exited")
    assert sparing(gone, WATCHED, proxy=Proxy(pinned=("api",))) == steps.Remove(("old",))


def test_a_second_run_changes_nothing_and_one_without_it_takes_them_away() -> None:
    fresh = Container("new", "shop-api-2", "api", "image-2", "hash-2", number=2, address="10.0.0.2", in_rotation=True)
    assert sparing(KEPT, fresh) == steps.Done()
    assert next_step(Stack(40, (KEPT, replace(WATCHED))), Policy((WANTED,))) == steps.Stop(("old",))


def test_nothing_goes_back_to_them_by_itself_when_they_are_to_go() -> None:
    broken = replace(WATCHED, fault="answered 500")
    step = next_step(Stack(40, (KEPT, broken)), Policy((WANTED,)))
    assert isinstance(step, steps.Refuse) and "answered 500" in step.reason
    assert isinstance(next_step(Stack(40, (LEFT, broken)), Policy((WANTED,))), steps.Undo)


def test_what_this_run_has_not_replaced_is_not_gone_back_to_either() -> None:
    worker = Wanted("celery", WORKER, "image-2", "hash-2", monitor=0)
    newer = Container("w2", "shop-celery-2", "celery", "image-2", "hash-2", consumes=False, tasks=0, created_here=True)
    stack = Stack(40, (KEPT, WATCHED, newer), goal=UNDO, cause="x")
    assert next_step(stack, Policy((worker, WANTED))) == steps.Stop(("w2",))
    made = replace(WATCHED, created_here=True)
    assert next_step(Stack(40, (KEPT, made), goal=UNDO, cause="x"), Policy((WANTED,))) == steps.Join(
        "api", ("10.0.0.1",), ("old",), ("new",)
    )


def test_what_was_kept_beside_something_else_is_an_old_one_as_any_other() -> None:
    older = replace(KEPT, id="older", spare=SPENT)
    assert sparing(older, LEFT, WATCHED) == steps.Spare(("old",))
    assert sparing(older, KEPT, WATCHED) == steps.Stop(("older",))


def test_what_crashes_is_not_kept() -> None:
    assert sparing(replace(LEFT, crashes=True), WATCHED) == steps.Stop(("old",))


def test_workers_and_schedulers_are_replaced_as_ever() -> None:
    worker = Wanted("celery", WORKER, "image-2", "hash-2", monitor=0)
    beat = Wanted("celery-beat", SCHEDULER, "image-2", "hash-2", order=STOP_FIRST, monitor=0)
    quiet = Container("w1", "shop-celery-1", "celery", "image-1", "hash-1", consumes=False, tasks=0)
    newer = replace(quiet, id="w2", image="image-2", config_hash="hash-2", consumes=True, ready_since=1, tasks=None)
    started = Container("b2", "shop-beat-2", "celery-beat", "image-2", "hash-2", ready_since=1)
    services = (worker, beat, WANTED)
    assert sparing(quiet, newer, started, LEFT, WATCHED, services=services) == steps.Spare(("old",))
    assert sparing(quiet, newer, started, KEPT, WATCHED, services=services) == steps.Stop(("w1",))


def test_going_back_leads_to_what_was_kept_before_anything_else_is_done() -> None:
    beat = Wanted("celery-beat", SCHEDULER, "image-2", "hash-2", order=STOP_FIRST, monitor=0)
    old_beat = Container("b1", "shop-beat-1", "celery-beat", "image-1", "hash-1")
    kept = replace(NEW, spare=SPENT, unkept=True)

    def back(kept: Container, now: float = 40) -> steps.Step:
        return next_step(Stack(now, (old_beat, OLD, kept)), Policy((beat, WANTED), backward=True))

    assert back(kept) == steps.AwaitReady(("new",))
    assert back(replace(kept, ready_since=39)) == steps.Prove(("new",))
    # One answer, not five seconds of them: it has served until a moment ago.
    proven = replace(kept, ready_since=39, proof_since=40)
    assert back(proven) == steps.Keep(("new",))
    assert back(replace(proven, unkept=False)) == steps.Join("api", ("10.0.0.2",), ("new",), ("old",))


def test_gone_back_to_it_comes_back_with_the_machine_again() -> None:
    kept = replace(LEFT, spare=SPARE, unkept=True)
    made = replace(WATCHED, created_here=True)
    step = next_step(Stack(40, (kept, made), goal=UNDO, cause="x"), Policy((WANTED,), spares=True))
    assert step == steps.Keep(("old",))
