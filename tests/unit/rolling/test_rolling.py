# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single decisions of a roll, each from one stack: what the histories show as a whole, readable one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import OTHER, SCHEDULER, WEB, WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import STOP_FIRST
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling import steps
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.next_step import next_step
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import (
    UNDO,
    Container,
    Policy,
    Proxy,
    Stack,
    Wanted,
    is_crashing,
)
from tests.unit.rolling_containers import JOINED, LEFT, NEW, OLD, PROVEN, WANTED, decide


def test_what_is_as_wanted_is_left_alone() -> None:
    assert decide(replace(NEW, in_rotation=True, awaited_since=None)) == steps.Done()


def test_the_new_is_started_beside_the_old_with_the_rotation_held() -> None:
    assert decide(OLD) == steps.Start(create=(("api", 1),), hold=(("api", ("10.0.0.1",)),), unkept=("api",))


def test_a_leftover_that_never_started_is_removed_first() -> None:
    assert decide(OLD, replace(NEW, state="created", awaited_since=None)) == steps.Remove(("new",))


def test_ready_then_proven_then_joined() -> None:
    assert decide(OLD, NEW) == steps.AwaitReady(("new",))
    assert decide(OLD, replace(NEW, ready_since=11)) == steps.Prove(("new",))
    assert decide(OLD, PROVEN, now=16) == steps.Prove(("new",)), "five seconds of proof are not over"
    assert decide(OLD, PROVEN, now=17) == steps.Join("api", ("10.0.0.2",), ("new",), ("old",))


def test_what_a_reboot_would_not_bring_back_does_so_before_it_has_users() -> None:
    unkept = replace(PROVEN, unkept=True)
    assert decide(OLD, unkept, now=16) == steps.Prove(("new",))
    assert decide(OLD, unkept, now=17) == steps.Keep(("new",))
    worker = replace(WANTED, kind=WORKER)
    alone = replace(unkept, in_rotation=False)
    assert decide(alone, wanted=worker, now=17) == steps.Keep(("new",)), "whatever became of the old one"
    assert decide(replace(alone, ready_since=None), wanted=worker) == steps.AwaitReady(("new",))


def test_where_nobody_else_serves_the_engine_starts_the_new_one_again_from_the_beginning() -> None:
    gone = replace(OLD, state="exited", in_rotation=False)
    for step in (decide(), decide(gone), decide(gone, wanted=replace(WANTED, order=STOP_FIRST))):
        assert isinstance(step, steps.Start) and not step.unkept


def test_two_replicas_one_at_a_time_never_fall_below_two() -> None:
    wanted = replace(WANTED, replicas=2, parallelism=1)
    old2 = replace(OLD, id="old2", address="10.0.0.3", number=3)
    new2 = replace(PROVEN, id="new2", address="10.0.0.4", number=4)
    step = decide(OLD, old2, PROVEN, new2, wanted=wanted)
    assert isinstance(step, steps.Join)
    assert len(step.rotation) == 2
    assert len(step.joining) == len(step.leaving) == 1


def test_the_old_is_watched_over_then_drained_then_stopped_then_removed() -> None:
    assert decide(LEFT, JOINED, now=22) == steps.Prove(("new",), proxied=True)
    assert decide(replace(LEFT, connections=1), JOINED, now=26) == steps.Drain(("old",))
    assert decide(LEFT, JOINED, now=26, proxy=Proxy(draining_workers=1)) == steps.Drain(("old",))
    assert decide(LEFT, JOINED, now=26) == steps.Stop(("old",))
    assert decide(replace(LEFT, state="exited"), JOINED, now=26) == steps.Remove(("old",))
    assert decide(JOINED, now=26, proxy=Proxy(pinned=("api",))) == steps.Unpin("api")


def test_what_never_drains_is_cut_or_waited_for_as_asked() -> None:
    busy = replace(LEFT, connections=3)
    assert decide(busy, JOINED, now=81) == steps.Stop(("old",))
    assert decide(busy, JOINED, now=9999, wanted=replace(WANTED, drain_policy="wait")) == steps.Drain(("old",))


