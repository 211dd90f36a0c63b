# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder that nginx and a service share a UNIX socket in: who listens there, who is connected, whom nginx finds.

A server that starts unlinks the socket of the one before and binds its own; one that ends unlinks whatever lies there
by then (gunicorn does both). So nginx is given a view of its own: a folder of ours with hard links, mounted over the
shared one in nginx's mount namespace alone. A hard link reaches the process that bound the socket whatever becomes of
its first name, and exchanging it is one rename: no reload, and nobody meets a missing file.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...base.host import processes
from ...base.host.directory_handles import give_away, make_below, open_below, open_folder, remove_below

_SHOWN = ".evenkeel"
_KEPT = ".kept-"
#: Seconds for room in a listener's queue.
PATIENCE = 2.0
_CREDENTIALS = struct.Struct("3i")
# Linux include/uapi/linux/net.h, as /proc/net/unix prints it: still in the listener's queue, and taken from it.
_QUEUED, _CONNECTED = "02", "03"


class SocketFailed(Exception):
    """A socket cannot be reached or shown to nginx; the message is for the user."""


def unavailable() -> str:
    """Why nginx cannot be given a view of its own on this host, empty when it can."""
    if os.geteuid():
        return "entering the mount namespace of a container needs root (become: true)"
    tool = shutil.which("mount")
    report = subprocess.run([tool, "--help"], capture_output=True, text=True, check=False).stdout if tool else ""
    return "" if "--namespace" in report else "mount of util-linux 2.35 or newer is missing on this host"


