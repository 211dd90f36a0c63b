# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operation that is one call: the module takes the lock, keeps the record and gives it back, as ``deploy_lock`` does around several.

Each module of a playbook costs a second, half of it on the controller: what has to be there in seconds has no time for three.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable

from ...base.host import processor_share
from ...base.options import read
from ..options import LockOptions
from ..summary import report
from .journal import Keeper, LockHeld
from .lock import Request, lock
from .state_folder import where

#: Set in a call's result where the operation has more to do: its lock is kept for that.
GOES_ON = "goes_on"

OPERATION_SPEC: dict[str, Any] = {
    "operation": {
        "type": "dict",
        "options": {
            "playbook": {"type": "str", "required": True},
            "app_name": {"type": "str", "required": True},
            "target": {"type": "str", "default": ""},
            "who": {"type": "str"},
            "lease": {"type": "str", "default": "30m"},
            "wait": {"type": "str", "default": "0s"},
            "take_over": {"type": "bool", "default": False},
        },
    },
}


@dataclass(frozen=True)
class OperationOptions:
    """The operation that one call is to be, as ``deploy_lock`` knows it; ``lease`` and ``wait`` are seconds."""

    playbook: str
    app_name: str
    target: str = ""
    who: str = ""
    lease: float = 1800.0
    wait: float = 0.0
    take_over: bool = False


def operation_options(params: Mapping[str, Any]) -> OperationOptions | None:
    """The operation that a module was given, if it is one of its own."""
    given = params.get("operation")
    return read(OperationOptions, OPERATION_SPEC["operation"]["options"], given) if given else None


def single_call(
    operation: OperationOptions | None,
    given: LockOptions,
    check_mode: bool,
    call: Callable[[LockOptions, bool], dict[str, Any]],
    module: str,
    former: str = "",
) -> dict[str, Any]:
    """Carry out ``call(lock, check_mode)``, under a lock of its own where there is an operation and no lock yet.

    :param given: the module's; its ``state_dir`` is where the state is wanted.
    :param call: gets the lock that it works under, with the folder that has the state.
    :param module: its name.
    :param former: where the state was kept formerly.
    :returns: what the call returns, with the operation's ``summary``; ``whole`` is whether it was the whole operation. Where it
        was to be one and is not, ``lock_token`` and ``state_dir`` are those of what there is more to do, or nothing was done:
        somebody has to be waited for, or the way back of a killed run comes first.
    :raises LockHeld: somebody else has the lock, and nobody said to wait.
    """
    if check_mode or operation is None or given.lock_token:
        return {**call(replace(given, state_dir=where(given.state_dir, former)), check_mode), "whole": False}
    try:
        held = lock(_taken(operation, given.state_dir, former), False)
    except LockHeld as error:
        if not error.waitable:
            raise
        return {"changed": False, "whole": False, "msg": str(error)}
    # Until it is given back, as for modules that are given a lock (``base/host/runtime.py``).
    processor_share.lower_engine()
    mine = LockOptions(held["state_dir"], held["lock_token"])
    ended = Request(mine.state_dir, "released", lock_token=mine.lock_token)
    if held["unfinished"]:
        lock(ended, False)
        return {"changed": False, "whole": False, "msg": "the way back of a killed run comes first"}
    began = time.time()
    try:
        result = call(mine, False)
    except BaseException as error:
        lock(replace(ended, result="failed", reason=str(error)), False)
        raise
    if result.pop(GOES_ON, False):
        return {**result, "lock_token": held["lock_token"], "state_dir": held["state_dir"], "whole": False}
    Keeper(mine.state_dir).add_report(mine.lock_token, module, began, report(result))
    failed = bool(result.get("failed"))
    reason = str(result.get("msg") or "") if failed else ""
    given_back = lock(replace(ended, result="failed" if failed else "ok", reason=reason), False)
    return {**result, "whole": True, "summary": given_back["summary"]}


def _taken(operation: OperationOptions, state_dir: str, former: str) -> Request:
    """The request by which an operation takes its lock, waiting for nobody."""
    return Request(
        state_dir,
        former_state_dir=former,
        playbook=operation.playbook,
        app_name=operation.app_name,
        target=operation.target,
        who=operation.who,
        lease=operation.lease,
        wait=operation.wait,
        take_over=operation.take_over,
        at_once=True,
    )
