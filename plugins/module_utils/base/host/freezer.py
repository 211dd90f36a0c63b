# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezing all processes of a container where they are, by its control group (cgroup-v2, ``cgroup.freeze``).

Not by ``docker pause``: as long as a container is paused, ``docker compose create`` refuses to make another one of its service.
"""

from __future__ import annotations

import os
import time

from .processes import control_group, text_of

# Seconds until the kernel has stopped every process.
_PATIENCE = 5.0


def is_able(pid: int) -> bool:
    """Whether the container with this main process can be frozen from here."""
    return os.access(f"{control_group(pid)[0]}/cgroup.freeze", os.W_OK)


def is_frozen(pid: int) -> bool:
    """Whether it is frozen."""
    return text_of(f"{control_group(pid)[0]}/cgroup.freeze").strip() == "1"


def freeze(pid: int) -> None:
    """Freeze it, and wait until all of its processes stand still.

    :raises OSError: it cannot be frozen; it goes on then.
    """
    _write(pid, "1")
    until = time.monotonic() + _PATIENCE
    while "frozen 1" not in text_of(f"{control_group(pid)[0]}/cgroup.events"):
        if time.monotonic() > until:
            _write(pid, "0")
            raise OSError(f"the processes of container {pid} did not stand still within {_PATIENCE:g} s")
        time.sleep(0.01)


def thaw(pid: int) -> None:
    """Let it go on; one that has ended, or is not frozen, is left as it is."""
    if is_frozen(pid):
        _write(pid, "0")


def _write(pid: int, value: str) -> None:
    with open(f"{control_group(pid)[0]}/cgroup.freeze", "w", encoding="ascii") as stream:
        stream.write(value)
