# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether there is room for what a roll runs at once: memory by measured use, disk, engine and Compose versions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MEBIBYTE = 1024 * 1024
MEMORY_MARGIN = 64 * MEBIBYTE
DISK_NEEDED = 256 * MEBIBYTE
INODES_NEEDED = 1000
ENGINE_NEEDED = (20, 10)
COMPOSE_NEEDED = (2, 24)


@dataclass(frozen=True)
class Extra:
    """What will run beside what runs: ``count`` containers, each as large as ``used`` or ``reserved`` (bytes)."""

    service: str
    count: int
    used: int
    reserved: int
    limit: int = 0


@dataclass(frozen=True)
class Room:
    """What the machine has (bytes, inodes); a limit of the engine's own cgroup counts as its memory."""

    memory_total: int
    memory_available: int
    disk_free: int
    inodes_free: int
    disk_path: str = "/"


def mib(number: int) -> str:
    """Bytes as a person reads them."""
    return f"{number / MEBIBYTE:,.0f} MiB"


def memory_needed(extras: Sequence[Extra]) -> int:
    """The bytes that all of them take at once."""
    return sum(extra.count * max(extra.used, extra.reserved) for extra in extras)


def shortages(room: Room, extras: Sequence[Extra]) -> list[str]:
    """What is missing, each with its numbers; empty when there is room."""
    found: list[str] = []
    for extra in extras:
        if extra.count and extra.reserved > room.memory_total:
            found.append(
                f"{extra.service}: reserves {mib(extra.reserved)} of memory, the machine has {mib(room.memory_total)}; "
                f"lower deploy.resources.reservations.memory"
            )
    needed = memory_needed(extras)
    if not found and needed and needed + MEMORY_MARGIN > room.memory_available:
        parts = ", ".join(f"{e.count} x {e.service} at {mib(max(e.used, e.reserved))}" for e in extras if e.count)
        found.append(
            f"memory: old and new run beside each other for a while, which needs {mib(needed)} more ({parts}) and "
            f"{mib(MEMORY_MARGIN)} to spare, but {mib(room.memory_available)} are available; free some, or use "
            f"order: stop-first with allow_downtime: true (update_allow_downtime in a playbook)"
        )
    if room.disk_free < DISK_NEEDED:
        found.append(
            f"disk: {mib(room.disk_free)} are free at {room.disk_path}, {mib(DISK_NEEDED)} are needed; "
            f"docker system df shows what takes it"
        )
    elif 0 < room.inodes_free < INODES_NEEDED:
        found.append(f"disk: only {room.inodes_free} inodes are free at {room.disk_path}, {INODES_NEEDED} are needed")
    return found


def version_of(text: str) -> tuple[int, ...]:
    """The leading numbers of a version (``v2.26.1-4`` → ``(2, 26, 1)``); empty when there are none."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in match.groups() if part) if match else ()


def too_old(what: str, found: str, needed: tuple[int, ...]) -> list[str]:
    """A complaint when a version is older than needed, or cannot be read."""
    if version_of(found) >= needed:
        return []
    wanted = ".".join(str(n) for n in needed)
    return [f"{what} {found or '(no version)'} is too old, {wanted} or newer is needed"]
