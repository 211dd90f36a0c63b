# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments by several clocks, and processes by which no later one is mistaken for another: plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """Now: UNIX time and seconds since boot, and which boot."""

    wall: float = 0.0
    uptime: float = 0.0
    boot: str = ""


@dataclass(frozen=True)
class Process:
    """A process that no later one is mistaken for: id, start in kernel ticks since boot, boot."""

    pid: int
    start: int
    boot: str
