# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes as ``/proc`` shows them: connections of a container, proxy workers, memory, what the kernel killed."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

# Linux include/net/tcp_states.h: a connection in one of these has, or may still get, somebody waiting for bytes.
_OPEN_STATES = {"01", "03", "04"}
_LISTENING = "0A"
_HALF_OPEN = "03"
_TICKS = os.sysconf("SC_CLK_TCK")
# Where control groups are; the second has those of version 2 where both are in use.
_GROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
# Seconds for which a process may still be on its way to handling signals.
_BOOT = 20.0


@dataclass(frozen=True)
class Process:
    """One process: parent, start as UNIX time (seconds, to a hundredth), command line."""

    pid: int
    parent: int
    started: float
    command: str


def text_of(path: str) -> str:
    """A file of proc(5) or of a cgroup, empty where whom it is about has ended or it may not be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def lines(path: str) -> list[str]:
    """The lines of a file of proc(5), none where whom it is about has ended."""
    return text_of(path).splitlines()


def connections(pid: int, *ports: int) -> int:
    """How many peers other than loopback have a connection to one of ``ports`` in the network namespace of ``pid``."""
    tables = ("tcp", "tcp6") if ports else ()
    return sum(count_connections(text_of(f"/proc/{pid}/net/{table}"), *ports) for table in tables)


def count_connections(table: str, *ports: int) -> int:
    """The same in the text of one table, ``/proc/<pid>/net/tcp`` or ``tcp6``."""
    count = 0
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4 or fields[3] not in _OPEN_STATES:
            continue
        local, remote = fields[1], fields[2]
        if int(local.rsplit(":", 1)[1], 16) in ports and not _is_loopback(remote.rsplit(":", 1)[0]):
            count += 1
    return count


def listens(pid: int, port: int) -> bool | None:
    """Whether somebody listens on ``port`` in the network namespace of ``pid``, loopback alone left out; None: unseen."""
    tables = [text_of(f"/proc/{pid}/net/{table}") for table in ("tcp", "tcp6")]
    return any(is_listening(table, port) for table in tables) if any(tables) else None


def is_listening(table: str, port: int) -> bool:
    """The same in the text of one table, ``/proc/<pid>/net/tcp`` or ``tcp6``."""
    return port in listeners(table)


def listening_ports(pid: int) -> frozenset[int]:
    """The TCP ports that somebody listens on in the network namespace of ``pid``, loopback alone left out."""
    return frozenset().union(*(listeners(text_of(f"/proc/{pid}/net/{table}")) for table in ("tcp", "tcp6")))


def waiting_connections(pid: int) -> int:
    """How many connections wait in a process's network to be accepted."""
    return sum(queued(text_of(f"/proc/{pid}/net/{name}")) for name in ("tcp", "tcp6"))


def queued(table: str) -> int:
    """How many connections wait to be accepted, or for the end of their handshake, by the rows of ``/proc/net/tcp``."""
    rows = [words for words in map(str.split, table.splitlines()[1:]) if len(words) > 4]
    # Of a listening socket rx_queue is the number of those that wait.
    waiting = sum(int(row[4].partition(":")[2], 16) for row in rows if row[3] == _LISTENING)
    return waiting + sum(row[3] == _HALF_OPEN for row in rows)


def listeners(table: str) -> frozenset[int]:
    """The same in the text of one table, ``/proc/<pid>/net/tcp`` or ``tcp6``."""
    return frozenset(port for address, port in _listening(table) if not _is_loopback(address))


def listening_addresses(port: int) -> list[str]:
    """The addresses of this host at which somebody listens on a TCP port, ``0.0.0.0`` and ``::`` for all; unseen: none."""
    tables = [text_of(f"/proc/self/net/{table}") for table in ("tcp", "tcp6")]
    return [address for table in tables for address in addresses_listening(table, port)]


def addresses_listening(table: str, port: int) -> list[str]:
    """The same in the text of one table, ``/proc/<pid>/net/tcp`` or ``tcp6``."""
    return list(dict.fromkeys(_address(word) for word, number in _listening(table) if number == port))