def test_a_fault_leads_back_and_says_why() -> None:
    step = decide(OLD, replace(NEW, fault="ended with exit code 3"))
    assert step == steps.Undo("api: shop-api-2 ended with exit code 3")
    late = decide(OLD, replace(NEW, last_answer="GET /health/ answered 500"), now=70)
    assert late == steps.Undo("api: shop-api-2 never became ready in 60 s: GET /health/ answered 500")


def test_one_that_gives_the_right_answers_is_not_given_up_for_having_given_too_few() -> None:
    answering = replace(NEW, last_answer="GET /health/ answered 200", answering=True)
    assert decide(OLD, answering, now=70) == steps.AwaitReady(("new",))


def test_pause_leaves_everything_as_it_is() -> None:
    policy = Policy((WANTED,), failure_action="pause")
    step = next_step(Stack(18, (OLD, replace(NEW, fault="ended"))), policy)
    assert step == steps.Refuse("api: shop-api-2 ended")


def test_undo_rejoins_the_old_before_anything_new_goes() -> None:
    back = decide(LEFT, replace(JOINED, fault="answered 500"), goal=UNDO, cause="x")
    assert back == steps.Join("api", ("10.0.0.1",), ("old",), ("new",))
    gone = replace(JOINED, in_rotation=False, left_at=21, connections=2)
    assert decide(OLD, gone, now=22, goal=UNDO) == steps.Drain(("new",))
    assert decide(OLD, replace(gone, connections=0), now=22, goal=UNDO) == steps.Stop(("new",))
    assert decide(OLD, now=22, goal=UNDO, cause="x") == steps.Done(failed=True, reason="x")


def test_a_scheduler_stops_before_the_next_starts_and_comes_back_on_undo() -> None:
    wanted = Wanted("beat", SCHEDULER, "image-2", "hash-2", order=STOP_FIRST)
    old = Container("old", "shop-beat-1", "beat", "image-1", "hash-1")
    assert decide(old, wanted=wanted) == steps.Stop(("old",))
    stopped = replace(old, state="exited")
    assert decide(stopped, wanted=wanted) == steps.Start(create=(("beat", 1),))
    new = Container("new", "shop-beat-2", "beat", "image-2", "hash-2", awaited_since=10, fault="ended")
    assert decide(stopped, new, wanted=wanted, goal=UNDO) == steps.Stop(("new",))
    assert decide(stopped, wanted=wanted, goal=UNDO) == steps.Start(restart=("old",))


def test_a_scheduler_changes_over_while_the_new_web_is_proven() -> None:
    beat = Wanted("beat", SCHEDULER, "image-2", "hash-2", order=STOP_FIRST, monitor=2)
    worker = Wanted("celery", WORKER, "image-2", "hash-2", monitor=3)
    older = Container("w1", "shop-celery-1", "celery", "image-1", "hash-1", consumes=True)
    quiet = replace(older, consumes=False)
    newer = replace(older, id="w2", image="image-2", config_hash="hash-2", awaited_since=9, ready_since=10)
    old = Container("beat", "shop-beat-1", "beat", "image-1", "hash-1")
    new = Container("b2", "shop-beat-2", "beat", "image-2", "hash-2", awaited_since=12)
    ended = replace(old, state="exited")
    web = replace(NEW, ready_since=11, proof_since=11)

    def seen(now: float, *containers: Container, fault: str = "") -> steps.Step:
        workers = (replace(newer, fault=fault), OLD)
        return next_step(Stack(now, (*workers, *containers)), Policy((worker, beat, WANTED)))

    assert seen(10.5, older, old, NEW) == steps.AwaitReady(("new",))
    assert seen(11, older, old, web) == steps.Quiesce(("w1",))
    assert seen(12, quiet, old, web) == steps.Stop(("beat",))
    assert seen(12, quiet, ended, web) == steps.Start(create=(("beat", 1),))
    assert seen(12, quiet, ended, new, web) == steps.AwaitReady(("b2",))
    ready = replace(new, ready_since=14.5)
    assert seen(15, quiet, ended, ready, web) == steps.Prove(("new",)), "new workers are watched while it is"
    assert seen(16, quiet, ended, ready, web) == steps.Prove(("b2",)), "no user meets a version whose scheduler ends"
    assert isinstance(seen(16.5, quiet, ended, ready, web), steps.Join)
    assert isinstance(seen(15, quiet, ended, replace(ready, fault="ended"), web), steps.Undo)
    assert isinstance(seen(15, quiet, ended, ready, web, fault="ended"), steps.Undo)


