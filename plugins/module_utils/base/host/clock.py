# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This machine's clocks, and processes that no later one is mistaken for."""

from __future__ import annotations

import time

from ..clock import Moment, Process


def boot_id() -> str:
    """Which boot of this machine it is."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def uptime() -> float:
    """Seconds since this machine was booted, those in suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now() -> Moment:
    """This moment by both clocks."""
    return Moment(time.time(), uptime(), boot_id())


def identity(pid: int) -> Process | None:
    """The process that has this id now, None when there is none or it has ended and waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]), boot_id())


def lives(process: Process | None) -> bool:
    """Whether exactly this process still runs."""
    return process is not None and identity(process.pid) == process
