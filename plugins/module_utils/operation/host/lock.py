# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``deploy_lock``: the lock and the record of a whole operation, between its modules."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from ...base.errors import BadInput
from ...base.host.clock import lives, now
from ...base.host.files import FilesFailed
from .. import lease
from ..lease import Operation, Wait
from . import state_folder
from .journal import FencedOff, Keeper, owe, settle_debt
from .progress import Progress, Relay
from .records import first_line, iso

_NOTED = ("before", "revision", "release", "go_back")


def lock(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call.

    :raises LockHeld: somebody else has it.
    :raises FencedOff: for ``renewed``: the caller's number is not the newest any more.
    """
    wanted, former = str(params["state_dir"]), str(params.get("former_state_dir") or "")
    for name, path in (("state_dir", wanted), ("former_state_dir", former or "/")):
        if not os.path.isabs(path) or ".." in path.split("/"):
            raise BadInput(f"{name} {path} must be absolute and without ..")
    wanted = os.path.normpath(wanted)
    if params["state"] == "held" and not check_mode:
        return _hold_where_it_is(wanted, former, params)
    directory = state_folder.where(wanted, former)
    if directory == wanted or os.geteuid():
        return {**_ask(directory, params, check_mode), "state_dir": directory}
    with state_folder.opened(former) as handle:
        return {**_ask(state_folder.of_handle(handle), params, check_mode), "state_dir": directory}


def _hold_where_it_is(wanted: str, former: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Take the lock in the folder that has it, then move that folder if it lies where it did formerly."""
    directory = state_folder.where(wanted, former)
    if directory == wanted or os.geteuid():
        is_default = os.path.dirname(wanted) == state_folder.DEFAULT and directory == wanted
        if is_default and former:
            state_folder.refuse_two(wanted, former)
        result = _hold(Keeper(directory), params)
        if is_default:
            state_folder.settle(wanted)
        return {**result, "state_dir": directory}
    with state_folder.opened(former) as handle:
        keeper = Keeper(state_folder.of_handle(handle))
        result = _hold(keeper, params)
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
            return _hold_where_it_is(wanted, former, params)
    return {**result, "state_dir": wanted}


def _ask(directory: str, params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    if check_mode and not os.path.isdir(directory):
        return _answer(lease.Lock(), params["state"] == "held", "the lock is free")
    keeper = Keeper(directory)
    if check_mode:
        return _foretell(keeper, params)
    if params["state"] == "renewed":
        return _renew(keeper, params)
    return _release(keeper, params)


def _wanted(params: Mapping[str, Any]) -> Operation:
    return Operation(*(str(params.get(key) or "") for key in ("playbook", "app_name", "target")))


def _who(params: Mapping[str, Any]) -> str:
    try:
        return str(params.get("who") or f"{getpass.getuser()}@{os.uname().nodename}")
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


def _foretell(keeper: Keeper, params: Mapping[str, Any]) -> dict[str, Any]:
    """What would be, touching nothing; that somebody else works is no failure of a question."""
    held = keeper.read()
    mine = not lease.objection(held, str(params.get("lock_token") or ""))
    if params["state"] != "held":
        return {**_answer(held, mine and params["state"] == "released", "as it is now"), "lock_token": ""}
    verdict = lease.may_take(held, now(), lives(held.process), _wanted(params), bool(params.get("take_over")))
    free = not mine and not isinstance(verdict, Wait)
    told = f"it is held: {held.operation} by {held.who}" if isinstance(verdict, Wait) else "the lock could be taken"
    owed = keeper.records.read(held.owed) if held.owed else {}
    return {**_answer(held, free, told, unfinished=owed), "lock_token": ""}


def _hold(keeper: Keeper, params: Mapping[str, Any]) -> dict[str, Any]:
    token = str(params.get("lock_token") or "")
    if token and not lease.objection(keeper.read(), token):
        held = keeper.renew(token)
        return _answer(
            held, False, "the lock is held already", unfinished=keeper.records.read(held.owed), taken_over=""
        )
    for name in ("lease", "wait"):
        if float(params[name]) < 0 or (name == "lease" and float(params[name]) < 1):
            raise BadInput(f"{name}: {params[name]} seconds cannot be")
    wanted, over = _wanted(params), bool(params.get("take_over"))
    mine = Progress.open(keeper.directory, str(params.get("progress_id") or ""))
    relay = Relay(mine, keeper.directory)

    def sleep(seconds: float) -> None:
        # What the other one does is what this one waits for.
        relay.pump()
        time.sleep(seconds)

    try:
        grant = keeper.take(
            wanted,
            _who(params),
            float(params["lease"]),
            float(params["wait"]),
            over,
            sleep=sleep,
            at_once=bool(params.get("at_once")),
        )
        relay.pump()
    finally:
        mine.close()
    msg = f"the lock is held under number {grant.lock.number}"
    msg += f", taken over from {grant.over}" if grant.over else ""
    return _answer(grant.lock, True, msg, unfinished=grant.owed, taken_over=grant.over)


def _renew(keeper: Keeper, params: Mapping[str, Any]) -> dict[str, Any]:
    token, goal = str(params.get("lock_token") or ""), params.get("goal")
    held = keeper.renew(token)
    news = {key: params[key] for key in _NOTED if params.get(key)}
    if news:
        # Whatever cannot be recorded does not begin: without it there would be no way back after a kill.
        keeper.note(held.run, **news)
    if goal == "undo":
        owe(keeper, token, str(params.get("reason") or ""))
    elif goal == "undone":
        settle_debt(keeper, token)
    held = keeper.check(token)
    owed = keeper.records.read(held.owed) if held.owed else {}
    return _answer(held, False, "the lease began anew", unfinished=owed)


def _release(keeper: Keeper, params: Mapping[str, Any]) -> dict[str, Any]:
    token = str(params.get("lock_token") or "")
    split = lease.split_token(token)
    if split is None:
        return _answer(keeper.read(), False, "no lock was held")
    run = split[1]
    with suppress(OSError, FencedOff):
        keeper.check(token)
        _end_record(keeper, run, params)
    gone = keeper.release(token)
    held = keeper.read()
    if gone:
        return _answer(held, True, "the lock was given back")
    return _answer(held, False, f"not given back: {lease.objection(held, token)}")


def _end_record(keeper: Keeper, run: str, params: Mapping[str, Any]) -> None:
    record = keeper.records.read(run)
    result = str(params.get("result") or "ok")
    if not record:
        return
    if result == "ok" and not any(step.get("changed") for step in record.get("steps", [])):
        # A run that changed nothing leaves nothing but its lines in the journal.
        keeper.records.remove(run)
        return
    started = datetime.fromisoformat(str(record["started"]).replace("Z", "+00:00")).timestamp()
    news: dict[str, Any] = {"result": result, "seconds": round(time.time() - started, 3)}
    if params.get("reason"):
        news["reason"] = first_line(str(params["reason"]))
    if params.get("go_back"):
        news["go_back"] = params["go_back"]
    keeper.note(run, **news)
