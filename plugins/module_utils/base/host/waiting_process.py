# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that waits for an operation's next module, and has imported already what that needs.

A module imports for a quarter of a second of processor before it begins, and an update has fifteen.  So each makes a copy of its
process before it does anything else (``fork``), which waits behind a socket that only this user can open.  The next module hands over
to it its arguments, environment, folder and standard files, and ends as it does.  It imports what it lacks, makes a copy of
itself, and works.

Who kills the module that handed over kills the one that works for it: its end of a pipe is closed then.  Where anything is not as
it should be the module does it itself, as the first of an operation does.
"""

# Whoever hands over imports this and nothing else of ours: no dataclasses, which take longer than all the rest.
from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from typing import Any, Callable, NamedTuple, NoReturn

from ..runtime import WAITING

# Seconds to wait after the end of the module that made it: for the controller's next task.
_PATIENCE = 20.0
# Seconds for either side to answer the other, before anything is run.
_ANSWERS = 2.0
_SIZE = struct.Struct("!Q")
_READY, _GO = b"+", b"!"
# As a shell says that a process was killed.
_KILLED = 128 + signal.SIGKILL
_SPACES = ("mnt", "net", "pid", "user")
# What `ps` calls it; the kernel has room for 15 bytes.
_TITLE = b"evenkeel-module"


class Next(NamedTuple):
    """The module that a waiting process is asked to run; ``detach`` as for ``runtime.run``."""

    name: str
    arguments: dict[str, Any]
    detach: bool


class _Mine:
    """What this process holds: the connection to the module that it works for, a pipe of which that one has the other end, and a pipe to
    the process that waits for the next."""

    line: socket.socket | None = None
    life: int = -1
    successor: int = -1


def circumstances() -> str:
    """What two processes have to have in common so that it does not matter which of them runs a module."""
    spaces = [os.readlink(f"/proc/self/ns/{kind}") for kind in _SPACES]
    ids = [os.getresuid(), os.getresgid(), sorted(os.getgroups())]
    return json.dumps([sys.executable, sys.version, os.environ.get("PYTHONPATH"), ids, spaces])


def _name(importer: Any) -> str:
    return f"{importer.digest[:32]}.{sys.implementation.cache_tag}{WAITING}"


def _folder(importer: Any) -> int:
    """A handle of the folder with the file of code, in which the socket is.

    :raises OSError: the code is kept nowhere.
    """
    return os.open(os.path.dirname(importer.where) or "/nowhere", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _at(folder: int, name: str) -> str:
    # The address of a socket may have 108 bytes, and a user's home folder more.
    return f"/proc/self/fd/{folder}/{name}"


# -- the module that hands over ------------------------------------------------------------------------------


def hand_over(importer: Any, following: Next) -> None:
    """Have a waiting process run a module, and end this one as that does; return where nobody waits.

    :param importer: of module ``call``.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_ANSWERS)
        folder = _folder(importer)
        try:
            line.connect(_at(folder, _name(importer)))
        finally:
            os.close(folder)
        if _user_of(line) != os.geteuid():
            return
        asked = {
            **following._asdict(),
            "circumstances": circumstances(),
            "environment": dict(os.environ),
            "umask": _umask(),
        }
        text = json.dumps(asked).encode()
        line.sendall(_SIZE.pack(len(text)) + text)
        if line.recv(1) != _READY:
            return
        # The other end is closed with this process, and by nothing else.
        here, (life, _held) = _here(), os.pipe()
        # Not before: whoever reads what this module prints waits for all who have these files.
        socket.send_fds(line, [_GO], [0, 1, 2, here, life])
        os.close(here)
        os.close(life)
        line.settimeout(None)
        # From here on it is run there and nowhere else.
        code = b""
        with contextlib.suppress(OSError):
            code = line.recv(1)
        os._exit(code[0] if code else _KILLED)