def _listening(table: str) -> Iterator[tuple[str, int]]:
    """Address, as the kernel prints it, and port of each listener in the text of a table."""
    rows = (line.split() for line in table.splitlines()[1:])
    for fields in (fields for fields in rows if len(fields) > 3 and fields[3] == _LISTENING):
        address, _colon, port = fields[1].rpartition(":")
        yield address, int(port, 16)


def _address(word: str) -> str:
    """An address as the kernel prints it, as people write it."""
    raw = bytes.fromhex(word)
    if sys.byteorder == "little":
        raw = b"".join(raw[n : n + 4][::-1] for n in range(0, len(raw), 4))
    return str(ipaddress.ip_address(raw))


def _is_loopback(address: str) -> bool:
    # The kernel prints each 32-bit word of an address in host byte order, so 127.0.0.1 ends in 7F.
    if len(address) == 8:
        return address.endswith("7F")
    mapped = address.startswith("0000000000000000FFFF0000")
    return address == "00000000000000000000000001000000" or (mapped and address.endswith("7F"))


def process(pid: int) -> Process | None:
    """One process, None when it is gone."""
    fields = _fields(f"/proc/{pid}/stat")
    if not fields:
        return None
    command = text_of(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    return Process(pid, int(fields[1]), _booted() + int(fields[19]) / _TICKS, command)


def _fields(stat: str) -> list[str]:
    """What stands behind the command in such a file, its state first; empty when the process or thread is gone."""
    # The command in parentheses may hold spaces and parentheses itself.
    return text_of(stat).rsplit(")", 1)[-1].split()


def has_ended(pid: int) -> bool:
    """Whether a process is gone or on its way out: what it was started with goes with its memory, before the process does."""
    return not words(pid)


def _booted() -> float:
    """When the clock began that the kernel counts starts by (UNIX seconds)."""
    # /proc/uptime may be a container's own (LXC) and is coarse.
    readings = []
    for _attempt in range(5):
        before, since, after = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
        readings.append((after - before, before - since))
        # On a busy machine another process may have run between the two clocks.
        if after - before < 0.0005:
            break
    return min(readings)[1]


def words(pid: int) -> list[str]:
    """A process's command line as it was given, empty when it is gone."""
    return [word for word in text_of(f"/proc/{pid}/cmdline").split("\0") if word]


def environment(pid: int) -> dict[str, str]:
    """A process's environment as it was started with; empty where that may not be read."""
    pairs = (entry.partition("=") for entry in text_of(f"/proc/{pid}/environ").split("\0"))
    # A process that writes its title over its environment leaves what is no name.
    return {name: value for name, equals, value in pairs if equals and re.match(r"^[A-Za-z_]\w*$", name)}


def folder(pid: int) -> str:
    """A process's working directory as it sees it, empty where that may not be read."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def processes() -> Iterator[Process]:
    """Every process that can be seen."""
    for entry in os.listdir("/proc"):
        seen = process(int(entry)) if entry.isdecimal() else None
        if seen is not None:
            yield seen


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in _threads(pid):
        found += [int(child) for child in text_of(f"/proc/{pid}/task/{thread}/children").split()]
    return found


def tree(root: int) -> list[Process]:
    """A process and all its descendants (the kernel's own lists: looking at all of ``/proc`` takes ten times as long)."""
    found: list[Process] = []
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        seen = process(pid)
        if seen is not None:
            found.append(seen)
            waiting += _children(pid)
    return found


def at_work(root: int) -> bool:
    """Whether a process, or one that descends from it, runs, or waits for a processor or a disk (proc(5), state R or D)."""
    stats = (_fields(f"/proc/{seen.pid}/task/{thread}/stat") for seen in tree(root) for thread in _threads(seen.pid))
    return any(stat[:1] in (["R"], ["D"]) for stat in stats)


def processor_seconds(root: int) -> float:
    """How long a process and all that descend from it have been at work so far, those that have ended included (proc(5), seconds)."""
    stats = (_fields(f"/proc/{seen.pid}/stat") for seen in tree(root))
    # From utime to cstime.
    return sum(int(ticks) for stat in stats for ticks in stat[11:15]) / _TICKS


def inner_pid(pid: int) -> int:
    """A process's id inside its own PID namespace (the host's where the kernel does not tell)."""
    for line in text_of(f"/proc/{pid}/status").splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return pid


def drops(status: str, number: int) -> bool:
    """Whether a process, by its ``/proc/<pid>/status``, would lose a signal: process 1 that neither handles nor blocks it."""
    rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if rows.get("NSpid", "").split()[-1:] != ["1"]:
        return False
    return not any(int(rows.get(mask, "0"), 16) >> (number - 1) & 1 for mask in ("SigCgt", "SigBlk"))


def waits_for_signals(pid: int) -> bool:
    """Whether a process does nothing but wait for signals, as tini does (``init: true``): it hears what it has no handler for.

    While it waits the kernel shows those signals as not blocked (``sigtimedwait``), just as if they were lost.
    """
    return "sigtimedwait" in text_of(f"/proc/{pid}/wchan")


def await_handler(pid: int, number: int, boot: float = _BOOT) -> None:
    """Return once a container's process would notice a signal, or is ``boot`` seconds old, or gone.

    The kernel keeps from process 1 what it has no handler for. A Celery that boots still (its engine was restarted)
    would never hear that it has to stop, take tasks, and be killed with them when its grace is over (seen).
    """
    while drops(text_of(f"/proc/{pid}/status"), number) and not waits_for_signals(pid):
        seen = process(pid)
        if seen is None or time.time() - seen.started > boot:
            return
        time.sleep(0.1)


def control_group(pid: int, controller: str = "") -> tuple[str, bool]:
    """The directory of a process's control group for a controller, empty where it has none, and whether it is of version 2.

    :param controller: such as ``memory``; without one only version 2 counts, be it beside the first.
    """
    found = [line.split(":", 2) for line in lines(f"/proc/{pid}/cgroup") if line.count(":") > 1]
    for _number, controllers, path in found:
        if controller and controller in controllers.split(","):
            return f"{_GROUPS[0]}/{controller}{path}", False
    paths = [path for number, controllers, path in found if (number, controllers) == ("0", "")]
    folders = [f"{root}{path}" for path in paths for root in _GROUPS]
    return next((f for f in folders if os.path.exists(f"{f}/cgroup.controllers")), (folders or [""])[0]), True


def _table(text: str) -> dict[str, int]:
    rows = (line.split() for line in text.splitlines())
    return {r[0]: int(r[1]) for r in rows if len(r) == 2 and r[1].isdecimal()}


def memory_used(pid: int) -> int | None:
    """Bytes that a container's processes hold, page cache that can go left out; None when it cannot be told."""
    group, second = control_group(pid, "memory")
    usage = text_of(f"{group}/{'memory.current' if second else 'memory.usage_in_bytes'}").strip()
    if not usage.isdecimal():
        return None
    stat = _table(text_of(f"{group}/memory.stat"))
    return max(0, int(usage) - stat.get("inactive_file" if second else "total_inactive_file", 0))


def kills_for_memory(pid: int) -> int:
    """How many processes of a container the kernel has killed because its memory limit was exceeded."""
    group, second = control_group(pid, "memory")
    text = text_of(f"{group}/{'memory.events' if second else 'memory.oom_control'}")
    return _table(text).get("oom_kill", 0)


def memory_of_machine() -> tuple[int, int]:
    """``(total, available)`` bytes, within the limit of this process's own cgroup where there is one."""
    rows = dict(line.split(":", 1) for line in text_of("/proc/meminfo").splitlines() if ":" in line)
    total, available = (int(rows[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    group, second = control_group(os.getpid(), "memory")
    limit = text_of(f"{group}/{'memory.max' if second else 'memory.limit_in_bytes'}").strip()
    used = memory_used(os.getpid())
    if limit.isdecimal() and int(limit) < total and used is not None:
        total, available = int(limit), min(available, int(limit) - used)
    return total, available