def listener_at(path: str, patience: float = PATIENCE) -> int | None:
    """The host's process id of who began to listen at a socket, None where nobody does.

    The kernel tells whom a client is connected to, without a word being sent (``SO_PEERCRED``, see unix(7)).

    :param patience: seconds for room in the listener's queue.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        # The kernel waits so long for room in the listener's queue; Python's own timeout would not wait at all.
        given = struct.pack("ll", int(patience), int(patience % 1 * 1e6))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, given)
        try:
            client.connect(path)
            report = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return None
    return int(_CREDENTIALS.unpack(report)[0]) or None


def resolved(process: int, path: str) -> str:
    """A path as a process sees it, without the links on the way (``/var/run`` is one to ``/run``)."""
    root, steps, done = f"/proc/{process}/root", path.strip("/").split("/"), "/"
    for _link in range(40 + len(steps)):
        if not steps:
            break
        step = steps.pop(0)
        try:
            target = os.readlink(f"{root}{done.rstrip('/')}/{step}")
        except OSError:
            done = os.path.normpath(os.path.join(done, step))
        else:
            steps = [*(word for word in target.split("/") if word), *steps]
            done = "/" if target.startswith("/") else done
    return done


@dataclass(eq=False)
class SocketFolder:
    """One socket of one service.

    :param seen: the socket's path as nginx sees it, :func:`resolved`.
    :param path: the same on this host.
    :param mounted: what of this host is mounted into the containers, which can put links below it; the socket's folder if empty.
    """

    service: str
    seen: str
    path: str
    mounted: str = ""

    def __post_init__(self) -> None:
        self._listeners: dict[tuple[int, int, int], int] = {}

    @property
    def view(self) -> str:
        """The folder of ours, on this host; it lies inside the shared one, since links stay on one mount."""
        return os.path.join(os.path.dirname(self.path), f"{_SHOWN}-{self.service}")

    @property
    def shown(self) -> str:
        """What nginx connects to while it has a view of its own."""
        return os.path.join(self.view, os.path.basename(self.path))

    def is_covered(self, nginx: int) -> bool:
        """Whether the nginx with this process id has a view of its own."""
        folder = os.path.dirname(self.seen)
        return any(at == folder and root.endswith(f"/{os.path.basename(self.view)}") for root, at in _mounts(nginx))

    def followed(self, nginx: int) -> str:
        """The path on this host of the socket that this nginx connects to."""
        return self.shown if self.is_covered(nginx) else self.path

    def is_prepared(self) -> bool:
        """Whether a folder of ours is there."""
        try:
            return stat.S_ISDIR(os.lstat(self.view).st_mode)
        except OSError:
            return False

    def strangers(self) -> list[str]:
        """What else lies in the shared folder and would be hidden from nginx: sockets and folders, if not their owner's own."""
        found = []
        with contextlib.suppress(OSError):
            for entry in os.scandir(os.path.dirname(self.path)):
                kind = entry.stat(follow_symlinks=False).st_mode
                # A server's own things begin with a dot: ours, and gunicorn's control socket in .gunicorn.
                known = entry.name == os.path.basename(self.path) or entry.name.startswith(".")
                if not known and (stat.S_ISSOCK(kind) or stat.S_ISDIR(kind)):
                    found.append(entry.name)
        return sorted(found)

    # -- who is who -----------------------------------------------------------------------------------

    def listens(self, path: str, container: int) -> bool:
        """Whether a process of the container with this main process listens at a path of this host."""
        try:
            status = os.stat(path)
        except OSError:
            return False
        # A link changes the time of its last change, and not this one.
        key = (status.st_dev, status.st_ino, status.st_mtime_ns)
        if key not in self._listeners:
            pid = listener_at(path)
            if pid is None:
                # It may be bound and not listen yet.
                return False
            self._listeners[key] = pid
        return self._listeners[key] in {p.pid for p in processes.tree(container)}

    def address_of(self, container: int) -> str:
        """The path on this host by which a container is reached, empty while it does not listen."""
        return next((path for path in self._names() if self.listens(path, container)), "")

    def _names(self) -> Iterator[str]:
        yield self.path
        if self.is_prepared():
            yield from (os.path.join(self.view, n) for n in sorted(os.listdir(self.view)) if n.startswith(_KEPT))

    def connections(self, nginx: int, container: int) -> int:
        """How many requests a container works on, and those of nginx that nobody has taken yet, by whomever."""
        held = _sockets_of(container)
        # A connection belongs to the network namespace of who opened it, and bears the name that was bound.
        name = os.path.basename(self.path)
        # Both may be in one namespace: the first field tells rows apart.
        rows = {row for pid in (nginx, container) for row in _rows(pid) if row[3].endswith(name)}
        taken = [row for row in rows if row[1] == _CONNECTED and row[2] in held]
        return len(taken) + sum(1 for row in rows if row[1] == _QUEUED)

    # -- what nginx sees ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _shared(self) -> Iterator[int]:
        """The shared folder, open; containers can exchange whatever lies below what is mounted."""
        folder = os.path.dirname(self.path)
        top = self.mounted or folder
        with open_folder(top) as mounted, open_below(mounted, os.path.relpath(folder, top)) as shared:
            yield shared

    def prepare(self) -> None:
        """Make the folder of ours, where what nginx connects to now is what it will find.

        :raises SocketFailed: it cannot be made.
        """
        name = os.path.basename(self.view)
        try:
            with self._shared() as shared:
                if not self.is_prepared():
                    about = os.fstat(shared)
                    with make_below(shared, name) as made:
                        give_away(made, (about.st_uid, about.st_gid), stat.S_IMODE(about.st_mode))
                with open_below(shared, name) as view:
                    self._keep(shared, view)
        except OSError as error:
            raise SocketFailed(f"{self.view} cannot be made: {error.strerror}") from error

    def _keep(self, shared: int, view: int) -> None:
        """Give what lies in the shared folder now another name, so that it stays within reach."""
        name = os.path.basename(self.path)
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            kept = f"{_KEPT}{os.stat(name, dir_fd=shared, follow_symlinks=False).st_ino}"
            os.link(name, kept, src_dir_fd=shared, dst_dir_fd=view, follow_symlinks=False)

    def show(self, address: str) -> None:
        """Let nginx find this socket from its next connection on.

        :param address: path on this host.
        :raises SocketFailed: it is gone.
        """
        folder, name = os.path.split(address)
        try:
            with self._shared() as shared, open_below(shared, os.path.basename(self.view)) as view:
                _link(view if folder == self.view else shared, name, view, os.path.basename(self.path))
        except OSError as error:
            raise SocketFailed(f"{address} cannot be linked as {self.shown}: {error.strerror}") from error

    def cover(self, nginx: int) -> None:
        """Give nginx the view of its own.

        :raises SocketFailed: the mount is refused, or a container has put a link in the place of our folder.
        """
        if not self.is_covered(nginx):
            folder = os.path.dirname(self.seen)
            _run(["mount", "-n", "-N", str(nginx), "--bind", f"{folder}/{os.path.basename(self.view)}", folder])
            if not self.is_covered(nginx):
                _run(["umount", "-n", "-N", str(nginx), folder])
                raise SocketFailed(f"{self.view} was exchanged while it was shown to nginx")

    def put_back(self, nginx: int) -> None:
        """Leave the shared folder as it would be without us, with what nginx connects to in it.

        :raises SocketFailed: nginx keeps its view.
        """
        if self.is_covered(nginx):
            self._link_back()
            self._uncover(nginx)
        if self.is_prepared():
            try:
                with self._shared() as shared:
                    remove_below(shared, os.path.basename(self.view))
            except OSError as error:
                raise SocketFailed(f"{self.view} cannot be removed: {error.strerror}") from error

    def _link_back(self) -> None:
        name = os.path.basename(self.path)
        try:
            with self._shared() as shared, open_below(shared, os.path.basename(self.view)) as view:
                if _inode(view, name) not in (None, _inode(shared, name)):
                    _link(view, name, shared, name)
        except OSError as error:
            raise SocketFailed(f"{self.shown} cannot be linked as {self.path}: {error.strerror}") from error

    def _uncover(self, nginx: int) -> None:
        for attempts_left in range(20, -1, -1):
            try:
                # Not lazily: for that umount would read /proc, which in the container shows no process of ours.
                _run(["umount", "-n", "-N", str(nginx), os.path.dirname(self.seen)])
            except SocketFailed:
                # Somebody may look into that folder at this moment.
                if not attempts_left:
                    raise
                time.sleep(0.2)
            if not self.is_covered(nginx):
                return


