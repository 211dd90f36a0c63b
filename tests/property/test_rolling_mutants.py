# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The histories can fail: each deliberate break of a rule of ``rolling/next_step`` is noticed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import START_FIRST
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling import next_step as rolling_next_step
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling import steps, undo
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import Stack, View, Wanted
from tests.property.rolling_invariants import check, check_a_change_of_mind
from tests.property.seeded_histories import is_noticed


def never_busy(_original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda view, container: False


def no_proof(_original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, container: container.ready_since is not None


def no_failure(_original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda stack, views: ""


def retire_before_switch(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda views, **more: rolling_next_step.drain_and_stop(views) or original(views, **more)


def nobody_watched(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda views, **_more: original(views, watched=False)


def start_singletons_first(original: Callable[..., Any]) -> Callable[..., Any]:
    def view_of(stack: Stack, wanted: Wanted) -> View:
        return original(stack, replace(wanted, order=START_FIRST))

    return view_of


def no_settling(_original: Callable[..., Any]) -> Callable[..., Any]:
    def undo_and_leave(stack: Stack, views: Any) -> steps.Step:
        return next(
            (s for s in map(rolling_next_step.undo_service, reversed(views)) if s), steps.Done(True, stack.cause)
        )

    return undo_and_leave


def none_silent(_original: object) -> property:
    return property(lambda self: ())


def no_overlap(_original: object) -> property:
    return property(lambda self: False)


def learned_at_once(original: Callable[..., Any]) -> Callable[..., Any]:
    def view_of(stack: Stack, wanted: Wanted) -> View:
        return original(stack, wanted if wanted.dns_seconds is None else replace(wanted, dns_seconds=0.0))

    return view_of


def no_room(_original: object) -> Callable[..., Any]:
    return lambda view: None


def no_stand_in(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda stack, wanted: original(stack, replace(wanted, surge=""))


def room_without_help(_original: object) -> Callable[..., Any]:
    def make_room(view: View) -> steps.Step | None:
        holding = tuple(c for c in view.current if c.running and view.wanted.surge)
        return steps.Stop(tuple(c.id for c in holding)) if holding else None

    return make_room


def never_waits(_original: object) -> Callable[..., Any]:
    return lambda view, every: False


def all_at_once(_original: object) -> Callable[..., Any]:
    return rolling_next_step.together


def settle_while_warm(_original: object) -> Callable[..., Any]:
    def unpin(stack: Stack, views: Any) -> steps.Step | None:
        held = [v.wanted.name for v in views if v.wanted.name in stack.proxy.pinned]
        return steps.Unpin(held[0]) if held else None

    return unpin


def all_kept(original: Callable[..., Any]) -> Callable[..., Any]:
    def next_step(stack: Stack, policy: Any) -> steps.Step:
        step: steps.Step = original(stack, policy)
        return replace(step, unkept=()) if isinstance(step, steps.Start) else step

    return next_step


def check_both(seed: int) -> None:
    check(seed)
    check_a_change_of_mind(seed)


@pytest.mark.parametrize(
    ("where", "name", "mutate"),
    [
        (View, "is_busy", never_busy),
        (View, "is_proven", no_proof),
        (rolling_next_step, "failure_of", no_failure),
        (rolling_next_step, "switch", retire_before_switch),
        (rolling_next_step, "switch", nobody_watched),
        (rolling_next_step, "view_of", start_singletons_first),
        (rolling_next_step, "undo", no_settling),
        (View, "is_consuming", never_busy),
        (View, "paused", none_silent),
        (View, "overlaps", no_overlap),
        (rolling_next_step, "view_of", learned_at_once),
        (rolling_next_step, "unpin", settle_while_warm),
        (undo, "make_room", no_room),
        (undo, "make_room", room_without_help),
        (rolling_next_step, "view_of", no_stand_in),
        (rolling_next_step, "waits_for_another", never_waits),
        (rolling_next_step, "backward", all_at_once),
        (rolling_next_step, "next_step", all_kept),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)).rpartition(".")[2],
)
def test_a_broken_rule_is_noticed(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, mutate: Any) -> None:
    monkeypatch.setattr(where, name, mutate(getattr(where, name)))
    assert is_noticed(check_both)
