# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the queues an older worker may not meet: it discards each task whose name it does not register.

Pure; what is seen comes from ``rolling/host/worker_queues.py``, which does what is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: A broker whose messages cannot be looked at without taking them tells how many there are, under this name.
UNREAD = "(tasks whose names this broker does not show)"


@dataclass(frozen=True)
class Worker:
    """A worker that answers: what it registers, and the names of what it has begun or fetched."""

    registered: frozenset[str] = frozenset()
    fetched: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """One look at the broker, by a process of the older version.

    :ivar registered: the names that the older workers register.
    :ivar waiting: by queue that they fetch from, how many messages of each name wait in it.
    :ivar held: by name, what was fetched by somebody and is not acknowledged, as the broker knows it (Redis).
    :ivar is_external: the same as ``waiting`` of queues that only newer workers fetch from.
    :ivar workers: those of the newer version that answer, by node.
    :ivar silent: how many of the newer version run and do not answer.
    """

    registered: frozenset[str]
    waiting: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    is_external: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    workers: Mapping[str, Worker] = field(default_factory=dict)
    silent: int = 0

    def foreign(self, name: str) -> bool:
        """Whether the older workers would discard a task of this name; an unreadable one nobody could run."""
        return bool(name) and name not in self.registered


@dataclass(frozen=True)
class Wait:
    """Let the newer workers go on: they are about to run what the older ones could not."""


@dataclass(frozen=True)
class Go:
    """The newer workers may end. What ``left`` names is kept from the older ones then."""

    left: Mapping[str, int] = field(default_factory=dict)


def unknown(look: Look) -> dict[str, int]:
    """By name, how many tasks wait or were fetched that the older workers would discard."""
    counts: dict[str, int] = {}
    for names in look.waiting.values():
        for name, count in names.items():
            counts[name] = counts.get(name, 0) + count
    fetched: dict[str, int] = {}
    for worker in look.workers.values():
        for name, count in worker.fetched.items():
            fetched[name] = fetched.get(name, 0) + count
    # A broker that keeps what was fetched tells of the same tasks as their workers do.
    for name in {*fetched, *look.held}:
        counts[name] = counts.get(name, 0) + max(fetched.get(name, 0), look.held.get(name, 0))
    return {name: count for name, count in sorted(counts.items()) if count and look.foreign(name)}


def news(look: Look) -> frozenset[str]:
    """The names that newer workers register and the older ones do not."""
    every: frozenset[str] = frozenset().union(*(w.registered for w in look.workers.values()))
    return every - look.registered


def concerns(look: Look) -> bool:
    """Whether there is, or may yet come, a task that the older workers would discard.

    A newer worker that does not answer may still send some. What cannot be read is of names that its workers know.
    """
    seen = [name for name in unknown(look) if name != UNREAD or not look.workers]
    return bool(seen or news(look) or look.silent)


def next_of(look: Look, waited: float, timeout: float) -> Wait | Go:
    """Whether to wait on for newer workers to run what older ones would discard.

    :param waited: seconds since the first look; ``timeout``: how many there may be at most.
    """
    left = unknown(look)
    # Who does not register a task would discard it as well, and who does not answer runs nothing.
    able = any(name in w.registered for w in look.workers.values() for name in left)
    able = able or (UNREAD in left and bool(look.workers))
    return Wait() if left and able and waited < timeout else Go(left)


def counted(counts: Mapping[str, int], most: int = 5) -> str:
    """Names and how many of each: ``3 of reports.build, 1 of tours.audit``."""
    names = [f"{count:,} of {name}" for name, count in sorted(counts.items())]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more names" if len(names) > most else "")
