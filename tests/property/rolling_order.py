# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which step may follow what is seen, in a history in which nothing went wrong from outside."""

from __future__ import annotations

from collections.abc import Collection

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import OTHER, SCHEDULER, WEB, WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import (
    FORWARD,
    UNDO,
    Container,
    Policy,
    Stack,
    Wanted,
    is_current,
    is_outdated,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.steps import (
    Join,
    Quiesce,
    Refuse,
    Start,
    Step,
    Stop,
)

_LAST = {SCHEDULER: 0, WEB: 1, WORKER: 2, OTHER: 3}


class _Order:
    """One step, and the stack that it was decided from."""

    def __init__(self, step: Step, stack: Stack, policy: Policy) -> None:
        self.step, self.stack, self.policy = step, stack, policy
        self.wanted = {w.name: w for w in policy.services}

    def of(self, name: str) -> list[Container]:
        return [c for c in self.stack.containers if c.service == name]

    def outdated(self, wanted: Wanted) -> list[Container]:
        return [c for c in self.of(wanted.name) if is_outdated(c, wanted) and c.running]

    def new(self, wanted: Wanted) -> list[Container]:
        return [c for c in self.of(wanted.name) if is_current(c, wanted) and c.running]

    def touched(self, ids: Collection[str]) -> set[str]:
        return {c.service for c in self.stack.containers if c.id in ids}

    def senders_begin(self) -> list[str]:
        """Services of which something new begins to send tasks by this step."""
        if isinstance(self.step, Join):
            mine = self.wanted[self.step.service]
            return [mine.name] if any(c.id in self.step.joining for c in self.new(mine)) else []
        if isinstance(self.step, Start):
            return [n for n, _count in self.step.create if self.wanted[n].kind == SCHEDULER]
        return []


def problem_with(step: Step, stack: Stack, policy: Policy) -> str:
    """What is wrong with a step, empty where nothing is."""
    order = _Order(step, stack, policy)
    if stack.goal == UNDO:
        return _rollback_target(order)
    if stack.goal != FORWARD:
        return ""
    for rule in (_refused, _early_senders, _early_hush, _early_users, _early_end, _gap):
        problem = rule(order)
        if problem:
            return problem
    return ""


def _refused(order: _Order) -> str:
    if isinstance(order.step, Refuse) and order.policy.failure_action == "rollback":
        return f"refused to go on: {order.step.reason}"
    return ""


def _early_senders(order: _Order) -> str:
    """Forward, an older worker must not get what only newer code knows."""
    if order.policy.backward or not order.senders_begin():
        return ""
    consuming = [
        c.id
        for w in order.policy.services
        if w.kind == WORKER
        for c in order.outdated(w)
        if c.consumes and order.new(w)
    ]
    return f"{order.senders_begin()} begins to send while {consuming} fetch tasks" if consuming else ""


def _early_hush(order: _Order) -> str:
    """A worker goes on until those in its place are ready."""
    if not isinstance(order.step, Quiesce):
        return ""
    for name in order.touched(order.step.containers):
        if order.wanted[name].replicas and not all(_trusted(c) for c in order.new(order.wanted[name])):
            return f"{name}: told to fetch no more before the new ones are ready"
    return ""


def _early_users(order: _Order) -> str:
    """Together: no user meets a version whose workers or scheduler are watched yet."""
    if not order.policy.together or order.policy.backward or order.policy.awaited:
        return ""
    if not (isinstance(order.step, Join) and order.senders_begin()):
        return ""
    watched = [
        c.name
        for w in order.policy.services
        if w.kind in (WORKER, SCHEDULER)
        for c in order.new(w)
        if not _trusted(c) or (c.ready_since is not None and order.stack.now < c.ready_since + w.monitor)
    ]
    return f"{order.step.joining} have users while {watched} are watched" if watched else ""


def _early_end(order: _Order) -> str:
    """Together: nothing that is replaced beside itself ends before all that is has its new containers ready."""
    if not isinstance(order.step, Stop) or order.policy.backward:
        return ""
    beside = [w for w in order.policy.services if w.order != "stop-first" and w.replicas and not w.surge]
    ended = [n for n in order.touched(order.step.containers) if order.wanted[n] in beside]
    ended = [n for n in ended if any(c.id in order.step.containers for c in order.outdated(order.wanted[n]))]
    if order.policy.together:
        late = [w.name for w in beside if len([c for c in order.new(w) if _trusted(c)]) < w.replicas]
        return f"{ended} end before {late} are ready" if ended and late else ""
    return ""


def _trusted(container: Container) -> bool:
    return container.awaited_since is None or container.ready_since is not None


def _gap(order: _Order) -> str:
    """One service after the other: no new container beside another service that has both versions running."""
    if not isinstance(order.step, Start) or order.policy.together:
        return ""
    created = {name for name, _count in order.step.create}
    both = [w.name for w in order.policy.services if w.name not in created and order.outdated(w) and order.new(w)]
    beside = [n for n in created if order.outdated(order.wanted[n]) and order.wanted[n].order != "stop-first"]
    if both and beside and not order.policy.backward:
        return f"{beside} start while {both} have both versions running"
    return ""


def _rollback_target(order: _Order) -> str:
    """Users are led back first; then what sends tasks goes, the workers that know the new ones after it."""
    if not isinstance(order.step, (Quiesce, Stop, Start)):
        return ""
    ids = {*getattr(order.step, "containers", ()), *getattr(order.step, "restart", ())}
    names = [n for n in order.touched(ids) if n not in order.policy.left]
    for name in names:
        rank = _LAST[order.wanted[name].kind]
        earlier = [w for w in order.policy.services if _LAST[w.kind] < rank and w.name not in order.policy.left]
        there = [w.name for w in earlier if any(c.created_here and c.running for c in order.new(w))]
        if there:
            return f"{name} goes back while something new of {there} runs"
    return ""
