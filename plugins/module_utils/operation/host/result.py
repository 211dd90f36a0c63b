# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How every module ends: a result, or a failure that says what, now and next, and never a traceback."""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Mapping
from typing import Any, Callable, Protocol

from ...base.errors import BadInput
from ...base.host import known_secrets, waiting_process
from ...base.host.files import FilesFailed
from ...base.runtime import is_last
from .. import summary
from .journal import FencedOff, Keeper, LockHeld
from .records import first_line

__all__ = ["BadInput", "finish"]

#: The module that writes the record itself.
_LOCK = "deploy_lock"
_STOPPED = "Now: it stopped where it was; the same call again takes up from what it finds"


class Module(Protocol):
    """What of an Ansible module is used here."""

    params: dict[str, Any]
    check_mode: bool

    def exit_json(self, **result: Any) -> Any: ...

    def fail_json(self, msg: str, **result: Any) -> Any: ...


def finish(module: Module, call: Callable[[Mapping[str, Any], bool], dict[str, Any]]) -> None:
    """Run ``call(params, check_mode)`` and end the module with what it returns or raises, without any secret in it."""
    began = time.time()
    result = known_secrets.masked(_outcome(module, call))
    if module.params.get("lock_token") and module.params.get("state_dir"):
        _report(call.__module__.rpartition(".")[2], module, began, result)
    if is_last(module.params, result):
        waiting_process.dismiss()
    # Ansible shows them with -vvv.
    module.params = known_secrets.masked(module.params)
    if result.pop("failed", False):
        module.fail_json(**result)
    else:
        module.exit_json(**result)


def _outcome(module: Module, call: Callable[[Mapping[str, Any], bool], dict[str, Any]]) -> dict[str, Any]:
    try:
        return call(module.params, module.check_mode)
    except LockHeld as error:
        return {**_failure(error.message()), "changed": False, "locked": True, "waitable": error.waitable}
    except BadInput as error:
        return {**_failure(error.message()), "changed": False}
    except FencedOff as error:
        text = (
            f"What: this run was fenced off: {error}\n"
            "Now: it touches nothing any more and undoes nothing; whoever has the lock goes on from what is there\n"
            "Next: follow that run; deploy_lock's record under operations/ says whose it is"
        )
        return {**_failure(text), "fenced_off": True}
    except OSError as error:  # a full disk, no permission: the machine's, not ours
        where = f"{error.filename}: " if error.filename else ""
        return _failure(
            f"What: {where}{error.strerror or error} (at {_place(error)})\n{_STOPPED}\n"
            "Next: see that there is room on the disk and permission (become: true), then run the same command again"
        )
    except Exception as error:  # the last resort: a user gets a sentence, and with -vvv the traceback
        text = (
            f"What: this module has a defect: {type(error).__name__}: {error} (at {_place(error)})\n{_STOPPED}\n"
            "Next: run the same command again with -vvv, and report what it shows"
        )
        return {**_failure(text), "exception": traceback.format_exc()}


def _report(name: str, module: Module, began: float, result: Mapping[str, Any]) -> None:
    """Have a step in the operation's record, also of a module that only looked or was refused."""
    if name == _LOCK:
        return
    report = summary.report(result)
    if module.check_mode:
        # A look ahead within an operation: only what it noticed is part of the story.
        report = {"notes": report["notes"]} if report.get("notes") else {}
        if not report:
            return
    if result.get("failed"):
        report["result"] = f"failed: {first_line(str(result['msg']))}"
    project = os.path.basename(os.path.realpath(module.params.get("project_src") or "/"))
    with contextlib.suppress(OSError, FilesFailed):
        Keeper(module.params["state_dir"]).add_report(module.params["lock_token"], name, began, report, project)


def _failure(message: str) -> dict[str, Any]:
    return {"failed": True, "msg": message}


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else "?"
