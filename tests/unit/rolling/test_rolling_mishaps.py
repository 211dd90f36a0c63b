# SPDX-License-Identifier: GPL-3.0-or-later
"""Single decisions of a roll that meets what a killed run, a crash or somebody else's reload has left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import OTHER, WEB, WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import STOP_FIRST
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling import steps
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.next_step import next_step
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import (
    Container,
    Policy,
    Proxy,
    Stack,
    Wanted,
)
from tests.unit.rolling_containers import JOINED, LEFT, NEW, OLD, PROVEN, WANTED, decide

EARLY = replace(NEW, in_rotation=True)
OLD2 = replace(OLD, id="old2", number=3, address="10.0.0.3")
#: As behind a resolver that asks for names again by itself.
ASKING = replace(WANTED, dns_seconds=10)


# -- somebody unproven has users ---------------------------------------------------------------------------


def test_whoever_is_unproven_leaves_where_enough_others_serve() -> None:
    assert decide(OLD, EARLY) == steps.Leave("api", ("10.0.0.1",), ("new",))
    assert decide(OLD, OLD2, EARLY) == steps.Leave("api", ("10.0.0.1", "10.0.0.3"), ("new",))
    away = replace(OLD2, in_rotation=False)
    assert decide(OLD, away, EARLY) == steps.Leave("api", ("10.0.0.1", "10.0.0.3"), ("new",)), (
        "and who was sound comes back"
    )


def test_it_stays_where_too_few_would_be_left() -> None:
    two = replace(WANTED, replicas=2)
    new2 = replace(EARLY, id="new2", number=4, address="10.0.0.4")
    assert decide(OLD, EARLY, new2, wanted=two) == steps.AwaitReady(("new", "new2"))
    assert decide(replace(OLD, in_rotation=False), EARLY) == steps.AwaitReady(("new",)), "nobody else has users"
    assert decide(replace(OLD, crashes=True), EARLY) == steps.AwaitReady(("new",))


def test_nobody_leaves_before_the_proxy_knows_who_stays() -> None:
    assert decide(replace(OLD, inside_since=15), EARLY, wanted=ASKING) == steps.AwaitDns(("api",))
    known = replace(OLD, inside_since=8)
    assert decide(known, EARLY, wanted=ASKING) == steps.Leave("api", ("10.0.0.1",), ("new",))
    assert decide(known, EARLY, wanted=ASKING, proxy=Proxy(draining_workers=1)) == steps.AwaitDns(("api",))
    assert decide(replace(known, inside_since=None), EARLY, wanted=ASKING) == steps.AwaitDns(("api",))


def test_one_too_many_of_the_wanted_version_keeps_no_unproven_one_out() -> None:
    spare = replace(EARLY, id="spare", number=5, address="10.0.0.5")
    assert decide(EARLY, spare) == steps.AwaitReady(("new",))


# -- nobody has users ---------------------------------------------------------------------------------------


def test_the_old_are_led_to_again_where_nobody_is() -> None:
    lost, lost2 = replace(OLD, in_rotation=False), replace(OLD2, in_rotation=False)
    join = steps.Join("api", ("10.0.0.1", "10.0.0.3"), ("old", "old2"))
    assert decide(lost, lost2, NEW) == join
    assert decide(lost, NEW, wanted=replace(WANTED, replicas=1)) == steps.Join("api", ("10.0.0.1",), ("old",))
    crashing = replace(lost2, crashes=True)
    assert decide(lost, crashing, NEW) == steps.Join("api", ("10.0.0.1",), ("old",)), (
        "not one that crashes, if another does not"
    )
    nowhere = replace(crashing, state="restarting", address="")
    assert decide(replace(lost, crashes=True), nowhere, NEW) == steps.Join("api", ("10.0.0.1",), ("old",))
    ended = replace(crashing, state="exited")
    assert decide(replace(lost, crashes=True), ended, NEW) == steps.Join("api", ("10.0.0.1",), ("old",))


def test_they_are_not_where_the_new_are_proven_or_the_old_end_first() -> None:
    lost = replace(OLD, in_rotation=False)
    assert decide(lost, PROVEN) == steps.Join("api", ("10.0.0.2",), ("new",))
    assert decide(lost, NEW, wanted=replace(WANTED, order=STOP_FIRST)) == steps.Stop(("old",))
    assert decide(OLD, replace(OLD2, in_rotation=False), NEW) == steps.AwaitReady(("new",)), "one of them has users"


def test_one_too_many_of_the_wanted_version_is_not_led_to_in_place_of_nobody() -> None:
    unproven = replace(NEW, ready_since=11)
    spare = replace(NEW, id="spare", number=5, address="10.0.0.5")
    assert decide(unproven, spare) == steps.Prove(("new",))


def test_what_crashes_has_no_users_a_moment_longer_than_needed() -> None:
    crashing = replace(OLD2, crashes=True)
    two = replace(WANTED, replicas=2, parallelism=1)
    new2 = replace(PROVEN, id="new2", number=4, address="10.0.0.4")
    assert decide(OLD, crashing, PROVEN, new2, wanted=two) == steps.Join(
        "api", ("10.0.0.1", "10.0.0.2"), ("new",), ("old2",)
    )
    known = replace(JOINED, inside_since=20)
    leave = steps.Leave("api", ("10.0.0.2",), ("old2",))
    assert decide(crashing, known, now=21, wanted=ASKING) == leave, "nothing is gained by an overlap with it"
    assert decide(crashing, PROVEN, wanted=ASKING) == steps.Join("api", ("10.0.0.2",), ("new",), ("old2",))


# -- faults -------------------------------------------------------------------------------------------------


def test_what_this_call_does_not_change_is_not_its_fault() -> None:
    celery = Wanted("celery", WORKER, "image-2", "hash-2")
    there = Container("w", "shop-celery-1", "celery", "image-2", "hash-2", ready_since=1, consumes=True, fault="ended")
    policy = Policy((celery, WANTED))
    assert next_step(Stack(18, (there, OLD, NEW)), policy) == steps.AwaitReady(("new",))


def test_nothing_is_said_of_an_answer_that_there_was_not() -> None:
    assert decide(OLD, NEW, now=70) == steps.Undo("api: shop-api-2 never became ready in 60 s")


# -- in which steps the proxy changes over ------------------------------------------------------------------


def test_who_starts_is_kept_out_by_holding_those_who_have_users() -> None:
    two = replace(WANTED, replicas=2)
    step = decide(replace(EARLY, awaited_since=None, ready_since=1, proof_since=1), LEFT, wanted=two)
    assert isinstance(step, steps.Start)
    assert step.hold == (("api", ("10.0.0.2",)),), "one that was taken out of rotation does not come back by it"
    worker = replace(OLD, in_rotation=False)
    assert decide(worker, wanted=replace(WANTED, kind=WORKER)) == steps.Start((("api", 1),), unkept=("api",))


def test_between_two_batches_is_the_delay() -> None:
    three = replace(WANTED, replicas=3, parallelism=1, delay=4)
    old = [replace(OLD, id=f"o{n}", number=n, address=f"10.0.1.{n}") for n in (1, 2, 3)]
    new = [replace(PROVEN, id=f"n{n}", number=n + 3, address=f"10.0.2.{n}") for n in (1, 2, 3)]
    joined = replace(new[0], in_rotation=True, joined_at=20)
    left = replace(old[2], in_rotation=False, left_at=20)
    seen = (*old[:2], left, joined, *new[1:])
    assert decide(*seen, now=23.9, wanted=three) == steps.Prove(("n1",), proxied=True)
    assert decide(*seen, now=24, wanted=three) == steps.Join(
        "api", ("10.0.1.1", "10.0.2.1", "10.0.2.2"), ("n2",), ("o2",)
    ), "three have users, never more and never fewer"
    again = replace(joined, joined_at=None, inside_since=22)
    assert isinstance(decide(*old[:2], left, again, *new[1:], now=23, wanted=three), steps.Join), (
        "joined by a run before"
    )


def test_whom_a_killed_run_let_in_beside_the_old_takes_their_place_at_once() -> None:
    assert decide(OLD, JOINED, now=22) == steps.Leave("api", ("10.0.0.2",), ("old",))


def test_a_proxy_that_asks_again_knows_both_for_as_long_as_it_may_not_know_the_new() -> None:
    known = replace(JOINED, inside_since=20)
    watched = 20 + 10 + WANTED.monitor
    assert decide(OLD, known, now=watched - 0.1, wanted=ASKING) == steps.Prove(("new",), proxied=True)
    draining = Proxy(draining_workers=1)
    assert decide(OLD, known, now=watched, wanted=ASKING, proxy=draining) == steps.Prove(("new",), proxied=True)
    late = replace(known, inside_since=watched - 9)
    assert decide(OLD, late, now=watched, wanted=ASKING) == steps.Prove(("new",), proxied=True)
    assert decide(OLD, known, now=watched, wanted=ASKING) == steps.Leave("api", ("10.0.0.2",), ("old",))


def test_what_leads_requests_goes_once_the_proxy_has_forgotten_who_is_gone() -> None:
    done = replace(JOINED, awaited_since=None)
    second = Wanted("admin", WEB, "image-2", "hash-2")
    other = replace(done, id="a", service="admin", address="10.0.0.9")

    def settled(**proxy: Any) -> steps.Step:
        return next_step(Stack(99, (done, other), Proxy(**proxy)), Policy((WANTED, second)))

    assert settled(pinned=("admin", "api"), cooling=("admin", "api")) == steps.AwaitDns(("api", "admin")), (
        "at once for all"
    )
    assert settled(pinned=("admin", "api"), cooling=("admin",)) == steps.AwaitDns(("admin",))
    assert settled(pinned=("admin", "api")) == steps.Unpin("api")
    assert settled(pinned=("admin",)) == steps.Unpin("admin")
    assert settled(pinned=("flower",), cooling=("flower",)) == steps.Done(), "of no service of this call"


def test_one_after_the_other_what_another_depends_on_comes_first() -> None:
    search = Wanted("search", OTHER, "image-2", "hash-2")
    needing = Policy((replace(WANTED, after=("search",)), search), together=False)
    assert next_step(Stack(18, (OLD,)), needing) == steps.Start((("search", 1),))
