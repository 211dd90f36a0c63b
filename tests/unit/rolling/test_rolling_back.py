# SPDX-License-Identifier: GPL-3.0-or-later
"""Single decisions on the way to a version that has served before: who sends tasks first, workers last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import OTHER, WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import STOP_FIRST
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling import steps
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.next_step import next_step
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import Container, Policy, Stack, Wanted
from tests.unit.rolling_containers import JOINED, LEFT, NEW, OLD, WANTED

CELERY = Wanted("celery", WORKER, "image-2", "hash-2")
NEWER = Container("w1", "shop-celery-1", "celery", "image-1", "hash-1", consumes=True)
GONE = replace(NEWER, state="exited", consumes=None)
#: Somebody waits for its answer.
ASKED = replace(OLD, connections=1)


def seen(services: tuple[Wanted, ...], *containers: Container, **policy: Any) -> steps.Step:
    return next_step(Stack(26, containers), Policy(services, backward=True, **policy))


def test_a_worker_that_the_web_needs_comes_before_anybody_is_waited_for() -> None:
    needing = replace(WANTED, after=("celery",))
    assert seen((CELERY, needing), GONE, ASKED) == steps.Start((("celery", 1),))


def test_it_comes_last_where_the_web_that_needs_it_is_up_already() -> None:
    needing = replace(WANTED, after=("celery",))
    left = replace(LEFT, connections=1)
    assert seen((CELERY, needing), GONE, left, JOINED) == steps.Drain(("old",))


def test_what_only_another_worker_needs_comes_last_too() -> None:
    second = Wanted("mailer", WORKER, "image-2", "hash-2", after=("celery",))
    assert seen((CELERY, second, WANTED), GONE, ASKED, NEW) == steps.AwaitReady(("new",))


def test_what_it_does_not_need_comes_last() -> None:
    search = Wanted("search", OTHER, "image-2", "hash-2")
    needing = replace(WANTED, after=("search",))
    assert seen((search, CELERY, needing), GONE, ASKED) == steps.Start((("search", 1),))


def test_a_web_that_is_stopped_first_serves_until_the_others_are_up() -> None:
    api2 = replace(WANTED, name="admin", order=STOP_FIRST)
    old2 = replace(OLD, id="a", service="admin", address="10.0.0.9")
    assert seen((api2, WANTED), old2, OLD, NEW) == steps.AwaitReady(("new",))


def test_what_sends_tasks_and_nobody_visits_ends_before_an_older_worker_starts() -> None:
    flower = Wanted("flower", OTHER, "image-2", "hash-2", prove_seconds=0, monitor=0)
    old = Container("f1", "shop-flower-1", "flower", "image-1", "hash-1")
    new = replace(old, id="f2", image="image-2", config_hash="hash-2", ready_since=1)
    assert seen((flower, CELERY, WANTED), old, new, NEWER, LEFT, JOINED) == steps.Stop(("f1",))


def test_what_holds_a_port_ends_before_an_older_worker_starts() -> None:
    held = replace(WANTED, surge="hash-2-plain")
    helper = replace(JOINED, id="helper", config_hash="hash-2-plain")
    assert seen((CELERY, held), NEWER, LEFT, helper) == steps.Stop(("old",))


def test_a_stand_in_is_there_until_the_older_workers_are() -> None:
    held = replace(WANTED, surge="hash-2-plain")
    helper = replace(LEFT, id="helper", image="image-2", config_hash="hash-2-plain", number=2)
    proper = replace(JOINED, id="proper", number=3, address="10.0.0.3")
    ended = replace(LEFT, state="exited")
    older = replace(NEWER, id="w2", image="image-2", config_hash="hash-2", awaited_since=23)
    assert seen((CELERY, held), NEWER, ended, helper, proper, older) == steps.AwaitReady(("w2",))
