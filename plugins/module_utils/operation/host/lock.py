# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes, renews and gives back the lock of a whole operation, between its modules, and keeps its record."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ...base.errors import BadInput
from ...base.host import known_secrets
from ...base.host.clock import lives, now
from ...base.host.files import FilesFailed
from .. import lease
from ..lease import Operation, Wait
from ..summary import PLAN, Story, summary
from . import left_behind, state_folder
from .journal import FencedOff, Keeper, begin_undo, end_undo
from .progress import Progress, ProgressOptions, Relay
from .records import first_line, iso

_NOTED = ("before", "revision", "release", "go_back")
_OF_LAST = ("playbook", "target", "release", "result")


@dataclass(frozen=True)
class Request:
    """What becomes of an operation's lock, and what its record is to say.

    :ivar state_dir: absolute; where the app's state is to be kept.
    :ivar state: ``held`` takes the lock, ``renewed`` begins its lease anew and notes what is given, ``released`` gives it back.
    :ivar former_state_dir: where the state was kept formerly; taking the lock moves it from there.
    :ivar lock_token: of the lock that is held already; with ``held`` it is renewed.
    :ivar lease: seconds until others may take it over; ``wait``: seconds that others are waited for.
    :ivar at_once: answer at once where somebody has to be waited for, however long ``wait`` is.
    :ivar take_over: take the lock from whoever has it.
    :ivar goal: of ``renewed``: ``forward``; ``undo`` begins the way back, and ``undone`` ends it.
    :ivar before: what served, for the way back; kept in the record as are ``revision``, ``release`` and ``go_back`` (a command).
    :ivar steps: of ``released`` in check mode, where there is no record: the results of the operation's modules.
    :ivar reason: why ``result`` is ``failed``, or why there is an undo.
    """

    state_dir: str
    state: str = "held"
    former_state_dir: str = ""
    lock_token: str = ""
    playbook: str = "manual"
    app_name: str = ""
    target: str = ""
    who: str = ""
    lease: float = 1800.0
    wait: float = 0.0
    at_once: bool = False
    take_over: bool = False
    goal: str = ""
    before: Mapping[str, Any] = field(default_factory=dict)
    revision: str = ""
    release: str = ""
    reason: str = ""
    result: str = "ok"
    go_back: str = ""
    steps: tuple[Mapping[str, Any], ...] = ()
    progress: ProgressOptions = field(default_factory=ProgressOptions)


def lock(request: Request, check_mode: bool) -> dict[str, Any]:
    """Take the lock, renew it or give it back.

    :raises LockHeld: somebody else has it.
    :raises FencedOff: for ``renewed``: the caller's number is not the newest any more.
    """
    wanted, former = request.state_dir, request.former_state_dir
    for name, path in (("state_dir", wanted), ("former_state_dir", former or "/")):
        if not os.path.isabs(path) or ".." in path.split("/"):
            raise BadInput(f"{name} {path} must be absolute and without ..")
    wanted = os.path.normpath(wanted)
    if request.state == "held" and not check_mode:
        return _hold_where_it_is(wanted, former, request)
    directory = state_folder.where(wanted, former)
    if directory == wanted or os.geteuid():
        return {**_ask(directory, request, check_mode), "state_dir": directory}
    with state_folder.opened(former) as handle:
        return {**_ask(state_folder.of_handle(handle), request, check_mode), "state_dir": directory}


def _hold_where_it_is(wanted: str, former: str, request: Request) -> dict[str, Any]:
    """Take the lock in the folder that has it, then move that folder if it lies where it did formerly."""
    directory = state_folder.where(wanted, former)
    if directory == wanted or os.geteuid():
        is_default = os.path.dirname(wanted) == state_folder.DEFAULT and directory == wanted
        if is_default and former:
            state_folder.refuse_two(wanted, former)
        result = _hold(Keeper(directory), request)
        if is_default:
            state_folder.settle(wanted)
        return {**result, "state_dir": directory}
    with state_folder.opened(former) as handle:
        keeper = Keeper(state_folder.of_handle(handle))
        result = _hold(keeper, request)
        if state_folder.is_at(handle, former):
            try:
                state_folder.move(handle, former, wanted)
            except BaseException:
                # Nothing to give back where the folder has gone to its new place: the lock is the same operation's there.
                with suppress(OSError, FilesFailed):
                    keeper.release(str(result["lock_token"]))
                raise
        elif not state_folder.is_at(handle, wanted):
            # Another run has copied it away while this one waited for the lock: this lock is of a folder that is gone.
            return _hold_where_it_is(wanted, former, request)
    return {**result, "state_dir": wanted}


def _ask(directory: str, request: Request, check_mode: bool) -> dict[str, Any]:
    if check_mode:
        free = _answer(lease.Lock(), request.state == "held", "the lock is free")
        result = _foretell(Keeper(directory), request) if os.path.isdir(directory) else free
        return {**result, "summary": _would_be(request)} if request.state == "released" else result
    keeper = Keeper(directory)
    if request.state == "renewed":
        return _renew(keeper, request)
    return _release(keeper, request)


def _wanted(request: Request) -> Operation:
    return Operation(request.playbook, request.app_name, request.target)


def _who(request: Request) -> str:
    try:
        return request.who or f"{getpass.getuser()}@{os.uname().nodename}"
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}@{os.uname().nodename}"


def _answer(held: lease.Lock, changed: bool, msg: str, **more: Any) -> dict[str, Any]:
    left = lease.remaining(held, now()) if held.held else 0.0
    return {
        "changed": changed,
        "lock_token": held.token,
        "number": held.number,
        "holder": f"{held.operation} by {held.who}" if held.held else "",
        "expires": iso(time.time() + left) if held.held else "",
        "msg": msg,
        **more,
    }