def test_no_user_meets_a_version_whose_workers_are_watched_yet() -> None:
    worker = Wanted("celery", WORKER, "image-2", "hash-2", monitor=9)
    newer = Container("w2", "shop-celery-2", "celery", "image-2", "hash-2", awaited_since=9, ready_since=10)
    web = replace(NEW, ready_since=11, proof_since=11)
    policy = Policy((worker, WANTED))
    assert next_step(Stack(18, (newer, OLD, web)), policy) == steps.Prove(("w2",))
    assert isinstance(next_step(Stack(19, (newer, OLD, web)), policy), steps.Join)


def test_what_a_new_web_waits_for_is_there_before_it() -> None:
    beat = Wanted("beat", SCHEDULER, "image-2", "hash-2", order=STOP_FIRST)
    step = next_step(Stack(18, (OLD,)), Policy((beat, replace(WANTED, after=("beat",)))))
    assert step == steps.Start(create=(("beat", 1),), unkept=())


def test_users_of_one_web_are_watched_before_another_has_any() -> None:
    admin = replace(WANTED, name="admin")
    waiting = replace(PROVEN, id="new2", service="admin", address="10.0.0.4")
    step = next_step(
        Stack(22, (LEFT, JOINED, replace(OLD, id="old2", service="admin"), waiting)), Policy((WANTED, admin))
    )
    assert step == steps.Prove(("new",), proxied=True)


def test_without_a_web_a_scheduler_changes_over_once_its_workers_were_watched() -> None:
    beat = Wanted("beat", SCHEDULER, "image-2", "hash-2", order=STOP_FIRST, monitor=2)
    worker = Wanted("celery", WORKER, "image-2", "hash-2", monitor=3)
    older = Container("w1", "shop-celery-1", "celery", "image-1", "hash-1", consumes=True)
    newer = Container(
        "w2", "shop-celery-2", "celery", "image-2", "hash-2", consumes=True, awaited_since=9, ready_since=10
    )
    old = Container("beat", "shop-beat-1", "beat", "image-1", "hash-1")

    def seen(now: float, **workers: Any) -> steps.Step:
        return next_step(Stack(now, (replace(older, **workers), newer, old)), Policy((worker, beat)))

    assert seen(12) == steps.Prove(("w2",))
    assert seen(13) == steps.Quiesce(("w1",))
    assert seen(13, consumes=False) == steps.Stop(("beat",))


def test_what_is_ready_is_proven_while_others_boot() -> None:
    worker = Wanted("celery", WORKER, "image-2", "hash-2")
    booting = Container("w2", "shop-celery-2", "celery", "image-2", "hash-2", awaited_since=10)
    ready = replace(NEW, ready_since=11)

    def seen(*containers: Container, now: float = 12, replicas: int = 1) -> steps.Step:
        return next_step(Stack(now, (OLD, *containers)), Policy((worker, replace(WANTED, replicas=replicas))))

    assert seen(booting, NEW) == steps.AwaitReady(("w2", "new"))
    assert seen(booting, ready) == steps.Prove(("new",), awaited=("w2",))
    assert seen(booting, replace(ready, proof_since=11), now=16) == steps.AwaitReady(("w2",))
    # Of several of one service none is known to be better than the others.
    assert seen(ready, replace(NEW, id="new2"), booting, replicas=2) == steps.AwaitReady(("w2", "new2"))


def test_users_are_led_back_before_a_scheduler_changes_over() -> None:
    beat = Wanted("beat", SCHEDULER, "image-2", "hash-2", order=STOP_FIRST)
    ended = Container("beat", "shop-beat-1", "beat", "image-1", "hash-1", state="exited", ended_here=True)
    new = Container("b2", "shop-beat-2", "beat", "image-2", "hash-2", awaited_since=1, created_here=True)
    broken = replace(JOINED, fault="answered 500", created_here=True)

    def back(*containers: Container) -> steps.Step:
        return next_step(Stack(18, containers, goal=UNDO, cause="x"), Policy((beat, WANTED)))

    assert back(ended, new, LEFT, broken) == steps.Join("api", ("10.0.0.1",), ("old",), ("new",))
    assert back(ended, new, OLD, replace(broken, in_rotation=False, left_at=17)) == steps.Stop(("b2",))


