# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where this collection's code is kept on a target, whose files of it are believed, and which may go."""

from __future__ import annotations

from collections.abc import Mapping

#: Variable of a module's environment: the name of the module whose code is to be run.
CALL = "EVENKEEL_CALL"
#: Variable of a module's environment: SHA-256 of the code that it needs, in hexadecimal.
DIGEST = "EVENKEEL_RUNTIME"
#: Variable of a module's environment: the file in which the controller has sent that code along, where it has.
SENT = "EVENKEEL_RUNTIME_SENT"
#: Variable of a module's environment: set where it shall answer at once who it is, and go on by itself.
DETACH = "EVENKEEL_DETACH"
#: What the answer of such a module has: its process, when that began, and the file that will have its result.
JOB = "evenkeel_job"
#: What a result has, and is true, where the code has to be sent first. Nothing else was done then.
MISSING = "evenkeel_runtime_missing"
#: How many files of code are left in a folder: two versions of this collection, each for two versions of Python.
KEPT = 4
#: What their names end with.
SUFFIX = ".runtime"
#: What the name of one ends with that is being written, and after how many seconds nobody writes it any more.
PART = ".part"
ABANDONED = 3600.0
#: Written by root alone, read by all users.
SYSTEM = "/var/cache/evenkeel"


def folders(home: str) -> tuple[str, ...]:
    """The folders where the code may lie, in the order in which they are tried. The first is root's.

    :param home: of the user that the module runs as, from the user database; empty where there is none.
    """
    return (SYSTEM, f"{home}/.cache/evenkeel") if home.startswith("/") and home.strip("/") else (SYSTEM,)


def is_trusted(me: int, owner: int, mode: int) -> bool:
    """Whether nobody but root and the user ``me`` can have made or changed a file or folder.

    :param mode: as ``st_mode``; where there is an access list, its bits for the group are the most that anyone in it has.
    """
    return owner in (0, me) and not mode & 0o022


def removable(files: Mapping[str, float], kept: str, now: float) -> list[str]:
    """Names of files of code that may go: all but ``kept`` and the newest besides, and what a killed process left.

    A module has read all of its file before it begins, so none is in use.

    :param files: name → when it was written, in seconds; files with other endings are not ours.
    :param now: in seconds, by the same clock.
    """
    others = sorted((name for name in files if name.endswith(SUFFIX) and name != kept), key=lambda n: (-files[n], n))
    left = sorted(name for name in files if name.endswith(PART) and now - files[name] > ABANDONED)
    return others[KEPT - 1 :] + left