def _foretell(keeper: Keeper, request: Request) -> dict[str, Any]:
    """What would be, touching nothing; that somebody else works is no failure of a question."""
    held = keeper.read()
    mine = not lease.objection(held, request.lock_token)
    if request.state != "held":
        return {**_answer(held, mine and request.state == "released", "as it is now"), "lock_token": ""}
    verdict = lease.may_take(held, now(), lives(held.process), _wanted(request), request.take_over)
    free = not mine and not isinstance(verdict, Wait)
    text = f"it is held: {held.operation} by {held.who}" if isinstance(verdict, Wait) else "the lock could be taken"
    pending_undo = keeper.records.read(held.pending_undo) if held.pending_undo else {}
    return {**_answer(held, free, text, unfinished=pending_undo), "lock_token": ""}


def _hold(keeper: Keeper, request: Request) -> dict[str, Any]:
    token = request.lock_token
    if token and not lease.objection(keeper.read(), token):
        held = keeper.renew(token)
        unfinished = keeper.records.read(held.pending_undo)
        return _answer(
            held, False, "the lock is held already", unfinished=unfinished, taken_over="", last=_last(keeper, held)
        )
    if request.lease < 1:
        raise BadInput(f"lease: {request.lease:g} seconds cannot be")
    wanted, over = _wanted(request), request.take_over
    mine = Progress.open(keeper.directory, request.progress.progress_id)
    relay = Relay(mine, keeper.directory)

    def sleep(seconds: float) -> None:
        # What the other one does is what this one waits for.
        relay.pump()
        time.sleep(seconds)

    try:
        grant = keeper.take(
            wanted,
            _who(request),
            float(request.lease),
            float(request.wait),
            over,
            sleep=sleep,
            at_once=request.at_once,
        )
        relay.pump()
    finally:
        mine.close()
    msg = f"the lock is held under number {grant.lock.number}"
    msg += f", taken over from {grant.over}" if grant.over else ""
    return _answer(
        grant.lock, True, msg, unfinished=grant.pending_undo, taken_over=grant.over, last=_last(keeper, grant.lock)
    )


def _last(keeper: Keeper, held: lease.Lock) -> dict[str, str]:
    """What the operation before this one was, and how it ended; empty texts where nobody knows."""
    record = keeper.records.newest(but=held.run)
    return {key: str(record.get(key) or "") for key in _OF_LAST}


def _renew(keeper: Keeper, request: Request) -> dict[str, Any]:
    token, goal = request.lock_token, request.goal
    held = keeper.renew(token)
    news = {key: value for key in _NOTED if (value := getattr(request, key))}
    if news:
        # Whatever cannot be recorded does not begin: without it there would be no way back after a kill.
        keeper.note(held.run, **news)
    if goal == "undo":
        begin_undo(keeper, token, request.reason)
    elif goal == "undone":
        end_undo(keeper, token)
    held = keeper.check(token)
    pending_undo = keeper.records.read(held.pending_undo) if held.pending_undo else {}
    return _answer(held, False, "the lease began anew", unfinished=pending_undo)


def _release(keeper: Keeper, request: Request) -> dict[str, Any]:
    token = request.lock_token
    split = lease.split_token(token)
    if split is None:
        return _answer(keeper.read(), False, "no lock was held")
    run = split[1]
    lines: list[str] = []
    with suppress(FencedOff):
        unwritten = keeper.check(token).unwritten
        record = keeper.records.read(run)
        if record:
            lines = _ended(keeper, run, record, request, unwritten)
    gone = keeper.release(token)
    held = keeper.read()
    if gone:
        with suppress(FilesFailed):
            left_behind.operation_has_ended(keeper.directory)
        return _answer(held, True, "the lock was given back", summary=lines)
    return _answer(held, False, f"not given back: {lease.objection(held, token)}", summary=lines)


def _seconds(record: Mapping[str, Any]) -> float:
    started = datetime.fromisoformat(str(record["started"]).replace("Z", "+00:00")).timestamp()
    return round(time.time() - started, 3)


def _story(record: Mapping[str, Any], unwritten: str) -> Story:
    return Story(
        str(record["playbook"]), str(record["app"]), str(record["target"]), _seconds(record), steps=record.get("steps") or (),
        unwritten=unwritten,
    )  # fmt: skip


def _would_be(request: Request) -> list[str]:
    story = Story(request.playbook, request.app_name, request.target, check_mode=True, steps=request.steps)
    return [known_secrets.masked_text(line) for line in summary(story)]


def _ended(keeper: Keeper, run: str, record: Mapping[str, Any], request: Request, unwritten: str) -> list[str]:
    """Write down that a run has ended, and how; returns what a person reads of it.

    :param unwritten: why not all that it did is on record.
    """
    result, lines = request.result, summary(_story(record, unwritten))
    changed = any(step.get("changed") for step in record.get("steps", [])) and record.get("playbook") != PLAN
    if result == "ok" and not changed and not unwritten:
        # A run that changed nothing that runs leaves nothing but its lines in the journal.
        keeper.records.remove(run)
        return lines
    news: dict[str, Any] = {"result": result, "seconds": _seconds(record)}
    if request.reason:
        news["reason"] = first_line(request.reason)
    if request.go_back:
        news["go_back"] = request.go_back
    try:
        keeper.note(run, **news, **({"summary": lines} if result == "ok" else {}))
    except OSError as error:
        # That it has ended, and how, takes less room than what it did.
        lines = summary(_story(record, unwritten or str(error.strerror)))
        with suppress(OSError):
            keeper.note(run, **news, steps=[])
    return lines