def test_on_the_way_back_a_scheduler_changes_over_while_the_web_boots() -> None:
    beat = Wanted("beat", SCHEDULER, "image-2", "hash-2", order=STOP_FIRST)
    old = Container("beat", "shop-beat-1", "beat", "image-1", "hash-1")
    ended, new = (
        replace(old, state="exited"),
        Container("b2", "shop-beat-2", "beat", "image-2", "hash-2", awaited_since=1),
    )

    def seen(*containers: Container, **policy: Any) -> steps.Step:
        return next_step(Stack(18, (OLD, *containers)), Policy((beat, WANTED), **{"backward": True, **policy}))

    assert seen(old) == steps.Start(create=(("api", 1),), hold=(("api", ("10.0.0.1",)),), unkept=("api",))
    assert seen(old, NEW) == steps.Stop(("beat",)), "the web boots meanwhile"
    assert seen(old, NEW, backward=False) == steps.AwaitReady(("new",)), "nobody knows yet whether it is good"
    assert seen(ended, NEW) == steps.Start(create=(("beat", 1),))
    assert seen(ended, NEW, new) == steps.AwaitReady(("new", "b2"))


def test_on_the_way_back_workers_change_over_when_nobody_waits_for_the_web_before() -> None:
    worker, newer = (
        Wanted("celery", WORKER, "image-2", "hash-2"),
        Container("w1", "shop-celery-1", "celery", "image-1", "hash-1", consumes=True),
    )
    older = Container("w2", "shop-celery-2", "celery", "image-2", "hash-2", consumes=True, awaited_since=23)

    def seen(*containers: Container, **policy: Any) -> steps.Step:
        return next_step(Stack(26, (newer, *containers)), Policy((worker, WANTED), backward=True, **policy))

    assert seen(OLD) == steps.Start(create=(("api", 1),), hold=(("api", ("10.0.0.1",)),), unkept=("api",)), (
        "no worker with it"
    )
    assert seen(OLD, NEW) == steps.AwaitReady(("new",))
    waited_for = replace(LEFT, connections=1)
    assert seen(waited_for, JOINED) == steps.Drain(("old",)), "such a request may send what an older worker discards"
    assert seen(replace(waited_for, left_at=-99), JOINED) == steps.Stop(("old",)), "and is not left to do so"
    assert seen(replace(LEFT, crashes=True), JOINED) == steps.Stop(("old",))
    assert seen(LEFT, JOINED) == steps.Start(create=(("celery", 1),), unkept=("celery",))
    assert seen(LEFT, JOINED, older) == steps.Stop(("old",)), "while the worker boots"
    ended = replace(LEFT, state="exited")
    assert seen(ended, JOINED, older) == steps.AwaitReady(("w2",))
    assert seen(ended, JOINED, replace(older, ready_since=20)) == steps.Quiesce(("w1",))
    assert seen(LEFT, JOINED, together=False) == steps.Stop(("old",)), "where memory is short nothing runs beside"
    needing = (worker, replace(WANTED, after=("celery",)))
    gone = replace(newer, state="exited")
    assert next_step(Stack(24, (gone, OLD)), Policy(needing, backward=True)) == steps.Start(create=(("celery", 1),))


def test_on_the_way_back_a_worker_that_runs_is_not_started_for_one_that_waits_for_somebody_else() -> None:
    worker = Wanted("celery", WORKER, "image-2", "hash-2")
    newer = Container("w1", "shop-celery-1", "celery", "image-1", "hash-1", consumes=True)
    search = Wanted("search", OTHER, "image-2", "hash-2")
    needing = replace(WANTED, after=("celery", "search"))
    step = next_step(Stack(24, (newer, OLD)), Policy((search, worker, needing), backward=True))
    assert step == steps.Start(create=(("search", 1),))


def test_a_web_service_that_goes_keeps_no_worker_from_its_tasks() -> None:
    gone = Wanted("flower", WEB, "", "", replicas=0)
    worker = Wanted("celery", WORKER, "image-2", "hash-2", monitor=3)
    old = Container("w1", "shop-celery-1", "celery", "image-1", "hash-1", consumes=True)
    new = Container(
        "w2", "shop-celery-2", "celery", "image-2", "hash-2", consumes=True, awaited_since=15, ready_since=16
    )
    flower = Container("f", "shop-flower-1", "flower", "image-1", "hash-1")
    policy = Policy((gone, worker))
    assert next_step(Stack(18, (flower, old, new)), policy) == steps.Prove(("w2",)), "the new one is watched"
    assert next_step(Stack(19, (flower, old, new)), policy) == steps.Quiesce(("w1",))


