# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine to ourselves: what a measurement is worth depends on nobody else being at work."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import time
from collections.abc import Iterable
from pathlib import Path


def busy_and_idle(processor: int | None = None) -> tuple[float, float]:
    """Seconds that a processor, or all together, have been busy, and idle, since the machine was started."""
    rows = (line.split() for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines())
    name = "cpu" if processor is None else f"cpu{processor}"
    words = next(row[1:9] for row in rows if row[0] == name)
    ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in words]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, idle


def busy_share(seconds: float, processor: int | None = None) -> float:
    """How much of a processor, or of all, is in use during the next seconds (0 to 1)."""
    before = busy_and_idle(processor)
    time.sleep(seconds)
    busy, idle = (now - then for now, then in zip(busy_and_idle(processor), before))
    return busy / max(busy + idle, 1e-6)


def wait_until_quiet(limit: float = 0.3, seconds: float = 60.0) -> None:
    """Give whoever else works on this machine a while to come to an end."""
    deadline = time.monotonic() + seconds
    while busy_share(2.0) > limit and time.monotonic() < deadline:
        pass


def group_seconds(group: Path) -> float:
    """Processor seconds of a cgroup, named by its memory controller's directory (either version)."""
    with contextlib.suppress(OSError, ValueError):
        if (group / "memory.current").exists():
            rows = (line.split() for line in (group / "cpu.stat").read_text(encoding="utf-8").splitlines())
            return next(int(row[1]) for row in rows if row[0] == "usage_usec") / 1e6
        accounts = str(group).replace("/sys/fs/cgroup/memory/", "/sys/fs/cgroup/cpuacct/", 1)
        return int(Path(accounts, "cpuacct.usage").read_text(encoding="utf-8")) / 1e9
    return 0.0


def _own_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


class Others:
    """The share of the processors that is neither ours, nor our children's, nor our containers'.

    Ours is the engine's work too, and that of modules that stay for the next one, which cannot be told apart from what others do: about 0.1
    for a command of Compose, up to 0.4 for an update.
    """

    def __init__(self) -> None:
        self._machine = busy_and_idle()
        self._own = _own_seconds()
        self._groups: dict[Path, tuple[float, float]] = {}

    def look(self, groups: Iterable[Path]) -> None:
        """Note what the containers have used by now; what began after us counts from its beginning."""
        for group in groups:
            used = group_seconds(group)
            first = self._groups[group][0] if group in self._groups else used if used > 1.0 else 0.0
            self._groups[group] = (first, max(used, first))

    def share(self) -> float:
        """Since this was made, with all children waited for (0 to 1)."""
        busy, idle = (now - then for now, then in zip(busy_and_idle(), self._machine))
        ours = _own_seconds() - self._own + sum(last - first for first, last in self._groups.values())
        return max(0.0, busy - ours) / max(busy + idle, 1e-6)


def _ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            pid = int(stat.rsplit(")", 1)[1].split()[1])
    return found


class Turn:
    """Beds that run beside each other measure each other: a lock file says whose turn it is.

    Who started us under ``flock FILE …`` has taken it for us.
    """

    SECONDS = 200.0

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self._lock = path.open("a", encoding="utf-8")
        self._taken = 0.0
        inode, ours = path.stat().st_ino, _ancestors()
        rows = [line.split() for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines()]
        held = [int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].endswith(f":{inode}")]
        self._given = any(pid in ours for pid in held)

    def take(self) -> None:
        """Go on while our turn lasts, else let those who wait have theirs first."""
        if self._given or (self._taken and time.monotonic() < self._taken + self.SECONDS):
            return
        if self._taken:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            time.sleep(1)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._taken = time.monotonic()
