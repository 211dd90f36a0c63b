# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezing all processes of a container where they are, by its control group: ``cgroup.freeze``, or ``freezer.state`` where there
is only version 1 (https://docs.kernel.org/admin-guide/cgroup-v1/freezer-subsystem.html).

Not by ``docker pause``: as long as a container is paused, ``docker compose create`` refuses to make another one of its service.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from .processes import control_group, text_of

# Seconds until the kernel has stopped every process.
_PATIENCE = 5.0


class _Group(NamedTuple):
    """A control group: the file and words by which it is frozen and thawed, and by which it tells that every process stands still."""

    folder: str
    file: str
    frozen: str
    thawed: str
    tells: str
    sign: str

    def is_frozen(self) -> bool:
        return text_of(f"{self.folder}/{self.file}").strip() not in ("", self.thawed)

    def stands_still(self) -> bool:
        return self.sign in text_of(f"{self.folder}/{self.tells}")

    def write(self, value: str) -> None:
        with open(f"{self.folder}/{self.file}", "w", encoding="ascii") as stream:
            stream.write(value)


def is_able(pid: int) -> bool:
    """Whether the container with this main process can be frozen from here."""
    group = _of(pid)
    return os.access(f"{group.folder}/{group.file}", os.W_OK)


def is_frozen(pid: int) -> bool:
    """Whether it is frozen, or about to be."""
    return _of(pid).is_frozen()


def freeze(pid: int) -> None:
    """Freeze it, and wait until all of its processes stand still.

    :raises OSError: it cannot be frozen; it goes on then.
    """
    group = _of(pid)
    group.write(group.frozen)
    until = time.monotonic() + _PATIENCE
    while not group.stands_still():
        if time.monotonic() > until:
            group.write(group.thawed)
            raise OSError(f"the processes of container {pid} did not stand still within {_PATIENCE:g} s")
        time.sleep(0.01)


def thaw(pid: int) -> None:
    """Let it go on; one that has ended, or is not frozen, is left as it is."""
    group = _of(pid)
    if group.is_frozen():
        group.write(group.thawed)


def _of(pid: int) -> _Group:
    second = _Group(control_group(pid)[0], "cgroup.freeze", "1", "0", "cgroup.events", "frozen 1")
    if os.path.exists(f"{second.folder}/{second.file}"):
        return second
    first, is_second = control_group(pid, "freezer")
    return _Group("" if is_second else first, "freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN")
