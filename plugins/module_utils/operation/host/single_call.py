# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operation that is one call: the module takes the lock, keeps the record and gives it back, as ``deploy_lock`` does around several.

Each module of a playbook costs a second, half of it on the controller: what has to be there in seconds has no time for three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from .journal import LockHeld
from .lock import lock
from .state_folder import where

#: Set in a call's result where the operation has more to do: its lock is kept for that.
GOES_ON = "goes_on"

OPERATION_ARGUMENTS: dict[str, Any] = {
    "operation": {
        "type": "dict",
        "options": {
            "playbook": {"type": "str", "required": True},
            "app_name": {"type": "str", "required": True},
            "target": {"type": "str", "default": ""},
            "who": {"type": "str"},
            "lease": {"type": "int", "default": 1800},
            "wait": {"type": "int", "default": 0},
            "take_over": {"type": "bool", "default": False},
        },
    },
}


def in_one_go(
    params: Mapping[str, Any],
    check_mode: bool,
    call: Callable[[Mapping[str, Any], bool], dict[str, Any]],
    former: str = "",
) -> dict[str, Any]:
    """Carry out ``call(params, check_mode)``, under a lock of its own where ``operation`` says so.

    :param former: where the state was kept formerly; the call gets the folder that has it.
    :returns: what the call returns; ``whole`` is whether it was the whole operation. Where it was to be one and is not,
        ``lock_token`` and ``state_dir`` are those of what there is more to do, or nothing was done: somebody has to be
        waited for, or the way back of a killed run comes first.
    :raises LockHeld: somebody else has the lock, and nobody said to wait.
    """
    operation = params.get("operation")
    if check_mode or not operation or params.get("lock_token"):
        return {**call({**params, "state_dir": where(str(params["state_dir"]), former)}, check_mode), "whole": False}
    asked = {**operation, "state_dir": params["state_dir"], "former_state_dir": former}
    try:
        held = lock({**asked, "state": "held", "at_once": True}, False)
    except LockHeld as error:
        if not error.waitable:
            raise
        return {"changed": False, "whole": False, "msg": str(error)}
    params = {**params, "state_dir": held["state_dir"]}
    ended = {**operation, "state_dir": held["state_dir"], "state": "released", "lock_token": held["lock_token"]}
    if held["unfinished"]:
        lock(ended, False)
        return {"changed": False, "whole": False, "msg": "the way back of a killed run comes first"}
    try:
        result = call({**params, "lock_token": held["lock_token"]}, False)
    except BaseException as error:
        lock({**ended, "result": "failed", "reason": str(error)}, False)
        raise
    if result.pop(GOES_ON, False):
        return {**result, "lock_token": held["lock_token"], "state_dir": held["state_dir"], "whole": False}
    failed = bool(result.get("failed"))
    lock({**ended, "result": "failed" if failed else "ok", "reason": result.get("msg") if failed else ""}, False)
    return {**result, "whole": True}
