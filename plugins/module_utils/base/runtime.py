# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller, module ``call`` and the code that it runs call things, and which old code may go from a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The module that runs the code of all others, and the name of its own text among theirs.
CARRIER = "call"
#: What its arguments have besides those of the module that is wanted.
WANTED = "evenkeel_call"
#: Variable of a process that a module starts: SHA-256 of the code that it needs, in hexadecimal.
DIGEST = "EVENKEEL_RUNTIME"
#: Variable of such a process: the text that finds this code.
LOADER = "EVENKEEL_LOADER"
#: What the answer of a module has that goes on by itself: its process, when that began, and the file that will have its result.
JOB = "evenkeel_job"
#: What a result has, and is true, where the code has to be sent first. Nothing else was done then.
MISSING = "evenkeel_runtime_missing"
#: The control group of what has less of the processors than those who serve.
GROUP = "evenkeel"
#: How many files of code are left in a folder: two versions of this collection, each for two versions of Python.
KEPT = 4
#: What their names end with.
SUFFIX = ".runtime"
#: What the name of a socket has beside them, behind which a process waits for the next module.
WAITING = ".waiting"
#: What the name of one ends with that is being written, and after how many seconds nobody writes it any more.
PART = ".part"
ABANDONED = 3600.0


def is_own(name: str) -> bool:
    """Whether a name among the code is of this collection's ``module_utils``: neither of Ansible's nor ``CARRIER``."""
    return name != CARRIER and not name.startswith("ansible.")


def is_followed(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether another module comes soon after this one, in the same operation."""
    if name == "deploy_lock":
        return arguments.get("state") != "released"
    return bool(arguments.get("lock_token") or arguments.get("operation"))


def is_last(arguments: Mapping[str, Any], result: Mapping[str, Any]) -> bool:
    """Whether no module comes after this one, by what it was given and what came of it: the operation has ended, or is none."""
    return "summary" in result or not (result.get("lock_token") or arguments.get("lock_token"))


def removable(files: Mapping[str, float], kept: str, now: float) -> list[str]:
    """Names of files of code that may go: all but ``kept`` and the newest besides, and what a killed process left.

    A module has its file open before it begins, so none is in use under its name.

    :param files: name → when it was written, in seconds; files with other endings are not ours.
    :param now: in seconds, by the same clock.
    """
    others = sorted((name for name in files if name.endswith(SUFFIX) and name != kept), key=lambda n: (-files[n], n))
    left = sorted(n for n in files if (n.endswith(PART) or WAITING in n) and now - files[n] > ABANDONED)
    return others[KEPT - 1 :] + left
