# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a process of this host may be believed to be root's: any user can give his own the title of any other."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Sequence

from .processes import text_of

_SYSTEMD = "/run/systemd/system"


def changeable(path: str) -> str:
    """Which part of a path others than root can change, and why, in words; empty where none is.

    Links are followed, and the folders on both ways count: who may write in one exchanges what is below it.
    """
    seen: set[str] = set()
    for way in (os.path.abspath(path), os.path.realpath(path)):
        while way not in seen:
            seen.add(way)
            try:
                known = os.lstat(way)
            except OSError as error:
                return f"{way}: {error.strerror}"
            if known.st_uid != 0:
                return f"{way} belongs to user {known.st_uid}"
            others = stat.S_IWOTH | (stat.S_IWGRP if known.st_gid != 0 else 0)
            if known.st_mode & others and not stat.S_ISLNK(known.st_mode):
                return f"{way} can be written to by others than root"
            way = os.path.dirname(way)
    return ""


def all_roots(status: str) -> bool:
    """Whether a process, by its ``/proc/<pid>/status``, is root's alone; a setuid program's first number is its user's."""
    rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return rows.get("Uid", "").split() == ["0"] * 4


def executable(pid: int) -> str:
    """The file that a process runs, empty where that cannot be seen; also where it was replaced since."""
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return ""


def is_roots(pid: int, programs: Sequence[str]) -> bool:
    """Whether root runs a program of root's in a process, as systemd's main one where it is a service of systemd.

    :param programs: how the name of its executable begins.  The title is no help: ``sudo`` that waits for a password has
        any title, and is root's.
    """
    path = executable(pid)
    if (
        not path
        or not os.path.basename(path).startswith(tuple(programs))
        or not all_roots(text_of(f"/proc/{pid}/status"))
    ):
        return False
    return not changeable(path) and main_pid(text_of(f"/proc/{pid}/cgroup"), _asked) in (0, pid)


def main_pid(cgroup: str, asked: Callable[[str], str]) -> int:
    """The main process of the service that a process belongs to by its ``/proc/<pid>/cgroup``; 0 where there is none.

    :param asked: what systemd says the main process of a unit is.
    """
    for line in cgroup.splitlines():
        path = line.split(":", 2)[-1]
        unit = os.path.basename(path)
        if path.startswith("/system.slice/") and unit.endswith(".service"):
            said = asked(unit).strip()
            return int(said) if said.isdecimal() else 0
    return 0


def _asked(unit: str) -> str:
    if not os.path.isdir(_SYSTEMD):
        return ""
    argv = ["systemctl", "show", "--property", "MainPID", "--value", unit]
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
