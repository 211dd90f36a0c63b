# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace the containers of a stack: check everything first, then roll, then say what happened.

:func:`roll` returns what the module returns; :class:`BadInput` is raised before anything is touched.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Callable

from ...base.errors import BadInput
from ...base.host import processor_share
from ...base.host.files import FilesFailed
from ...engine.host import configurations
from ...engine.programs import WEB
from ...engine.services import STOP_FIRST
from ...operation.host.journal import Fence, working
from ...operation.host.progress import Progress, ProgressOptions
from ...operation.host.records import Records, first_line
from ...releases.host import adopted, kept_images
from ...traffic import waiting_room
from ...traffic.host import user_answers
from .. import next_step, steps
from ..progress import Narrator
from ..stack import Stack
from ..steps import Step
from . import celery_workers, generations, spares, worker_queues
from .chosen_strategy import BLUE_GREEN, ROLLING
from .doors import is_cut_off
from .fenced import FencedMachine
from .machine import ComposeMachine
from .plan import Call, Request, prepare, refuse_what_cannot_change_hands, refuse_without_room
from .project_look import ProjectLook
from .report import (
    Timeline,
    difference,
    keep_logs,
    logs_of_the_new,
    message,
    rest_sentences,
    result_of,
    said_by_the_new,
)
from .roller import Roller, StepFailed

#: See :func:`roll`.
StandBy = Callable[[str, str], AbstractContextManager[None]]


def roll(
    request: Request,
    check_mode: bool,
    standing_by: StandBy,
    beside: Mapping[str, Callable[[], dict[str, Any]]] | None = None,
    look: ProjectLook | None = None,
) -> dict[str, Any]:
    """Replace what is not as wanted.

    :param standing_by: given an app's name and its state directory, has a guard begin where this process is killed in the block.
    :param beside: waits for what a plan of the way back tells where something runs, by its name in the result: ``backlog`` and ``schema``.
    :param look: what was seen of the project a moment ago.
    :returns: what the module returns (``failed`` included when it failed).
    :raises BadInput: before anything is touched.
    """
    if not check_mode:
        adopted.see_to_return(request.project.project_src, request.lock, request.service_options)
    if request.images and not check_mode:
        kept_images.bring_back(request.project, request.lock, request.images)
    call = prepare(request, check_mode, look)
    if not check_mode and request.only != "proxies" and is_cut_off(call.engine, call.project, call.kinds):
        # Two of a proxy are one too many to be led. What fails goes back to one as well.
        alone = replace(
            request, only="proxies", progress=ProgressOptions(), images={}, generation="", remove_orphans=False
        )
        roll(alone, False, standing_by)
        call = prepare(request)
    machine = ComposeMachine(
        call.compose,
        call.engine,
        call.name,
        call.targets,
        call.proxy_name,
        call.project,
        call.state_dir,
        request.keep_old,
    )
    roller = Roller(machine, call.policy(), successes=max([t.settings.ready_successes for t in call.targets] or [1]))
    try:
        stack = roller.observe()
    except StepFailed as error:
        raise BadInput(str(error)) from error
    wanted = next_step.without_spares(stack, roller.policy)
    refuse_what_cannot_change_hands(call, wanted)
    refuse_without_room(call, machine, wanted)
    roller.policy = call.policy()
    diff, replaced = difference(call, wanted)
    pending = not isinstance(next_step.next_step(stack, roller.policy), steps.Done)
    if check_mode:
        rest = rest_sentences(call.rest, call.kinds)
        text = "; ".join([*(one.sentence() for one in replaced), *rest]) or "nothing would be changed"
        result = result_of(call, stack, pending or bool(rest), diff, [], text, replaced)
        result["unheld"] = call.unheld
        if request.backward and any(c.running for c in stack.containers):
            told = dict(beside or {})
            if call.rest.removed:
                told["backlog"] = partial(backlog, request, look, call.rest.removed)
            # What would not be changed has no older workers to come.
            asked = {name: tell() for name, tell in told.items() if name != "backlog" or result["changed"]}
            result.update(asked)
            result["notes"] = [*call.notes, *(note for one in asked.values() for note in one["notes"])]
        return result
    with working(request.lock, call.state_dir, f"compose_rolling of {call.name}") as fence:
        if request.spares and request.spares != spares.read(call.state_dir).containers.keys():
            return result_of(call, stack, False, {}, [], "others have taken their place")
        if pending and not fence.alone:
            kept_images.keep(call.engine, fence.keeper.records, fence.run, _images_of(stack))
        generations.keep(call.state_dir, request.generation, call.newer_than)
        roller.machine = FencedMachine(machine, fence)
        progress = Progress.open(call.state_dir, request.progress.progress_id)
        steered = pending and any(t.steering for t in call.targets)
        try:
            with standing_by(call.name, call.state_dir) if steered else contextlib.nullcontext():
                if users_wait(request, call):
                    processor_share.hurry()
                result = _roll_locked(call, roller, machine, diff, fence, progress)
        finally:
            progress.close()
    if call.strategy == BLUE_GREEN and result.get("spares"):
        spares.end_when_due(call.state_dir, partial(_take_away, request, standing_by))
    return result


