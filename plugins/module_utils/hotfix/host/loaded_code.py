# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes of a container go on with code that they loaded before its file was changed.

What Python has loaded it names by its path, in tracebacks and templates: a process without that path in its memory has not
loaded it, and will read the file as it is now. So nothing has to be known of servers and their options.
"""

from __future__ import annotations

import os
import posixpath
import signal
from collections.abc import Sequence

from ...base.host import processes
from ...base.host.processes import Process

_PART = 4 * 1024 * 1024
_ACCEPTING = 0x10000


def holds(pid: int, words: Sequence[str]) -> bool:
    """Whether one of these is in a process's own memory; True where that may not be looked at, False where it is gone."""
    if not all(word.isascii() for word in words):
        # Python keeps other text in other ways.
        return True
    wanted = [word.encode() for word in words]
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as stream:
            rows = [line.split(None, 2)[:2] for line in stream]
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for area, rights in rows:
                first, last = (int(number, 16) for number in area.split("-"))
                if rights.startswith("rw") and _is_in(memory.fileno(), first, last, wanted):
                    return True
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
    return False


def _is_in(handle: int, first: int, last: int, wanted: Sequence[bytes]) -> bool:
    rest, longest = b"", max(map(len, wanted))
    while first < last:
        try:
            part = os.pread(handle, min(_PART, last - first), first)
        except (ProcessLookupError, FileNotFoundError):
            raise
        except OSError:
            # A device's memory, or what was given back meanwhile.
            return False
        if not part:
            return False
        here = rest + part
        if any(word in here for word in wanted):
            return True
        rest, first = part[-longest:], first + len(part)
    return False


def accepts(pid: int) -> bool:
    """Whether a process can take new connections: a socket that listens is open in it, and asked about where it asks epoll."""
    listening = set()
    for table, state in (("tcp", 9), ("tcp6", 9), ("unix", 6)):
        for fields in (line.split() for line in processes.lines(f"/proc/{pid}/net/{table}")[1:]):
            if len(fields) > state and (int(fields[3], 16) & _ACCEPTING if state == 6 else fields[3] == "0A"):
                listening.add(f"socket:[{fields[state]}]")
    try:
        opened = {one: _link(f"/proc/{pid}/fd/{one}") for one in os.listdir(f"/proc/{pid}/fd")}
    except OSError:
        return False
    mine = {one for one, what in opened.items() if what in listening}
    asking = [one for one, what in opened.items() if what == "anon_inode:[eventpoll]"]
    asked = {
        line.split()[1]
        for one in asking
        for line in processes.lines(f"/proc/{pid}/fdinfo/{one}")
        if line.startswith("tfd:")
    }
    return bool(mine & asked if asking else mine)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def keeping(main: int, changed: float, words: Sequence[str]) -> list[Process]:
    """The processes of a container that were there before a change and have loaded what was changed.

    A worker of gunicorn's that takes no new connection any more only ends what it has begun, and is left out.

    :param changed: UNIX time; infinity where it is still to be.
    """
    family = processes.tree(main)
    # Only where others have come for them they were told to go.
    replaced = {p.parent for p in family if p.started > changed}
    old = [p for p in family if p.started <= changed and not (p.parent in replaced and _is_leaving(p))]
    return [p for p in old if holds(p.pid, words)]


def _is_leaving(one: Process) -> bool:
    return _is_gunicorn(one.parent) and not accepts(one.pid)


def master_of(kept: Sequence[Process], main: int) -> int:
    """gunicorn's master, where it starts all of these anew when it is told to, and has loaded nothing of it itself; else 0."""
    parents = {p.parent for p in kept}
    pid = next(iter(parents)) if len(parents) == 1 else 0
    if not pid or pid in {p.pid for p in kept} or pid not in {p.pid for p in processes.tree(main)}:
        return 0
    # Who does not handle it ends by it.
    return pid if _is_gunicorn(pid) and _handles(pid, signal.SIGHUP) else 0


def _is_gunicorn(pid: int) -> bool:
    words = processes.words(pid)
    return any(posixpath.basename(word) == "gunicorn" or word.startswith("gunicorn: master") for word in words)


def _handles(pid: int, number: int) -> bool:
    rows = dict(line.split(":", 1) for line in processes.lines(f"/proc/{pid}/status") if ":" in line)
    return bool(int(rows.get("SigCgt", "0"), 16) >> (number - 1) & 1)


def load_anew(master: int) -> None:
    """Tell a master to start its workers anew; one that is gone is none any more."""
    try:
        os.kill(master, signal.SIGHUP)
    except ProcessLookupError:
        return