def _link(source: int, name: str, folder: int, target: str) -> None:
    """Give what lies in one folder a name in another, which may be taken."""
    fresh = f"{target}.evenkeel"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh, dir_fd=folder)
    os.link(name, fresh, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
    os.replace(fresh, target, src_dir_fd=folder, dst_dir_fd=folder)
    # Two names of one file: a rename between them does nothing at all.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh, dir_fd=folder)


def _inode(folder: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino
    except OSError:
        return None


def _run(argv: Sequence[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SocketFailed(f"{argv[0]} could not be run: {error}") from error
    if done.returncode != 0:
        raise SocketFailed(f"{argv[0]} in nginx's mount namespace: {done.stderr.strip() or done.returncode}")


def _mounts(pid: int) -> list[tuple[str, str]]:
    """What is mounted where a process sees it: the root in its own file system, and the place (proc(5))."""

    def plain(word: str) -> str:
        return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), word)

    fields = [line.split(" ") for line in processes.lines(f"/proc/{pid}/mountinfo")]
    return [(plain(f[3]), plain(f[4])) for f in fields if len(f) > 4]


def _rows(pid: int) -> list[tuple[str, str, str, str]]:
    """Number, state, inode and path of every UNIX socket in the network namespace of a process that has a path."""
    fields = [line.split(None, 7) for line in processes.lines(f"/proc/{pid}/net/unix")[1:]]
    return [(f[0], f[5], f[6], f[7]) for f in fields if len(f) > 7]


def _sockets_of(container: int) -> set[str]:
    """The inodes of the sockets that a container's processes have open."""
    found = set()
    for process in processes.tree(container):
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{process.pid}/fd"):
                with contextlib.suppress(OSError):
                    match = re.match(r"socket:\[(\d+)\]$", os.readlink(f"/proc/{process.pid}/fd/{number}"))
                    if match:
                        found.add(match.group(1))
    return found