def backlog(request: Request, look: ProjectLook | None, removed: Sequence[str] = ()) -> dict[str, Any]:
    """What older workers would discard of what waits: see ``celery_queues``, which sees to it.

    :param look: what was seen of the project a moment ago.
    :param removed: services that the version to come does not have.
    :raises BadInput: it cannot be known.
    """
    workers = celery_workers.workers_of(request.project, request.lock, request.service_options, removed, look)
    return worker_queues.foreseen(workers)


def _take_away(request: Request, standing_by: StandBy, due: spares.Spares) -> None:
    """Replace nothing, and remove what was left running: a roll of these services that keeps nothing."""
    after = replace(
        request, lock=replace(request.lock, lock_token=""), services=tuple(due.beside), only="", strategy=ROLLING,
        spares=frozenset(due.containers), generation="", remove_orphans=False, images={},
    )  # fmt: skip
    roll(after, False, standing_by)


def _images_of(stack: Stack) -> dict[str, list[str]]:
    """Service → ids of the images that run."""
    found: dict[str, list[str]] = {}
    for container in stack.containers:
        ids = found.setdefault(container.service, [])
        ids += [container.image] if container.running and container.image not in ids else []
    return found


def users_wait(request: Request, call: Call) -> bool:
    """Whether users wait for the end of a roll: it takes a version back, or while it works one that they ask is away."""
    away = any(t.settings.kind == WEB and t.settings.order == STOP_FIRST for t in call.targets)
    return away or bool(request.backward or call.gap)


def _roll_locked(
    call: Call, roller: Roller, machine: ComposeMachine, diff: dict[str, str], fence: Fence, progress: Progress
) -> dict[str, Any]:
    timeline = Timeline()
    narrator = Narrator(frozenset(t.settings.name for t in call.targets if t.settings.kind == WEB))
    log_tail: dict[str, str] = {}

    def on_step(step: Step, stack: Stack, began: float, seconds: float, failure: str) -> None:
        timeline.add(step, stack, began, seconds, failure)
        progress.tell(*narrator.after(step, stack, seconds, failure))
        if isinstance(step, steps.Undo):
            processor_share.hurry()
            fence.undo_begins(step.reason)
            log_tail.update(logs_of_the_new(call, stack))

    roller.on_step = on_step
    began = time.time()
    try:
        outcome = roller.run()
    finally:
        machine.end_politeness()
    call.notes += list(filter(None, [waiting_room.sentence(waiting_room.summed(machine.waited))]))
    call.notes += [user_answers.sentence(name, answers) for name, answers in machine.answers.items()]
    progress.tell(*narrator.look(outcome.stack))
    result = result_of(call, outcome.stack, outcome.changed, diff if outcome.changed else {}, timeline.entries, "")
    result["msg"] = message(call, outcome, log_tail)
    if outcome.cut_connections:
        result["cut_connections"] = outcome.cut_connections
    if outcome.cut_tasks:
        result["cut_tasks"] = outcome.cut_tasks
    if outcome.failed:
        result.update(failed=True, rolled_back=not outcome.refused)
    elif outcome.changed and call.log_lines:
        result["logs"] = said_by_the_new(call, outcome.stack)
    if outcome.changed:
        fence.details.update(timeline=timeline.entries)
    fence.reported(result)
    if outcome.failed:
        fence.details.update(result=f"failed: {first_line(outcome.reason)}")
    try:
        if log_tail:
            result["log_files"] = keep_logs(call, log_tail)
        if not outcome.failed:
            known = {t.settings.name for t in call.targets if not t.removed} | set(call.settled)
            configurations.keep(call.state_dir, {n: call.project["services"][n] for n in known}, call.hashes)
        if outcome.changed and fence.alone:
            _record(call, fence.run, began, result)
    except (OSError, FilesFailed) as error:
        # What was done is done: a full disk must not turn a good roll into a failed one.
        call.notes.append(f"the record of this roll could not be written to {call.state_dir}: {error}")
    return result


def _record(call: Call, run: str, began: float, result: Mapping[str, Any]) -> None:
    """Leave on the target what was done by a roll that is no part of an operation."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(began))
    report = {key: result.get(key) for key in ("changed", "failed", "rolled_back", "msg", "serving", "timeline")}
    record = {**report, "operation": "compose_rolling", "started": moment, "seconds": round(time.time() - began, 3)}
    Records(call.state_dir).write(run, record)
