# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll that failed does next to have a service back as it was: see :mod:`.rolling`, which asks it."""

from __future__ import annotations

from .stack import SPARE, Container, View, ids_of, is_current, is_outdated, is_surge
from .steps import AwaitDns, AwaitReady, Drain, Join, Keep, Leave, Quiesce, Refuse, Remove, Resume, Start, Step, Stop


def undo_service(view: View) -> Step | None:
    """Decide the next step of one service's way back.

    :returns: one step, None where what served before does so again and nothing else is left; ``Refuse`` where it cannot.
    """
    wanted = view.wanted
    doomed = view.current + view.broken
    # What was left running beside something that this run has not made is not what served before it.
    made = any(c.created_here for c in doomed)
    outgoing = tuple(c for c in view.old if is_outdated(c, wanted) and (made or c.spare != SPARE))
    if not outgoing:
        # It was right before the call, or there was nothing before it: only what this run added may go.
        doomed = tuple(c for c in doomed if c.created_here)
        paused = tuple(c for c in view.paused if not c.created_here)
        if paused:
            return Resume(ids_of(paused))
        staying = tuple(c for c in view.current if c.in_rotation and not c.created_here)
        inside = tuple(c for c in doomed if c.in_rotation)
        if staying and (inside or view.stale):
            return Leave(wanted.name, view.addresses(staying), ids_of(inside))
        return _take_away(view, doomed)
    if view.stop_first:
        step = _take_away(view, doomed)
        if step:
            return step
    fallen = fallen_of(view)
    alive = tuple(c for c in outgoing if c.running and c not in fallen)
    if fallen and not alive:
        return _fall_back(view, fallen[0])
    ended = tuple(c for c in outgoing if not c.running and c not in fallen)
    # Which of them ran, a run that was killed cannot say; what the project no longer has comes back as it was.
    number = wanted.replicas or len(outgoing)
    asleep = tuple(c for c in ended if c.ended_here) or ended[: max(0, number - len(alive))]
    if asleep:
        return make_room(view) or Start(restart=ids_of(asleep))
    unkept = tuple(c for c in alive if c.unkept)
    if unkept:
        return Keep(ids_of(unkept))
    restarted = tuple(c for c in alive if c.awaited_since is not None and c.ready_since is None)
    if restarted:
        return AwaitReady(ids_of(restarted))
    paused = tuple(c for c in alive if c.consumes is False)
    if paused:
        return Resume(ids_of(paused))
    if view.proxied:
        inside = tuple(c for c in doomed if c.in_rotation)
        if view.addresses(alive) and (inside or view.stale or not all(c.in_rotation for c in alive)):
            return _exchange(view, alive, inside)
    return _take_away(view, doomed)


def fallen_of(view: View) -> tuple[Container, ...]:
    """Old containers that were started again to be gone back to, and have ended or are not ready in time."""
    return tuple(
        c
        for c in view.old
        if is_outdated(c, view.wanted) and c.awaited_since is not None and (view.is_late(c) or not c.running)
    )


def _exchange(view: View, coming: tuple[Container, ...], leaving: tuple[Container, ...]) -> Step:
    """Lead to these in place of those, over a time in which the proxy has to know both where it needs that."""
    name, joining = view.wanted.name, tuple(c for c in coming if not c.in_rotation)
    if view.overlaps and joining:
        return Join(name, view.addresses(coming + leaving), ids_of(joining))
    if leaving and not view.learned(coming):
        return AwaitDns((name,))
    return Join(name, view.addresses(coming), ids_of(joining), ids_of(leaving))


def _fall_back(view: View, fallen: Container) -> Step:
    """What was started again to be gone back to has ended: whoever else runs serves, and a person has to look."""
    staying = tuple(c for c in view.current if c.running)
    if view.proxied and staying and (view.stale or not all(c.in_rotation for c in staying)):
        joining = tuple(c for c in staying if not c.in_rotation)
        return Join(view.wanted.name, view.addresses(staying), ids_of(joining))
    why = fallen.last_answer if fallen.running else fallen.fault or "ended"
    return Refuse(f"{view.wanted.name}: the old version did not come back either: {fallen.name} {why}")


def make_room(view: View) -> Step | None:
    """End what holds the place of an old container that is to come back; a surge container serves in the meantime."""
    wanted = view.wanted
    holding = tuple(c for c in view.current if c.running and wanted.surge and is_current(c, wanted))
    helpers = tuple(c for c in view.current + view.broken if is_surge(c, wanted))
    serving = tuple(c for c in holding if c.in_rotation)
    unready = tuple(c for c in helpers if c.ready_since is None)
    if serving and helpers and not any(c.fault or view.is_late(c) for c in helpers):
        asleep = tuple(c for c in helpers if not c.running)
        if asleep:
            return Start(restart=ids_of(asleep))
        if unready:
            return AwaitReady(ids_of(unready))
        return _exchange(view, helpers, serving)
    return _take_away(view, holding)


def _take_away(view: View, doomed: tuple[Container, ...]) -> Step | None:
    consuming = tuple(c for c in doomed if view.is_consuming(c))
    if consuming:
        return Quiesce(ids_of(consuming))
    busy = tuple(c for c in doomed if c.left_at is not None and view.is_busy(c))
    if busy:
        return Drain(ids_of(busy))
    running = tuple(c for c in doomed if c.running)
    if running:
        return Stop(ids_of(running))
    return Remove(ids_of(doomed)) if doomed else None
