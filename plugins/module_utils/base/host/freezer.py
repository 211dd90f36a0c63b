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

from .processes import control_group, text_of

# Seconds until the kernel has stopped every process.
_PATIENCE = 5.0
# The file, what is written to freeze and to thaw, and the file and words that tell when every process stands still.
_SECOND = ("cgroup.freeze", "1", "0", "cgroup.events", "frozen 1")
_FIRST = ("freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN")


def is_able(pid: int) -> bool:
    """Whether the container with this main process can be frozen from here."""
    group, (file, *_words) = _of(pid)
    return os.access(f"{group}/{file}", os.W_OK)


def is_frozen(pid: int) -> bool:
    """Whether it is frozen, or about to be."""
    group, (file, _freeze, thawed, *_sign) = _of(pid)
    return text_of(f"{group}/{file}").strip() not in ("", thawed)


def freeze(pid: int) -> None:
    """Freeze it, and wait until all of its processes stand still.

    :raises OSError: it cannot be frozen; it goes on then.
    """
    group, (file, frozen, thawed, tells, sign) = _of(pid)
    _write(f"{group}/{file}", frozen)
    until = time.monotonic() + _PATIENCE
    while sign not in text_of(f"{group}/{tells}"):
        if time.monotonic() > until:
            _write(f"{group}/{file}", thawed)
            raise OSError(f"the processes of container {pid} did not stand still within {_PATIENCE:g} s")
        time.sleep(0.01)


def thaw(pid: int) -> None:
    """Let it go on; one that has ended, or is not frozen, is left as it is."""
    if is_frozen(pid):
        group, (file, _frozen, thawed, *_sign) = _of(pid)
        _write(f"{group}/{file}", thawed)


def _of(pid: int) -> tuple[str, tuple[str, str, str, str, str]]:
    second = control_group(pid)[0]
    if os.path.exists(f"{second}/{_SECOND[0]}"):
        return second, _SECOND
    first, is_second = control_group(pid, "freezer")
    return ("", _FIRST) if is_second else (first, _FIRST)


def _write(path: str, value: str) -> None:
    with open(path, "w", encoding="ascii") as stream:
        stream.write(value)