def test_what_ends_when_nothing_can_be_gone_back_to_is_told() -> None:
    beat = replace(WANTED, kind=SCHEDULER, order=STOP_FIRST)
    ended = replace(PROVEN, state="exited", fault="ended with exit code 1")
    assert decide(ended, now=99, wanted=beat, no_return=True) == steps.Refuse("api: shop-api-2 ended with exit code 1")


def test_whom_a_reload_of_somebody_elses_let_in_is_watched_as_long_as_whom_the_roll_lets_in() -> None:
    alone = replace(PROVEN, in_rotation=True)
    wanted = replace(WANTED, prove_seconds=0)
    assert decide(alone, now=15.9, wanted=wanted) == steps.Prove(("new",), proxied=True), "ready at 11, watched for 5 s"
    assert decide(alone, now=16, wanted=wanted) == steps.Done()


def test_an_address_that_nobody_has_any_more_leaves_the_rotation() -> None:
    step = decide(LEFT, JOINED, now=22, proxy=Proxy(pinned=("api",), stale=("api",)))
    assert step == steps.Leave("api", ("10.0.0.2",), ())


def test_what_crashes_is_never_led_to_again_and_what_is_ready_is_let_in_at_once() -> None:
    crashing = replace(OLD, crashes=True)
    nowhere = replace(crashing, state="restarting", address="", in_rotation=False)
    for old in (crashing, nowhere):
        assert decide(old) == steps.Start(create=(("api", 1),)), "there is no rotation to hold"
        assert decide(old, NEW) == steps.AwaitReady(("new",))
        leaving = ("old",) if old.in_rotation else ()
        join = steps.Join("api", ("10.0.0.2",), ("new",), leaving)
        assert decide(old, replace(NEW, ready_since=11), now=12) == join, "nobody has anything to lose"
        assert decide(old, replace(NEW, in_rotation=True), now=12) == steps.AwaitReady(("new",))
    # Proven all the same, before anything is taken away.
    served = replace(NEW, ready_since=11, in_rotation=True, joined_at=12)
    assert decide(replace(nowhere, left_at=12), served, now=13) == steps.Prove(("new",))
    assert decide(replace(crashing, address="10.0.0.9", in_rotation=False), NEW) == steps.Join(
        "api", ("10.0.0.9",), ("old",)
    )


def test_when_a_container_is_taken_for_one_that_crashes() -> None:
    assert is_crashing("restarting", 3, 900, 60) and is_crashing("running", 3, 5, 60)
    assert not is_crashing("restarting", 2, 5, 60) and not is_crashing("running", 7, 61, 60)
    assert not is_crashing("running", 3, 5, 60, healthy=True) and is_crashing("restarting", 3, 5, 60, healthy=True)


# -- a published port: two hops over a surge container ----------------------------------------------------------

HELD = replace(WANTED, surge="hash-2-plain")
HELPER = replace(JOINED, id="helper", config_hash="hash-2-plain")
ENDED = replace(LEFT, state="exited")


def test_a_stand_in_serves_before_the_port_is_free() -> None:
    held = (("api", ("10.0.0.1",)),)
    assert decide(OLD, wanted=HELD) == steps.Start((("api", 1),), (), held, ("api",), ("api",))
    waiting = replace(HELPER, in_rotation=False, joined_at=None)
    assert decide(OLD, waiting, wanted=HELD) == steps.Join("api", ("10.0.0.2",), ("helper",), ("old",))
    busy = replace(LEFT, connections=1)
    assert decide(busy, HELPER, now=26, wanted=HELD) == steps.Drain(("old",))
    assert decide(LEFT, HELPER, now=26, wanted=HELD) == steps.Stop(("old",))


