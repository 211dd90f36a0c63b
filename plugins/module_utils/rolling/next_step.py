# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll does next: a pure function from what is seen to one step.

The shell (``rolling/host/roller.py``) observes a :class:`Stack`, asks :func:`next_step`, performs the one step it
gets and observes again.  Nothing is remembered here, so a killed run needs no resume code: the next run
sees the same machine and gets the same answer.

Old containers are kept, running or stopped but never removed, until every service of the call has its new
containers proven, switched to and watched.  So undoing never has to create anything.
"""

from __future__ import annotations

from dataclasses import replace

from ..engine.programs import OTHER, SCHEDULER, WEB, WORKER
from .stack import SPARE, UNDO, Policy, Stack, View, ids_of, is_current, is_outdated, view_of
from .steps import (
    AwaitDns,
    AwaitReady,
    Done,
    Drain,
    Join,
    Keep,
    Leave,
    Prove,
    Quiesce,
    Refuse,
    Remove,
    Resume,
    Spare,
    Start,
    Step,
    Stop,
    Undo,
    Unpin,
)
from .undo import fallen_of, undo_service

#: The way back: what sends tasks goes first, the workers that know the new ones later, what all may depend on last.
_UNDONE = (SCHEDULER, WEB, WORKER, OTHER)


def next_step(stack: Stack, policy: Policy) -> Step:
    """Decide the one next step.

    :param stack: what is seen now.
    :param policy: what is wanted.
    :returns: one step; :class:`Done` and :class:`Refuse` end the roll.
    """
    seen, stack = stack, without_spares(stack, policy)
    spared = {c.service for c in seen.containers if c not in stack.containers}
    views = [view_of(stack, wanted) for wanted in policy.services]
    if stack.goal == UNDO:
        return undo(stack, [v for v in views if v.wanted.name not in policy.left])
    return _forward(stack, policy, views, spared)


def without_spares(stack: Stack, policy: Policy) -> Stack:
    """The same without the old containers that go on running, where that is wanted of just these; all of them on the way back."""
    if not policy.spares or stack.goal == UNDO:
        return stack
    others = (c for c in stack.containers if c.spare != SPARE or not c.running or c.in_rotation)
    return replace(stack, containers=tuple(others))


def failure_of(stack: Stack, views: list[View]) -> str:
    """Why the new version cannot be trusted, or an empty string."""
    if stack.fault:
        return stack.fault
    for view in views:
        if not view.changing:
            continue
        for container in view.current:
            if container.fault:
                return f"{view.wanted.name}: {container.name} {container.fault}"
            if view.is_late(container):
                said = f": {container.last_answer}" if container.last_answer else ""
                return (
                    f"{view.wanted.name}: {container.name} never became ready in {view.wanted.ready_timeout:g} s{said}"
                )
    return ""


def _forward(stack: Stack, policy: Policy, views: list[View], spared: set[str]) -> Step:
    cause = failure_of(stack, views)
    fallback = [c for v in views for c in v.old if c.spare != SPARE]
    if cause and (stack.no_return or (not fallback and any(v.old for v in views))):
        # All that serves is what this run has started and proven, and taking it away would leave nothing; or it is what was there
        # before, and nobody asked for the old ones that were left running.
        return Refuse(cause)
    if cause:
        return Undo(cause) if policy.failure_action == "rollback" else Refuse(cause)
    leftovers = tuple(c for v in views for c in v.broken)
    if leftovers:
        return Remove(ids_of(leftovers))
    changing = [v for v in views if v.changing]
    if policy.backward:
        changing = sorted(changing, key=lambda v: v.wanted.kind == WORKER)
    all_of_them = in_a_gap if policy.awaited else backward if policy.backward else together
    if policy.spares:
        all_of_them = sparing
    step = _heal(changing) or (all_of_them(changing) if policy.together else _one_by_one(changing))
    # What led requests away from those that go on running is what keeps them away.
    return step or unpin(stack, [v for v in views if v.wanted.name not in spared]) or Done()


def unpin(stack: Stack, views: list[View]) -> Step | None:
    """Once the proxy has learned where all run, take away what led its requests; None where nothing is left of that."""
    names = [v.wanted.name for v in views]
    cooling = tuple(n for n in names if n in stack.proxy.cooling)
    if cooling:
        return AwaitDns(cooling)
    pinned = [n for n in names if n in stack.proxy.pinned]
    return Unpin(pinned[0]) if pinned else None


def together(views: list[View]) -> Step | None:
    """All services side by side: start and prove the new, switch to it, then drain, stop and remove the old."""
    return _bring_all_up(views) or switch(views) or drain_and_stop(views) or _remove_old(views)


def _bring_all_up(views: list[View]) -> Step | None:
    """Start and prove what comes beside the old; a scheduler changes over while the web is proven, so that no user meets one that fails."""
    first = [v for v in views if not v.stop_first]
    step = _bring_up(first, views)
    if isinstance(step, Prove) and not step.awaited:
        # They are watched together, while the web is asked.
        return switch([v for v in views if v.wanted.kind in (WORKER, SCHEDULER)], watched=False) or step
    return step


def sparing(views: list[View]) -> Step | None:
    """As :func:`together`, and what users reached before goes on running."""
    step = _bring_all_up(views) or switch(views) or _drain([v for v in views if v.proxied])
    served = tuple(c for v in views if v.proxied for c in v.sound if is_outdated(c, v.wanted) and not c.spare)
    return step or (Spare(ids_of(served)) if served else None) or together(views)


def in_a_gap(views: list[View]) -> Step | None:
    """Where requests wait, the web first: until it has them nothing may write that a way back would have to give up.

    A worker would run the tasks that have waited (seen: they were lost with the backup that was restored).
    """
    if any(c.running for v in views if v.wanted.kind == WORKER for c in v.old):
        # They fetch tasks yet, or could not be stopped: it is a roll as any other.
        return together(views)
    web = [v for v in views if v.wanted.kind == WEB and not v.stop_first]
    step = _bring_up(web, views)
    if not step and any(v.missing for v in web):
        # What a web depends on comes with it.
        return together(views)
    return step or switch(web) or together(views)


def backward(views: list[View]) -> Step | None:
    """To what was found good before: older workers start when nobody waits for an answer of the newer web any more.

    A scheduler changes over while the web boots, and what nobody visits any more ends while workers boot.
    """
    # What has to be there for something that sends tasks comes with it.
    lacking = {v.wanted.name for v in views if not v.usable}
    needed = {n for v in views if v.wanted.kind != WORKER and v.missing for n in v.wanted.after if n in lacking}
    workers = [v for v in views if v.wanted.kind == WORKER and v.wanted.name not in needed]
    senders = [v for v in views if v not in workers]
    # What was left running for this is led to at once.
    ready = [v for v in senders if v.proxied and v.current and not v.missing and all(c.spare for c in v.current)]
    step = _await(ready) or _lead(ready)
    if step:
        return step
    first, later = ([v for v in several if not v.stop_first] for several in (senders, workers))
    meanwhile = [v for v in senders if v.wanted.kind == SCHEDULER]
    step = _start(first, views) or _end(meanwhile) or _bring_up([*first, *meanwhile], views) or switch(senders)
    step = step or _drain(senders) or _end_of_senders(senders)
    # A surge container has to be there to go back over.
    step = step or _start(later, views) or _end([v for v in senders if not v.wanted.surge])
    step = step or _await(later) or switch(workers)
    return step or drain_and_stop(views) or _remove_old(views)


def _lead(views: list[View]) -> Step | None:
    """Lead users to the new ones of all these services."""
    for view in views:
        step = _keep(view) or _join(view)
        if step:
            return step
    return None


def _end_of_senders(views: list[View]) -> Step | None:
    """Stop what may send tasks yet, holds a port, or burns a processor: all but a web that nobody visits any more."""
    visited = [v for v in views if v.visited and not v.surging]
    idle = [c.id for v in visited for c in v.old if not (c.connections or c.crashes)]
    running = tuple(c.id for v in views for c in v.old if c.running and c.id not in idle)
    return Stop(running) if running else None


def _one_by_one(views: list[View]) -> Step | None:
    for view in views:
        if waits_for_another(view, views):
            continue
        start_first = [] if view.stop_first else [view]
        step = _bring_up(start_first, views) or switch([view]) or drain_and_stop([view])
        if step:
            return step
    return _remove_old(views)


def _heal(views: list[View]) -> Step | None:
    """Keep rotation and queues to what is known: nothing unproven beside proven ones, no empty rotation, no silence."""
    for view in views:
        if view.paused:
            return Resume(ids_of(view.paused))
        if not view.proxied:
            continue
        # One too many of the wanted version is no better known than the others of it.
        alive = tuple(c for c in view.sound if not is_current(c, view.wanted))
        serving = tuple(c for c in alive if c.in_rotation)
        early = tuple(c for c in view.unproven if c.in_rotation)
        if serving and early and len(alive) >= view.wanted.replicas:
            # A way back that was killed may just have let them in, and then the proxy does not know them yet.
            if not view.learned(serving):
                return AwaitDns((view.wanted.name,))
            return Leave(view.wanted.name, view.addresses(alive), ids_of(early))
        # Better one that may crash again than nobody, where nothing else is let in yet.
        there = alive or tuple(c for c in view.old if c.running and c.address and not is_current(c, view.wanted))
        lost = there and not any(c.in_rotation for c in there + view.current)
        if lost and view.unproven and not view.stop_first:
            return Join(view.wanted.name, view.addresses(there), ids_of(there))
    return None


def waits_for_another(view: View, every: list[View]) -> bool:
    """Whether something that a service depends on has to be ready before one of it is started."""
    return any(v.wanted.name in view.wanted.after and not v.usable for v in every)


def _bring_up(views: list[View], every: list[View]) -> Step | None:
    """Start, await and prove the new containers of all these services together, what others need first."""
    return _start(views, every) or _await(views)


def _start(views: list[View], every: list[View]) -> Step | None:
    due = [v for v in views if v.missing and not waits_for_another(v, every)]
    if due:
        return Start(
            create=tuple((v.wanted.name, v.missing) for v in due),
            hold=tuple((v.wanted.name, _rotation(v)) for v in due if _rotation(v)),
            surges=tuple(v.wanted.name for v in due if v.surging),
            # Where no old one runs, better one that is not proven comes back with the machine than nobody.
            unkept=tuple(v.wanted.name for v in due if v.sound),
        )
    return None


def _end(views: list[View]) -> Step | None:
    running = tuple(c for v in views for c in v.old if c.running)
    return Stop(ids_of(running)) if running else None


def _await(views: list[View]) -> Step | None:
    unready = ids_of(tuple(c for v in views for c in v.unready))
    # Proven while others boot; and while it serves, where it takes nobody's place.
    unproven = ids_of(tuple(c for v in views if not (v.unready or v.deserted) for c in v.unproven))
    if unproven:
        return Prove(unproven, awaited=unready)
    return AwaitReady(unready) if unready else None


def _rotation(view: View) -> tuple[str, ...]:
    return view.addresses(tuple(c for c in view.current + view.sound if c.in_rotation))


def switch(views: list[View], watched: bool = True) -> Step | None:
    """One service after the other: stop-first ones change over, proxied ones join; then the monitor window.

    :param watched: whether that window is waited for.
    """
    for view in views:
        if view.wanted.kind in (SCHEDULER, WEB) and view.wanted.replicas:
            # Before anything new sends tasks: an old worker discards those that it does not know, so it fetches no more.
            step = _quiesce(views)
            if step:
                return step
        if view.stop_first:
            step = _end([view]) or _bring_up([view], [])
            if step:
                return step
        # Nothing has users, nor an old one its end, before it would come back with the machine.
        step = _keep(view) or (_join(view) if view.proxied else None)
        if step:
            return step
        if watched and view.now < view.watched_until:
            return Prove(ids_of(view.current), proxied=view.proxied)
    return None


def _keep(view: View) -> Step | None:
    unkept = tuple(c for c in view.current if c.unkept)
    return Keep(ids_of(unkept)) if unkept else None


def _quiesce(views: list[View]) -> Step | None:
    consuming = tuple(c for v in views for c in v.old if v.is_consuming(c))
    return Quiesce(ids_of(consuming)) if consuming else None


def _join(view: View) -> Step | None:
    wanted = view.wanted
    joined = tuple(c for c in view.current if c.in_rotation)
    waiting = tuple(c for c in view.current if not c.in_rotation)
    inside = tuple(c for c in view.old if c.in_rotation)
    staying = tuple(c for c in inside if not c.crashes)
    if wanted.canary_time and staying and not joined:
        first = waiting[:1]
        return Join(wanted.name, view.shared(first, staying), ids_of(first))
    if wanted.canary_time and staying and view.now < view.tried_until:
        return Prove(ids_of(joined), proxied=True, tried=True)
    if waiting:
        moments = [c.joined_at for c in joined if c.joined_at is not None]
        if moments and view.now < max(moments) + wanted.delay:
            return Prove(ids_of(joined), proxied=True)
        batch = waiting[: wanted.parallelism] if wanted.parallelism else waiting
        kept = staying if view.overlaps else staying[: max(0, wanted.replicas - len(joined) - len(batch))]
        leaving = tuple(c for c in inside if c not in kept)
        return Join(wanted.name, view.addresses(joined + batch + kept), ids_of(batch), ids_of(leaving))
    if view.overlaps and staying and not (view.learned(joined) and view.now >= view.watched_until):
        # Nothing has to be taken back but the new one, should it not be good.
        return Prove(ids_of(joined), proxied=True)
    if inside or view.stale:
        return Leave(wanted.name, view.addresses(joined), ids_of(inside))
    return None


def drain_and_stop(views: list[View]) -> Step | None:
    """Drain and stop what is old, all these services together."""
    return _quiesce(views) or _drain(views) or _end(views)


def _drain(views: list[View]) -> Step | None:
    busy = tuple(c for v in views for c in v.old if v.is_busy(c))
    return Drain(ids_of(busy)) if busy else None


def _remove_old(views: list[View]) -> Step | None:
    """Remove what is old, once all of it is stopped."""
    old = tuple(c for v in views for c in v.old)
    return Remove(ids_of(old)) if old else None


def undo(stack: Stack, views: list[View]) -> Step:
    """The next step back to what served before: users first, then one service after the other."""
    due = [undo_service(view) for view in sorted(views, key=lambda v: _UNDONE.index(v.wanted.kind))]
    found = [step for step in due if step]
    if found:
        return min(found, key=lambda step: not isinstance(step, (Join, Leave)))
    lost = [f"{c.name} of the old version did not come back" for v in views for c in fallen_of(v)]
    return unpin(stack, views) or Done(failed=True, reason="; ".join([stack.cause, *lost]))
