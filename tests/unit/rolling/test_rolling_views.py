# SPDX-License-Identifier: GPL-3.0-or-later
"""How a service's containers are sorted, and what is said of them: each sentence of ``View`` by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import OTHER, SCHEDULER, WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import STOP_FIRST
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import (
    UNDO,
    Container,
    Proxy,
    Stack,
    View,
    Wanted,
    is_outdated,
    view_of,
)
from tests.unit.rolling_containers import JOINED, LEFT, NEW, OLD, PROVEN, WANTED

DONE = replace(JOINED, awaited_since=None)
HELD = replace(WANTED, surge="hash-2-plain")
HELPER = replace(JOINED, id="helper", config_hash="hash-2-plain")
CELERY = Wanted("celery", WORKER, "image-2", "hash-2", drain_timeout=60)
WORKING = Container("w", "shop-celery-1", "celery", "image-1", "hash-1", consumes=True)


def view(*containers: Container, wanted: Wanted = WANTED, now: float = 26, **stack: Any) -> View:
    return view_of(Stack(now, containers, **stack), wanted)


def ids(containers: tuple[Container, ...]) -> list[str]:
    return [c.id for c in containers]


# -- sorting ------------------------------------------------------------------------------------------------


def test_what_is_being_removed_is_not_there() -> None:
    assert not view(replace(OLD, state="removing")).old


def test_what_was_started_by_hand_is_no_stand_in_of_a_service_that_has_none() -> None:
    assert is_outdated(replace(DONE, config_hash=""), WANTED)


def test_what_is_older_than_the_restart_that_was_asked_for_is_outdated() -> None:
    wanted = replace(WANTED, newer_than=100.0)
    assert is_outdated(replace(DONE, created=99.0), wanted) and not is_outdated(replace(DONE, created=100.0), wanted)


def test_a_stand_in_is_wanted_only_while_the_old_has_what_one_can_have() -> None:
    assert view(OLD, wanted=HELD).surging
    assert not view(replace(OLD, state="exited"), wanted=HELD).surging
    assert not view(OLD, NEW, wanted=HELD).surging, "the proper one runs beside it all the same"
    assert not view(OLD).surging


def test_what_could_not_be_started_because_of_the_old_is_a_leftover() -> None:
    created = replace(NEW, id="created", state="created", awaited_since=None)
    assert ids(view(OLD, HELPER, created, wanted=HELD).broken) == ["created"]
    failed = replace(created, awaited_since=10)
    assert ids(view(OLD, HELPER, failed, wanted=HELD).current) == ["helper"], "it is nothing to wait for"


def test_more_than_wanted_is_old_by_its_number_but_not_on_a_way_back_over_a_stand_in() -> None:
    second = replace(DONE, id="second", number=5, in_rotation=False)
    oldest = replace(OLD, number=9)
    assert ids(view(oldest, second, DONE).old) == ["second", "old"]
    both = view(LEFT, HELPER, DONE, wanted=HELD, goal=UNDO)
    assert sorted(ids(both.current)) == ["helper", "new"] and ids(both.old) == ["old"]
    assert ids(view(LEFT, second, DONE, goal=UNDO).current) == ["new"]
    assert ids(view(LEFT, second, DONE, wanted=HELD).current) == ["new"], "forward, one is enough"


def test_addresses_are_told_in_an_order_of_their_own() -> None:
    assert view().addresses((replace(OLD, address="10.0.0.9"), NEW, replace(OLD, address=""))) == (
        "10.0.0.2",
        "10.0.0.9",
    )


# -- what is said of them -----------------------------------------------------------------------------------


def test_between_two_starts_nobody_is_sound() -> None:
    assert not view(replace(OLD, state="restarting")).sound and view(OLD).sound


@pytest.mark.parametrize(
    ("containers", "more", "deserted"),
    [
        ((replace(OLD, crashes=True),), {}, True),
        ((replace(OLD, state="exited"), NEW), {}, True),
        ((NEW,), {}, False),
        ((OLD, replace(OLD, id="b", crashes=True)), {}, False),
        ((replace(OLD, crashes=True), JOINED), {}, False),
        ((replace(OLD, crashes=True), JOINED, NEW), {"wanted": replace(WANTED, replicas=2)}, False),
        ((replace(OLD, crashes=True),), {"proxy": Proxy(present=False)}, False),
        ((replace(OLD, crashes=True),), {"wanted": replace(WANTED, kind=OTHER)}, False),
    ],
)
def test_deserted_is_where_nobody_answers_users(containers: tuple[Container, ...], more: Any, deserted: bool) -> None:
    assert view(*containers, **more).deserted is deserted


@pytest.mark.parametrize(
    ("containers", "more", "changing"),
    [
        ((DONE,), {}, False),
        ((), {}, True),
        ((DONE, LEFT), {}, True),
        ((DONE, replace(NEW, id="b", state="created", awaited_since=None)), {}, True),
        ((DONE,), {"proxy": Proxy(stale=("api",))}, True),
        ((DONE,), {"proxy": Proxy(stale=("admin",))}, False),
        ((replace(DONE, in_rotation=False),), {}, True),
        ((replace(DONE, in_rotation=False),), {"proxy": Proxy(present=False)}, False),
        ((DONE, replace(DONE, id="b", in_rotation=False)), {"wanted": replace(WANTED, replicas=2)}, True),
        ((replace(DONE, in_rotation=False),), {"wanted": replace(WANTED, routed=False)}, False),
        ((replace(DONE, unkept=True),), {}, True),
        ((DONE, replace(DONE, id="b", unkept=True)), {"wanted": replace(WANTED, replicas=2)}, True),
        ((DONE, replace(JOINED, id="b", state="exited")), {}, True),
        ((JOINED,), {"now": 24.9}, True),
        ((JOINED,), {"now": 25}, False),
        ((DONE, replace(JOINED, id="b")), {"now": 24.9, "wanted": replace(WANTED, replicas=2)}, True),
        ((replace(JOINED, proof_since=None),), {}, True),
        ((replace(DONE, proof_since=None),), {}, False),
        ((replace(DONE, consumes=False),), {}, True),
    ],
)
def test_what_differs_from_what_is_wanted(containers: tuple[Container, ...], more: Any, changing: bool) -> None:
    assert view(*containers, **more).changing is changing


def test_the_watch_begins_when_the_last_of_them_could_be_tried() -> None:
    second = replace(JOINED, id="b", joined_at=30)
    two = replace(WANTED, replicas=2)
    assert view(JOINED, second, wanted=two).watched_until == 30 + WANTED.monitor
    assert view(JOINED, wanted=replace(WANTED, dns_seconds=10)).watched_until == 20 + 10 + WANTED.monitor
    assert view(replace(JOINED, joined_at=None)).watched_until == 11 + WANTED.monitor, "let in by somebody else"
    assert view(JOINED, proxy=Proxy(present=False)).watched_until == 11 + WANTED.monitor
    assert view(JOINED, NEW, wanted=two).watched_until == 20 + WANTED.monitor, (
        "one that is not ready says nothing of it"
    )
    assert view().watched_until == 0


def test_what_says_nothing_of_itself_is_watched_until_it_is_seen_at_work_no_more() -> None:
    quick = replace(JOINED, age=2, idle=0.1)
    assert view(quick, now=32).watched_until == pytest.approx(32.4)
    assert view(replace(quick, idle=9), now=23).watched_until == 20 + WANTED.monitor, "it has booted since long"
    both = view(JOINED, replace(quick, id="b"), wanted=replace(WANTED, replicas=2), now=41)
    assert both.watched_until == pytest.approx(41.4)
    slow = replace(JOINED, age=12)
    assert view(replace(slow, idle=2), now=40).watched_until == 41, "for a quarter of its time"
    assert view(replace(slow, idle=3), now=40).watched_until == 40
    assert view(replace(slow, idle=9, age=500), now=40).watched_until == 31 + WANTED.ready_timeout / 4
    unwatched = replace(WANTED, monitor=0)
    assert view(replace(JOINED, idle=0), wanted=unwatched).watched_until == 20, "it was found good before"


def test_the_time_to_get_ready_is_over_for_one_that_was_asked_and_gives_no_right_answer() -> None:
    end = 10 + WANTED.ready_timeout
    assert view(NEW, now=end).is_late(NEW)
    assert not view(NEW, now=end - 1).is_late(NEW)
    for other in (replace(NEW, answering=True), replace(NEW, ready_since=69), replace(NEW, awaited_since=None)):
        assert not view(other, now=end).is_late(other)


def test_who_fetches_tasks_is_told_to_end_that_before_it_goes() -> None:
    assert view(WORKING, wanted=CELERY).is_consuming(WORKING)
    assert not view(WORKING, wanted=replace(CELERY, order=STOP_FIRST)).is_consuming(WORKING), (
        "nobody fetches instead of it yet"
    )
    for consumes in (False, None):
        assert not view(wanted=CELERY).is_consuming(replace(WORKING, consumes=consumes))


def test_a_worker_is_waited_for_while_it_works_and_fetches_no_more() -> None:
    quiet = replace(WORKING, consumes=False, left_at=20)
    mine = view(wanted=CELERY)
    assert mine.is_busy(quiet) and mine.is_busy(replace(quiet, tasks=2))
    assert not mine.is_busy(replace(quiet, tasks=0))
    assert not mine.is_busy(replace(quiet, consumes=None)), "its warm shutdown sees to that"
    assert not mine.is_busy(replace(quiet, consumes=True)), "nor does it come to an end"
    assert not mine.is_busy(replace(quiet, state="exited"))
    assert not view(wanted=replace(CELERY, order=STOP_FIRST)).is_busy(quiet)


def test_a_web_is_waited_for_while_requests_of_the_proxy_may_be_in_it() -> None:
    asked = replace(LEFT, connections=1)
    assert view().is_busy(asked) and view(proxy=Proxy(draining_workers=1)).is_busy(LEFT)
    assert not view().is_busy(LEFT) and not view().is_busy(replace(asked, state="exited"))
    assert not view(proxy=Proxy(present=False)).is_busy(asked), "others connect as they like"
    assert not view(wanted=replace(WANTED, kind=OTHER)).is_busy(asked)
    assert not view(wanted=replace(WANTED, order=STOP_FIRST)).is_busy(asked)
    assert view(now=9999).is_busy(replace(OLD, connections=1)), "its time to drain has not begun"
    assert not view(now=80).is_busy(asked) and view(now=79).is_busy(asked)


def test_what_has_nothing_under_way_and_whose_end_nobody_waits_for_is_idle() -> None:
    workers, quiet = view(wanted=CELERY), replace(WORKING, consumes=False, tasks=0)
    assert view().is_idle(LEFT) and workers.is_idle(quiet)
    assert not view().is_idle(replace(LEFT, connections=1))
    assert not view().is_idle(replace(LEFT, in_rotation=True))
    assert not view(proxy=Proxy(draining_workers=1)).is_idle(LEFT)
    assert not view(proxy=Proxy(present=False)).is_idle(LEFT), "others connect as they like"
    assert not view(wanted=replace(WANTED, kind=OTHER)).is_idle(LEFT)
    assert not view(wanted=replace(WANTED, order=STOP_FIRST)).is_idle(LEFT), "the next one waits for its place"
    scheduler = replace(WANTED, kind=SCHEDULER, order=STOP_FIRST)
    assert view(wanted=scheduler).is_idle(OLD), "what it would have sent is sent later"
    for left in (None, 1):
        assert not workers.is_idle(replace(quiet, tasks=left))
    assert not workers.is_idle(replace(quiet, consumes=True))


def test_what_the_proxy_knows() -> None:
    asking = replace(WANTED, dns_seconds=10)
    known = replace(JOINED, inside_since=10)
    assert view(wanted=asking, now=20).learned((known,)) and not view(wanted=asking, now=19.9).learned((known,))
    assert not view(wanted=asking, now=20).learned((known, PROVEN))
    assert not view(wanted=asking, now=20, proxy=Proxy(draining_workers=1)).learned((known,))
    assert view(now=20, proxy=Proxy(draining_workers=1)).learned((PROVEN,)), "it is told, and does not ask"