def test_the_proper_one_follows_once_the_old_has_ended() -> None:
    proper = replace(PROVEN, id="proper", number=3, address="10.0.0.3")
    held = (("api", ("10.0.0.2",)),)
    assert decide(ENDED, HELPER, now=26, wanted=HELD) == steps.Start((("api", 1),), (), held, (), ("api",))
    assert decide(ENDED, HELPER, proper, now=26, wanted=HELD) == steps.Join(
        "api", ("10.0.0.3",), ("proper",), ("helper",)
    )
    joined = replace(proper, in_rotation=True, joined_at=26)
    left = replace(HELPER, in_rotation=False, left_at=26)
    assert decide(ENDED, left, joined, now=32, wanted=HELD) == steps.Stop(("helper",))
    assert decide(ENDED, replace(left, state="exited"), joined, now=32, wanted=HELD) == steps.Remove(("old", "helper"))


def test_the_way_back_over_the_stand_in() -> None:
    proper = replace(JOINED, id="proper", number=3, address="10.0.0.3")
    asleep = replace(HELPER, state="exited", in_rotation=False, awaited_since=None, ready_since=None)
    awake = replace(HELPER, in_rotation=False, left_at=26)

    def back(*containers: Container, now: float = 30) -> steps.Step:
        return decide(*containers, now=now, wanted=HELD, goal=UNDO, cause="x")

    assert back(ENDED, asleep, proper) == steps.Start(restart=("helper",))
    assert back(ENDED, replace(awake, ready_since=None, awaited_since=29), proper) == steps.AwaitReady(("helper",))
    assert back(ENDED, awake, proper) == steps.Join("api", ("10.0.0.2",), ("helper",), ("proper",))
    gone = replace(proper, in_rotation=False, left_at=30)
    assert back(ENDED, HELPER, gone) == steps.Stop(("proper",))
    assert back(ENDED, HELPER, replace(gone, state="exited")) == steps.Start(restart=("old",))
    up = replace(OLD, in_rotation=False, awaited_since=31, ready_since=32)
    assert back(up, HELPER, replace(gone, state="exited")) == steps.Join("api", ("10.0.0.1",), ("old",), ("helper",))


def test_an_old_version_that_ends_again_is_not_started_for_ever() -> None:
    ended = replace(OLD, state="exited", in_rotation=False, awaited_since=31, fault="ended with exit code 1")
    step = decide(ended, replace(PROVEN, awaited_since=None), now=40, goal=UNDO, cause="x")
    assert step == steps.Join("api", ("10.0.0.2",), ("new",)), "whoever runs serves"
    step = decide(ended, replace(JOINED, awaited_since=None), now=40, goal=UNDO, cause="x")
    assert step == steps.Refuse("api: the old version did not come back either: shop-api-1 ended with exit code 1")


def test_back_to_two_of_which_one_does_not_come_the_other_serves() -> None:
    wanted, at = replace(WANTED, replicas=2), {"now": 40, "goal": UNDO, "cause": "x"}
    new = replace(JOINED, awaited_since=None)
    other = replace(OLD, id="old2", name="shop-api-3", address="10.0.0.3", number=3, in_rotation=False)
    never_ready = replace(OLD, in_rotation=False, awaited_since=31)
    ended = replace(never_ready, state="exited", fault="ended with exit code 1")
    for fallen in (ended, replace(never_ready, awaited_since=40 - wanted.ready_timeout)):
        assert decide(fallen, other, new, wanted=wanted, **at) == steps.Join("api", ("10.0.0.3",), ("old2",), ("new",))
        serving, left = replace(other, in_rotation=True), replace(new, in_rotation=False, left_at=40)
        assert decide(fallen, serving, left, wanted=wanted, **at) == steps.Stop(("new",))
        done = decide(fallen, serving, wanted=wanted, **at)
        assert done == steps.Done(failed=True, reason="x; shop-api-1 of the old version did not come back")
    third = replace(OLD, id="old3", state="exited", number=4, in_rotation=False)
    assert decide(ended, other, third, new, wanted=wanted, **at) == steps.Start(restart=("old3",))
    assert decide(never_ready, other, new, wanted=wanted, **at) == steps.AwaitReady(("old",)), "it has its time"


def test_what_fails_after_the_old_was_removed_takes_nothing_away() -> None:
    alone = replace(JOINED, created_here=True)
    assert decide(alone, fault="umount: no") == steps.Undo("umount: no")
    assert decide(alone, fault="umount: no", no_return=True) == steps.Refuse("umount: no")


