# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Celery tasks on the way back: what older workers would discard is run before, or kept from them.

An older worker takes any message of its queue and throws away what it does not register.  So the newer ones go on as
long as they run such tasks, then end, and before an older one is started what is left is moved within the broker to
lists that nobody fetches from.  Each step finds what is left to do: a call that was killed is taken up by the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.host.files import private_directory
from ...celery import backlog
from ...celery.backlog import UNREAD, Go, Look, Wait, Worker
from ...celery.host.tasks_aside import record, recorded, summed
from ...engine.host.project import state_dir_of
from ...engine.options import ProjectOptions
from ...operation.host.journal import Fence, working
from ...operation.host.progress import Progress, ProgressOptions
from ...operation.options import LockOptions
from .celery_workers import Workers, workers_of

# Seconds of one look that waits: what is done meanwhile is told in between.
_VISIT = 10.0
#: Passes over the queues: each finds what was put there during the one before.
_PASSES = 20
_UNKNOWN_APP = (
    "which Celery app {} has cannot be read from its command, so the queues were not looked at: a task that only the "
    "newer version knows is discarded by an older worker that fetches it"
)
_LEFT = (
    "{}: fetched by a worker of another project at the same broker, or not to be read, and left where they are; an older "
    "worker that fetches one of them discards it"
)


@dataclass(frozen=True)
class Request:
    """What is done about tasks that not every version registers.

    :ivar state: ``known`` before older workers are started, ``returned`` once a version is back that registers more.
    :ivar timeout: seconds that newer workers have for what only they register.
    :ivar leave_unread: whether tasks are left where they are whose names the broker does not show.
    :ivar removed: services that the version to come does not have, whose workers end too.
    """

    project: ProjectOptions
    lock: LockOptions
    progress: ProgressOptions
    state: str = "known"
    timeout: float = 60
    leave_unread: bool = False
    removed: tuple[str, ...] = ()
    service_options: Mapping[str, Any] = field(default_factory=dict)


def queues(request: Request, check_mode: bool) -> dict[str, Any]:
    """Run or keep aside what older workers would discard, or put back what was kept.

    :raises BadInput: it cannot be known what would be lost, and why.
    """
    if request.timeout < 0:
        raise BadInput(f"timeout: {request.timeout} is less than nothing", "write seconds, such as 60")
    return _returned(request, check_mode) if request.state == "returned" else _known(request, check_mode)


def _result(msg: str, changed: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "changed": changed,
        "msg": msg,
        "waiting": {},
        "aside": {},
        "seconds": 0.0,
        "notes": [],
        **more,
    }


def _look(workers: Workers, seconds: float = 0.0) -> Look:
    return _seen(workers, workers.ask("look", seconds=seconds, unread=UNREAD))


def _seen(workers: Workers, said: Mapping[str, Any]) -> Look:
    answering = {
        node: Worker(frozenset(w["registered"]), {str(n): int(c) for n, c in w["fetched"].items()})
        for node, w in said["workers"].items()
    }
    return Look(
        frozenset(said["registered"]),
        said["waiting"],
        said["held"],
        said["elsewhere"],
        answering,
        max(0, workers.running - len(answering)),
    )


# -- before older workers are started ------------------------------------------------------------------------


def foreseen(workers: Workers) -> dict[str, Any]:
    """What a call with ``state: known`` would do, touching nothing.

    :raises BadInput: it cannot be known.
    """
    return _first_look(workers)[1]


def _first_look(workers: Workers) -> tuple[Look | None, dict[str, Any]]:
    """What is seen, None where there is nothing to look at, and what it means."""
    if not workers.newer or not workers.services:
        return None, _result("no worker of another version is there, or none comes")
    if workers.consumer is None:
        return None, _result("the queues were not looked at", notes=[_UNKNOWN_APP.format(", ".join(workers.services))])
    look = _look(workers)
    notes = _notes(look)
    if not backlog.concerns(look):
        return look, _result("the queues hold nothing that the older workers do not register", notes=notes)
    left = backlog.unknown(look)
    return look, _result(_sentence(look, left), True, waiting=left, notes=notes)


def _known(request: Request, check_mode: bool) -> dict[str, Any]:
    workers = workers_of(request.project, request.lock, request.service_options, request.removed)
    look, expected = _first_look(workers)
    if look is None or check_mode or not expected["changed"]:
        return expected
    directory = state_dir_of(request.lock, workers.project)
    with working(request.lock, directory, f"celery_queues of {workers.project}") as fence:
        progress = Progress.open(directory, request.progress.progress_id)
        try:
            return fence.reported(_hand_over(request, workers, directory, fence, progress, look, expected["notes"]))
        finally:
            progress.close()


def _notes(look: Look) -> list[str]:
    return [
        f"{backlog.counted(names)} in the queue {queue}, which no older worker fetches from: it stays there"
        for queue, names in look.is_external.items()
        if names
    ]


