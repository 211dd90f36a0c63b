# SPDX-License-Identifier: GPL-3.0-or-later
"""Single decisions of a roll that failed, on its way to what served before."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import STOP_FIRST
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling import steps
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import UNDO, Container, Proxy, Wanted
from tests.unit.rolling_containers import JOINED, LEFT, NEW, OLD, PROVEN, WANTED, decide

TWO = replace(WANTED, replicas=2)
HELD = replace(WANTED, surge="hash-2-plain")
MADE = replace(PROVEN, created_here=True)
#: What was as wanted before the call.
THERE = replace(
    JOINED, id="there", awaited_since=None, ready_since=None, proof_since=None, joined_at=None, address="10.0.0.5"
)
STALE = Proxy(stale=("api",))
ENDED = replace(LEFT, state="exited", left_at=None)


def back(*containers: Container, wanted: Wanted = WANTED, now: float = 40, proxy: Proxy = Proxy()) -> steps.Step:  # noqa: B008
    return decide(*containers, now=now, wanted=wanted, proxy=proxy, goal=UNDO, cause="x")


DONE = steps.Done(failed=True, reason="x")


# -- a service that was as wanted before the call, or that there was not ------------------------------------


def test_only_what_this_run_has_added_goes() -> None:
    assert back(THERE, MADE, wanted=TWO) == steps.Stop(("new",))
    assert back(THERE, replace(MADE, state="exited"), wanted=TWO) == steps.Remove(("new",))
    assert back(THERE, wanted=TWO) == DONE
    assert back(MADE) == steps.Stop(("new",)), "there was nothing before it"


def test_nobody_is_led_to_it_any_more_first() -> None:
    assert back(THERE, replace(MADE, in_rotation=True), wanted=TWO) == steps.Leave("api", ("10.0.0.5",), ("new",))
    assert back(THERE, MADE, wanted=TWO, proxy=STALE) == steps.Leave("api", ("10.0.0.5",), ())
    assert back(replace(MADE, in_rotation=True)) == steps.Stop(("new",)), "there is nobody to lead them to"


def test_of_what_was_there_only_what_was_led_to_is_led_to() -> None:
    unproven = replace(THERE, id="b", address="10.0.0.6", in_rotation=False)
    made = replace(MADE, in_rotation=True)
    three = replace(WANTED, replicas=3)
    assert back(THERE, unproven, made, wanted=three) == steps.Leave("api", ("10.0.0.5",), ("new",))


def test_what_was_there_beyond_what_is_wanted_stays_for_a_good_roll_to_end() -> None:
    assert back(THERE, replace(THERE, id="more", number=9, address="10.0.0.6")) == DONE


def test_a_worker_that_was_there_fetches_tasks_again() -> None:
    worker = replace(TWO, kind=WORKER)
    paused = replace(THERE, in_rotation=False, consumes=False)
    assert back(paused, replace(MADE, consumes=False), wanted=worker) == steps.Resume(("there",))
    assert back(replace(paused, consumes=True), replace(MADE, consumes=False), wanted=worker) == steps.Stop(("new",))


# -- the old come back --------------------------------------------------------------------------------------


def test_all_that_this_run_has_stopped_comes_back() -> None:
    mine = [replace(ENDED, id=f"o{n}", number=n, ended_here=True) for n in (1, 2, 3)]
    before = replace(ENDED, id="before", number=9)
    assert back(*mine, before, JOINED) == steps.Start(restart=("o1", "o2", "o3")), "three ran, one is wanted now"
    up = [replace(o, state="running", in_rotation=True) for o in mine]
    assert back(*up, before, replace(JOINED, in_rotation=False)) == steps.Stop(("new",)), (
        "what had ended before stays so"
    )


def test_after_a_kill_as_many_come_back_as_are_wanted() -> None:
    ended = [replace(ENDED, id=f"o{n}", number=n) for n in (1, 2, 3)]
    assert back(*ended, JOINED, wanted=TWO) == steps.Start(restart=("o1", "o2"))
    assert back(replace(ended[0], state="running"), *ended[1:], JOINED, wanted=TWO) == steps.Start(restart=("o2",))
    up = [replace(o, state="running") for o in ended[:2]]
    assert back(*up, ended[2], replace(JOINED, in_rotation=False), wanted=TWO) == steps.Join(
        "api", ("10.0.0.1", "10.0.0.1"), ("o1", "o2")
    )
    assert back(*ended, wanted=replace(WANTED, replicas=0)) == steps.Start(restart=("o1", "o2", "o3")), "as it was"


def test_what_is_stopped_first_forward_is_so_on_the_way_back() -> None:
    first = replace(WANTED, kind=WORKER, order=STOP_FIRST)
    assert back(ENDED, replace(MADE, consumes=True), wanted=first) == steps.Stop(("new",))
    assert back(ENDED, wanted=first) == steps.Start(restart=("old",))


def test_the_old_are_led_to_whatever_the_proxy_has_meanwhile() -> None:
    away = replace(OLD, id="o2", address="10.0.0.3", in_rotation=False)
    left = replace(JOINED, in_rotation=False, left_at=30)
    assert back(OLD, left, proxy=STALE) == steps.Join("api", ("10.0.0.1",), ())
    assert back(OLD, away, left, wanted=TWO) == steps.Join("api", ("10.0.0.1", "10.0.0.3"), ("o2",))


def test_behind_a_proxy_that_asks_again_both_are_led_to_until_it_knows() -> None:
    asking = replace(WANTED, dns_seconds=10)
    old = replace(OLD, inside_since=35)
    assert back(replace(OLD, in_rotation=False), JOINED, wanted=asking) == steps.Join(
        "api", ("10.0.0.1", "10.0.0.2"), ("old",)
    )
    assert back(old, JOINED, wanted=asking) == steps.AwaitDns(("api",))
    assert back(old, JOINED, wanted=asking, now=45) == steps.Join("api", ("10.0.0.1",), (), ("new",))
    left = replace(JOINED, in_rotation=False, left_at=36)
    assert back(old, left, wanted=asking, proxy=STALE) == steps.Join("api", ("10.0.0.1",), ()), "nobody has to leave"


# -- they do not come back ----------------------------------------------------------------------------------


def test_where_they_do_not_whoever_runs_is_led_to_and_it_is_said_why() -> None:
    serving = replace(JOINED, awaited_since=None)
    paused = replace(OLD, in_rotation=False, awaited_since=40 - WANTED.ready_timeout, last_answer="answered 502")
    said = "api: the old version did not come back either: shop-api-1 "
    assert back(paused, serving) == steps.Refuse(f"{said}answered 502")
    assert back(replace(paused, answering=True), serving) == steps.AwaitReady(("old",))
    ended = replace(paused, state="exited")
    assert back(replace(ended, fault="ended with exit code 1"), serving) == steps.Refuse(
        f"{said}ended with exit code 1"
    )
    assert back(ended, serving) == steps.Refuse(f"{said}ended")
    assert back(ended, serving, proxy=STALE) == steps.Join("api", ("10.0.0.2",), ())
    assert back(ended, proxy=STALE) == steps.Refuse(f"{said}ended"), "there is nobody to lead to"


def test_nobody_is_led_to_a_worker_or_to_what_has_ended() -> None:
    ended = replace(ENDED, awaited_since=40 - WANTED.ready_timeout)
    gone = replace(JOINED, state="exited", in_rotation=False)
    said = "api: the old version did not come back either: shop-api-1 ended"
    assert back(ended, gone) == steps.Refuse(said)
    worker = replace(WANTED, kind=WORKER)
    assert back(ended, replace(JOINED, in_rotation=False), wanted=worker) == steps.Refuse(said)


def test_one_too_many_that_is_not_ready_says_nothing_of_the_old() -> None:
    late = replace(NEW, id="late", number=9, awaited_since=40 - WANTED.ready_timeout)
    assert back(ENDED, JOINED, late) == steps.Start(restart=("old",))


# -- over a surge container ----------------------------------------------------------------------------------------

PROPER = replace(JOINED, id="proper", number=3, address="10.0.0.3")
HELPER = replace(
    LEFT, id="helper", image="image-2", config_hash="hash-2-plain", number=2, awaited_since=None, ready_since=1
)


def test_without_a_stand_in_that_serves_what_holds_the_port_ends() -> None:
    assert back(ENDED, PROPER, wanted=HELD) == steps.Stop(("proper",)), "there is none"
    late = replace(HELPER, ready_since=None, awaited_since=40 - WANTED.ready_timeout)
    assert back(ENDED, late, PROPER, wanted=HELD) == steps.Stop(("proper",))
    assert back(ENDED, replace(late, awaited_since=39), PROPER, wanted=HELD) == steps.AwaitReady(("helper",))
    assert back(ENDED, replace(HELPER, fault="answered 500"), PROPER, wanted=HELD) == steps.Stop(("proper",))
    unvisited = replace(PROPER, in_rotation=False, left_at=None)
    assert back(ENDED, HELPER, unvisited, wanted=HELD) == steps.Stop(("proper",)), "nobody has to be led away"


def test_where_nothing_holds_the_port_the_old_starts_at_once() -> None:
    assert back(ENDED, HELPER, wanted=HELD) == steps.Start(restart=("old",))
    assert back(ENDED, NEW, wanted=WANTED) == steps.Start(restart=("old",))