def test_a_worker_that_never_says_how_many_tasks_it_has_is_not_waited_for_for_ever() -> None:
    wanted = Wanted("celery", WORKER, "image-2", "hash-2", monitor=0, drain_timeout=60, drain_policy="wait")
    quiet = Container("old", "shop-celery-1", "celery", "image-1", "hash-1", consumes=False, left_at=20)
    new = replace(quiet, id="new", image="image-2", config_hash="hash-2", consumes=True, left_at=None, ready_since=1)
    assert decide(replace(quiet, unanswered_since=30), new, now=89, wanted=wanted) == steps.Drain(("old",))
    assert decide(replace(quiet, unanswered_since=30), new, now=90, wanted=wanted) == steps.Stop(("old",))
    assert decide(replace(quiet, tasks=1), new, now=9000, wanted=wanted) == steps.Drain(("old",)), "it works"


def test_where_requests_wait_nothing_else_runs_before_the_web_has_them() -> None:
    beat = Wanted("beat", SCHEDULER, "image-2", "hash-2", order=STOP_FIRST)
    worker = Wanted("celery", WORKER, "image-2", "hash-2")
    ended = [
        Container(name, f"shop-{name}-1", name, "image-1", "hash-1", state="exited", consumes=None)
        for name in ("beat", "celery")
    ]
    policy = Policy((worker, beat, WANTED), awaited=True)

    def step(*containers: Container, now: float = 18) -> steps.Step:
        return next_step(Stack(now, (*containers, *ended)), policy)

    started = step(OLD)
    assert isinstance(started, steps.Start) and started.create == (("api", 1),)
    assert isinstance(step(OLD, PROVEN), steps.Join)
    assert step(LEFT, JOINED, now=JOINED.joined_at or 0) == steps.Prove(("new",), proxied=True), "users try it alone"
    then = step(LEFT, JOINED, now=(JOINED.joined_at or 0) + 60)
    assert isinstance(then, steps.Start) and then.create == (("celery", 1),)
    # The web depends on a worker, which has to be there first.
    needing = replace(policy, services=(worker, beat, replace(WANTED, after=("celery",))))
    first = next_step(Stack(18, (OLD, *ended)), needing)
    assert isinstance(first, steps.Start) and first.create == (("celery", 1),)


def test_an_old_worker_fetches_no_more_before_anything_new_sends() -> None:
    worker = Wanted("celery", WORKER, "image-2", "hash-2", monitor=0)
    old = Container("old-celery", "shop-celery-1", "celery", "image-1", "hash-1", consumes=True)
    new = Container("new-celery", "shop-celery-2", "celery", "image-2", "hash-2", awaited_since=1, consumes=True)
    policy = Policy((worker, WANTED))

    def step(*containers: Container) -> steps.Step:
        return next_step(Stack(18, containers), policy)

    assert step(OLD, PROVEN, old, replace(new, ready_since=2)) == steps.Quiesce(("old-celery",))
    quiet = replace(old, consumes=False)
    assert isinstance(step(OLD, PROVEN, quiet, replace(new, ready_since=2)), steps.Join)
    # Nobody fetches instead of it yet.
    assert step(OLD, PROVEN, old, new) == steps.AwaitReady(("new-celery",))


def test_a_way_back_leaves_workers_that_the_caller_sees_to() -> None:
    worker = Wanted("celery", WORKER, "image-2", "hash-2", monitor=0)
    old = Container("old-celery", "shop-celery-1", "celery", "image-1", "hash-1", consumes=False)
    new = Container("new-celery", "shop-celery-2", "celery", "image-2", "hash-2", awaited_since=1, consumes=True)
    policy = Policy((worker, WANTED), left=frozenset({"celery"}))
    failed = Stack(22, (LEFT, replace(JOINED, fault="answered 500"), old, new), goal=UNDO, cause="x")
    assert next_step(failed, policy) == steps.Join("api", ("10.0.0.1",), ("old",), ("new",))
    assert next_step(replace(failed, containers=(OLD, old, new)), policy) == steps.Done(failed=True, reason="x")
    assert next_step(replace(failed, containers=(OLD, old, new)), replace(policy, left=frozenset())) == steps.Resume(
        ("old-celery",)
    )