def _here() -> int:
    try:
        return os.open(".", os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return os.open("/", os.O_PATH | os.O_DIRECTORY)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _user_of(line: socket.socket) -> int:
    """Who is at the other end."""
    _pid, user, _group = struct.unpack(
        "3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return int(user)


# -- the one that waits --------------------------------------------------------------------------------------


def leave_one(importer: Any, prepare: Callable[[], Callable[[], None]]) -> Next | None:
    """Make a process that waits for the next module. Return None here at once; there, later, what it is to run.

    :param importer: of module ``call``.
    :param prepare: begins there what may be done ahead, and returns what ends that.
    """
    mine, successor = os.pipe()
    try:
        pid = os.fork()
    except OSError:  # no memory: what comes next needs no copy of this
        os.close(mine)
        os.close(successor)
        return None
    if pid:
        os.close(mine)
        _Mine.successor = successor
        return None
    # What ends it must not look like an end of the process that it is a copy of.
    with contextlib.suppress(BaseException):
        following = _waited(importer, mine, prepare)
        if following:
            return following
    os._exit(0)


def _waited(importer: Any, mine: int, prepare: Callable[[], Callable[[], None]]) -> Next | None:
    os.setsid()
    leave_everything(mine)
    handle = os.open("/proc/self/comm", os.O_WRONLY)
    os.write(handle, _TITLE)
    os.close(handle)
    folder, name = _folder(importer), _name(importer)
    with socket.socket(socket.AF_UNIX) as listener:
        mask, unready = os.umask(0o177), f"{name}.{os.getpid()}"
        listener.bind(_at(folder, unready))
        os.umask(mask)
        listener.listen(1)
        # The newest knows most.
        os.rename(unready, name, src_dir_fd=folder, dst_dir_fd=folder)
        own = os.stat(name, dir_fd=folder).st_ino
        end_of_preparation = prepare()
        try:
            line = _called(listener, mine)
            end_of_preparation()
        finally:
            with contextlib.suppress(OSError):
                if os.stat(name, dir_fd=folder).st_ino == own:
                    os.unlink(name, dir_fd=folder)
    os.close(folder)
    os.close(mine)
    return _taken(line) if line else None


def _called(listener: socket.socket, mine: int) -> socket.socket | None:
    """The connection of a module, None where nobody needs this process any more."""
    until = 0.0
    while not until or time.monotonic() < until:
        watched: list[Any] = [listener] if until else [listener, mine]
        ready = select.select(watched, [], [], until - time.monotonic() if until else None)[0]
        if listener in ready:
            line, _address = listener.accept()
            if _user_of(line) == os.geteuid():
                return line
            line.close()
        elif mine in ready:
            if os.read(mine, 1):
                return None
            until = time.monotonic() + _PATIENCE
    return None


def _taken(line: socket.socket) -> Next | None:
    """What a module asks for, with its surroundings become those of this process; None where it is to run it itself."""
    line.settimeout(_ANSWERS)
    asked = json.loads(_read(line, _SIZE.unpack(_read(line, _SIZE.size))[0]))
    if asked["circumstances"] != circumstances():
        return None
    # It goes on once it has heard this, or ends: a limit might pass while it does.
    line.settimeout(None)
    line.sendall(_READY)
    go, handles, _flags, _address = socket.recv_fds(line, 1, 5)
    if go != _GO or len(handles) != 5:
        return None
    *standard, here, life = handles
    with contextlib.suppress(PermissionError):
        # The folder where an administrator became the app's user may be closed to that one.
        os.fchdir(here)
    for number, handle in enumerate(standard):
        os.dup2(handle, number)
    for handle in (*standard, here):
        os.close(handle)
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    os.umask(asked["umask"])
    following = Next(asked["name"], asked["arguments"], asked["detach"])
    if not following.detach:
        _die_with(life)
    _Mine.line, _Mine.life = line, life
    return following


def _read(line: socket.socket, size: int) -> bytes:
    """So many bytes.

    :raises EOFError: the other end was closed before.
    :raises OSError: it says nothing.
    """
    found = b""
    while len(found) < size:
        piece = line.recv(min(1 << 16, size - len(found)))
        if not piece:
            raise EOFError
        found += piece
    return found


def _die_with(life: int) -> None:
    """Have this process killed by the kernel once the other end of a pipe is closed, whatever it does then.

    Not of the connection: what was sent there can be read a moment before the kernel tells of it, and that would look like its end
    (once in some thousand modules, on processors that are all in use).
    """
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    _heed(life, True)
    if select.select([life], [], [], 0)[0]:
        # It was closed before.
        os._exit(_KILLED)


def _heed(life: int, end: bool) -> None:
    flags = fcntl.fcntl(life, fcntl.F_GETFL)
    fcntl.fcntl(life, fcntl.F_SETFL, flags | os.O_ASYNC if end else flags & ~os.O_ASYNC)


# -- its end -------------------------------------------------------------------------------------------------


def dismiss() -> None:
    """No module comes after this one: let nobody wait for it."""
    if _Mine.successor >= 0:
        with contextlib.suppress(OSError):
            os.write(_Mine.successor, b".")


def tell(code: int) -> None:
    """Let the module that handed over end with this exit code; nothing where there is none."""
    if _Mine.line:
        _heed(_Mine.life, False)
        with contextlib.suppress(OSError):
            _Mine.line.send(bytes([code & 255]))


def part() -> None:
    """This process, a copy of one that works for a module, does not."""
    if _Mine.line:
        _Mine.line.close()
        os.close(_Mine.life)
        _Mine.line = None


def leave_everything(kept: int = -1) -> None:
    """Have none of the files of the process that this is a copy of, nor its folder; standard files lead nowhere.

    :param kept: a handle above 2 that stays.
    """
    part()
    _Mine.successor = -1
    os.chdir("/")
    for handle in sorted(map(int, os.listdir("/proc/self/fd"))):
        if handle != kept:
            with contextlib.suppress(OSError):
                os.close(handle)
    for _standard in range(3):
        os.open(os.devnull, os.O_RDWR)


def end(code: Any) -> NoReturn:
    """End this process as ``SystemExit(code)`` does, and with it the module that handed over."""
    if not _Mine.line:
        raise SystemExit(code)
    number = code if isinstance(code, int) else int(bool(code))
    # As at any end of Python; what it does after that may take longer than all the rest.
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        number = number or 1
    tell(number)
    os._exit(number)