def _sentence(look: Look, left: Mapping[str, int]) -> str:
    if left:
        return (
            f"{backlog.counted(left)} wait, which the older workers do not register: the newer ones would have some time for them "
            "(rollback_tasks_timeout in a playbook); what is left then would be kept aside"
        )
    if look.silent:
        return "newer workers run that do not answer: they would end before older ones start, and what they leave be looked at"
    some = sorted(backlog.news(look))
    return f"newer workers know {', '.join(some[:5])}, which older ones do not: they would end before older ones start"


def _hand_over(
    request: Request,
    workers: Workers,
    directory: str,
    fence: Fence,
    progress: Progress,
    look: Look,
    notes: list[str],
) -> dict[str, Any]:
    began, timeout = time.monotonic(), request.timeout
    # Where an update was killed, older ones may run beside the newer: they must not fetch either.
    workers.hush(fence)
    while True:
        step = backlog.next_of(look, time.monotonic() - began, timeout)
        if isinstance(step, Go):
            break
        progress.say(f"waiting for newer workers to run {backlog.counted(backlog.unknown(look))}", step="wait")
        look = _look(workers, max(0.0, min(_VISIT, timeout - (time.monotonic() - began))))
    waited = time.monotonic() - began
    _refuse_unread(look, step, request.leave_unread)
    progress.say("newer workers fetch no more, and end with what they have begun", step="end")
    workers.end(fence)
    # Written before: a call that is killed in the middle leaves word of what lies aside.
    left = backlog.unknown(_look(workers))
    moved: dict[str, dict[str, int]] = {}
    private_directory(directory)
    for _pass in range(_PASSES):
        if not any(name != UNREAD for name in left):
            break
        record(directory, {**recorded(directory), "": left})
        with fence.act("keep tasks aside"):
            said = workers.ask("aside", unread=UNREAD)
        if not said["moved"]:
            break
        for key, names in said["moved"].items():
            mine = moved.setdefault(key, {})
            for name, count in names.items():
                mine[name] = mine.get(name, 0) + count
        record(directory, said["aside"])
        # Told together: no worker runs meanwhile, and each question costs the start of a container.
        left = backlog.unknown(_seen(workers, said["seen"]))
    report = summed(moved)
    notes = [*notes, *([_LEFT.format(backlog.counted(left))] if left else [])]
    return _result(_said(report, waited), True, aside=report, seconds=round(waited, 1), notes=notes)


def _refuse_unread(look: Look, step: Go | Wait, leave: bool) -> None:
    number = step.left.get(UNREAD, 0) if isinstance(step, Go) else 0
    if number and not leave:
        some = ", ".join(sorted(backlog.news(look))[:5]) or "what newer workers know cannot be asked"
        raise BadInput(
            f"{number:,} tasks wait, this broker does not show of which names, and older workers would discard some: {some}",
            "wait until the queues are empty, or give it longer: -e rollback_tasks_timeout=600; where none of these is among "
            "them, -e rollback_allow_unread=true",
        )


def _said(report: Mapping[str, int], waited: float) -> str:
    took = f" after {waited:.0f} s" if waited >= 1 else ""
    if not report:
        return f"newer workers have run what older ones do not register{took}, and have ended"
    return (
        f"kept aside{took}, since older workers would discard it: {backlog.counted(report)}; the next update to a version that "
        "registers these puts them back by itself"
    )


# -- when a version is back that registers them ---------------------------------------------------------------


def _returned(request: Request, check_mode: bool) -> dict[str, Any]:
    name = request.project.project_name
    directory = state_dir_of(request.lock, name)
    if (request.lock.state_dir or name) and not recorded(directory):
        return _result("no task lies aside")
    workers = workers_of(request.project, request.lock, request.service_options, request.removed)
    directory = state_dir_of(request.lock, workers.project)
    kept = summed(recorded(directory))
    if not kept:
        return _result("no task lies aside")
    if workers.consumer is None or check_mode:
        known = set(workers.ask("look", seconds=0, unread=UNREAD)["registered"]) if workers.consumer else set()
        back = {n: c for n, c in kept.items() if n in known}
        msg = f"would be put back: {backlog.counted(back)}" if back else f"stays aside: {backlog.counted(kept)}"
        return _result(msg, bool(back), aside=kept)
    with (
        working(request.lock, directory, f"celery_queues of {workers.project}") as fence,
        fence.act("put tasks back into their queues"),
    ):
        said = workers.ask("back")
        record(directory, said["aside"])
        back, still = summed(said["moved"]), summed(said["aside"])
        words = [f"put back into their queues: {backlog.counted(back)}"] if back else []
        words += (
            [f"still aside, since no worker of this version registers it: {backlog.counted(still)}"] if still else []
        )
        return fence.reported(_result("; ".join(words) or "no task lies aside", bool(back), aside=still, waiting=back))
