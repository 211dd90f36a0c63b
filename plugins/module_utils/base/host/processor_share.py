# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the processors a container, or this process, gets where several want them, by its control group.

Of a container not by ``docker update --cpu-shares``: nothing there means "as it was" again, and the engine would keep it.  A
control group is made anew at each start of a container, so what is written here is never left longer than that.  Where this
process may not write, nothing changes.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..runtime import GROUP
from .processes import control_group, text_of

#: A tenth of what a container has where nothing is said, as Compose's ``cpu_shares`` and version 1 of control groups count.
TENTH = 102


class _Shares(NamedTuple):
    """The file of a control group that has its share, what the kernel gives to each, a tenth of that, and a quarter.

    What the engine has instead of these two is ours, since nobody else would write such numbers.
    """

    file: str
    usual: str
    tenth: str
    quarter: str
    engine_tenth: str
    engine_quarter: str


# By the version of control groups (https://docs.kernel.org/admin-guide/cgroup-v2.html, .../scheduler/sched-design-CFS.html).
_SECOND = _Shares("cpu.weight", "100", "10", "25", "11", "26")
_FIRST = _Shares("cpu.shares", "1024", str(TENTH), "256", "103", "257")
_ROOT = "/sys/fs/cgroup"
# Seconds between two looks for a control group that is about to be made.
_OFTEN = 0.01
# What starts containers, as Docker's packages and those of distributions name it.
_ENGINE = ("docker.service", "containerd.service")


def lower(pid: int) -> None:
    """Let a container with this main process, whose definition has no share of its own, have a tenth as much as others."""
    _change(pid, False)


def restore(pid: int) -> None:
    """Let it have as much as others, where :func:`lower` has taken it."""
    _change(pid, True)


@contextlib.contextmanager
def lowered_at_start(container_id: str, other_id: str, other_pid: int) -> Iterator[None]:
    """Let a container that is started meanwhile have a tenth from its first moment.

    Where all want the processors the engine says late that it runs (half a second, seen with one of which 70 % were in use).

    :param other_id: of one that runs, with its main process: the control group of the other is beside its own, and named as that is.
    """
    group, second = control_group(other_pid, "cpu")
    shares = _SECOND if second else _FIRST
    path, ended = f"{group.replace(other_id, container_id)}/{shares.file}", threading.Event()

    def lower_once() -> None:
        while not ended.is_set() and not _write(path, shares.usual, shares.tenth):
            ended.wait(_OFTEN)

    if other_id in group:
        threading.Thread(target=lower_once, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def step_back(hurried: bool = False, root: str = _ROOT, pid: int = 0) -> str:
    """Let a process and what it starts have a tenth of what serves users, together with all others for which this was called.

    Priority counts within a control group only: with systemd what is started by ssh is in ``user.slice``, all that serves is in
    ``system.slice``, and each of the two has half.

    Not for what starts a program that is to stay: that would have as little.

    :param hurried: have a quarter, since users wait for what it does: the end of a bad version, or of a gap.
    :param root: where control groups are.
    :param pid: of the process; this one where there is none.
    :returns: the control group that was left, for :func:`step_forward`; empty where nothing changed.
    """
    before, _second = control_group(pid or os.getpid(), "cpu")
    folder, shares = _at(root)
    group = f"{folder}/{GROUP}{'-hurried' * hurried}"
    with contextlib.suppress(OSError):
        os.makedirs(group, exist_ok=True)
        if not os.path.exists(f"{group}/{shares.file}"):
            # Processors are not shared by groups here.
            os.rmdir(group)
            return ""
        for name, text in ((shares.file, shares.quarter if hurried else shares.tenth), ("cgroup.procs", str(pid))):
            with open(f"{group}/{name}", "w", encoding="ascii") as stream:
                stream.write(text)
        return before
    return ""


def step_forward(group: str, pid: int = 0) -> None:
    """Let a process have as much as before :func:`step_back`, which returned the group; this one where there is no ``pid``."""
    if group:
        with contextlib.suppress(OSError), open(f"{group}/cgroup.procs", "w", encoding="ascii") as stream:
            stream.write(str(pid))


def lower_engine(root: str = _ROOT) -> bool:
    """Let the engine have a tenth as much as each container: those serve, and what it does for an operation can wait.

    Not where its unit has a share that somebody else has written, or its containers are below it. What carries users' requests below it, as
    ``docker-proxy`` does, gains by it too (measured).

    :returns: whether it had more.
    """
    folder, shares = _at(root)
    return _change_engine(folder, shares, [shares.usual], shares.engine_tenth)


def hurry(root: str = _ROOT) -> None:
    """Let this process have a quarter, and the engine too where it has a tenth: users wait for what is done."""
    folder, shares = _at(root)
    step_back(True, root)
    _change_engine(folder, shares, [shares.engine_tenth], shares.engine_quarter)


def restore_engine(root: str = _ROOT) -> bool:
    """Let it have as much as each container, where it has less of us, also of a run that was killed.

    :returns: whether it had less.
    """
    folder, shares = _at(root)
    return _change_engine(folder, shares, [shares.engine_tenth, shares.engine_quarter], shares.usual)


def _change(pid: int, back: bool) -> None:
    group, second = control_group(pid, "cpu") if pid else ("", False)
    shares = _SECOND if second else _FIRST
    before, after = (shares.tenth, shares.usual) if back else (shares.usual, shares.tenth)
    if group:
        _write(f"{group}/{shares.file}", before, after)


def _at(root: str) -> tuple[str, _Shares]:
    """Where the groups are that share the processors, and what they have."""
    first = f"{root}/cpu"
    return (first, _FIRST) if os.path.isdir(first) else (root, _SECOND)


def _change_engine(folder: str, shares: _Shares, before: Iterable[str], after: str) -> bool:
    changed = False
    for unit in _ENGINE:
        group = f"{folder}/system.slice/{unit}"
        with contextlib.suppress(OSError):
            if after == shares.usual or not any(entry.is_dir() for entry in os.scandir(group)):
                changed |= any(_write(f"{group}/{shares.file}", one, after) for one in before)
    return changed


def _write(path: str, before: str, after: str) -> bool:
    """Whether it held the one and holds the other now."""
    if text_of(path).strip() == before:
        with contextlib.suppress(OSError), open(path, "w", encoding="ascii") as stream:
            stream.write(after)
            return True
    return False
