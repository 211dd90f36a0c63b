# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders reached by handles of their folders, for work in folders that other users or containers can change.

A path that was looked at can be another one when it is used: its owner exchanges a folder for a link, and root writes where
that leads.  So each folder on the way is opened from the one above it, no link is followed, and owner and mode are given to
what was opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Callable, Optional

_WAY = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1024 * 1024
_MOST_LINKS = 40
#: What a call says of something that was exchanged for something else since it was looked at.
EXCHANGED = (errno.ELOOP, errno.EINVAL, errno.ENOENT, errno.ENOTDIR, errno.ENXIO)
#: User and group to whom something is given; None leaves it with who runs this.
Owner = Optional["tuple[int, int]"]


class LinkMet(OSError):
    """A link is on the way that others may have put there."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.ELOOP, "a link is on the way that others can change", name)


def _words(path: str) -> list[str]:
    return [word for word in path.split("/") if word not in ("", ".")]


def _step(folder: int, name: str, flags: int = _FOLDER) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except NotADirectoryError as error:
        # This is what the kernel says of a link that it was told not to follow, and of a file.
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise LinkMet(name) from error
        raise


@contextlib.contextmanager
def open_folder(path: str, make: int | None = None) -> Iterator[int]:
    """A handle of a folder by its path from the root of the file system.

    A link is followed only where root or this user made it, in a folder that belongs to one of these: whoever set the server
    up has put it there (``/srv`` on another disk).  The root of a container looks like this server's own; so what a container
    has mounted is reached by :func:`open_below`, from the folder above it.

    :param make: the mode of the folder where it is not there yet; None makes none.
    :raises OSError: a folder is not there or may not be entered; :class:`LinkMet` where a link may be somebody else's.
    """
    steps, links = _words(path)[::-1], 0
    handle = os.open("/" if path.startswith("/") else ".", _WAY)
    try:
        while steps:
            name = steps.pop()
            try:
                further = _step(handle, name, _WAY)
            except FileNotFoundError:
                if make is None:
                    raise
                further = _made(handle, name, make if not steps else 0o755)
            except LinkMet:
                links += 1
                if links > _MOST_LINKS or not _is_own_link(handle, name):
                    raise
                target = os.readlink(name, dir_fd=handle)
                steps += _words(target)[::-1]
                further = os.open("/", _WAY) if target.startswith("/") else os.dup(handle)
            os.close(handle)
            handle = further
        further = os.open(".", _FOLDER, dir_fd=handle)
        os.close(handle)
        handle = further
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def open_private(path: str) -> Iterator[int]:
    """A handle of a folder that nobody but this user can enter.

    :raises OSError: another one has taken its place.
    """
    with open_folder(path) as handle:
        known = os.fstat(handle)
        if known.st_uid != os.geteuid() or known.st_mode & 0o077:
            raise LinkMet(path)
        yield handle


def path_of(handle: int) -> str:
    """A path of what is open, for this process only, whatever its own path leads to by now."""
    return f"/proc/self/fd/{handle}"


def _is_own_link(folder: int, name: str) -> bool:
    link, above = os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(folder)
    anybody = above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX
    return {link.st_uid, above.st_uid} <= {0, os.geteuid()} and not anybody


@contextlib.contextmanager
def open_below(folder: int, path: str, make: int | None = None, like_above: bool = False) -> Iterator[int]:
    """A handle of a folder by its path below another; no link is followed, whoever made it.

    :param make: the mode of folders that are not there yet; None makes none.
    :param like_above: these get owner and permissions of the folder above them instead.
    :raises OSError: a folder is not there; :class:`LinkMet`.
    """
    handle = os.dup(folder)
    try:
        for name in _words(path):
            if name == "..":
                raise LinkMet(path)
            try:
                further = _step(handle, name)
            except FileNotFoundError:
                if make is None:
                    raise
                above = os.fstat(handle)
                further = _made(handle, name, above.st_mode & 0o777 if like_above else make)
                if like_above:
                    give_away(further, (above.st_uid, above.st_gid))
            os.close(handle)
            handle = further
        yield handle
    finally:
        os.close(handle)


def _made(folder: int, name: str, mode: int) -> int:
    with contextlib.suppress(FileExistsError):
        # Another process may make it at this moment.
        os.mkdir(name, 0o700, dir_fd=folder)
    handle = _step(folder, name)
    known = os.fstat(handle)
    if known.st_uid == os.geteuid():
        # Whatever the umask is; the group bit comes from the folder above.
        os.fchmod(handle, mode | known.st_mode & stat.S_ISGID)
    return handle


@contextlib.contextmanager
def make_below(folder: int, name: str, mode: int = 0o700) -> Iterator[int]:
    """Make a folder in another; a handle of it.

    :raises OSError: it is there already, or was exchanged before it was opened.
    """
    os.mkdir(name, 0o700, dir_fd=folder)
    handle = _step(folder, name)
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            raise LinkMet(name)
        os.fchmod(handle, mode)
        yield handle
    finally:
        os.close(handle)


def give_away(handle: int, owner: Owner, mode: int | None = None) -> None:
    """Give what is open another owner, as far as this user is root, and another mode."""
    if owner and os.geteuid() == 0:
        os.fchown(handle, *owner)
    if mode is not None:
        os.fchmod(handle, mode)


def give_tree_away(folder: int, owner: Owner) -> None:
    """Give all that lies in a folder another owner; the folder itself stays who runs this's, so that nobody else is in it yet."""
    if not owner or os.geteuid() != 0:
        return
    for name in os.listdir(folder):
        os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            with open_below(folder, name) as inside:
                give_tree_away(inside, owner)


# -- reading -------------------------------------------------------------------------------------------------


def open_file(name: str, folder: int | None = None) -> BinaryIO:
    """A regular file, open for reading; a link of this name is followed only where no folder is given.

    :param folder: the handle of the folder that it lies in; None where ``name`` is a whole path.
    :raises OSError: there is none, or it is a pipe, which nobody may ever write to, or a device, which has no end.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if folder is None else os.O_NOFOLLOW)
    handle = os.open(name, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file", name)
    return os.fdopen(handle, "rb")


def read_file(path: str) -> bytes:
    """The content of a regular file; links are followed.

    :raises OSError: as :func:`open_file`.
    """
    with open_file(path) as stream:
        return stream.read()


@contextlib.contextmanager
def way_inside(folder: int, path: str, last: bool = True) -> Iterator[tuple[int, str]]:
    """The folder that something below another lies in, open, and its name there.

    Links, as a revision may have them, lead anywhere inside the folder, and not out of it.

    :param last: whether what is there is no link itself.
    :raises OSError: a folder on the way is not there; :class:`LinkMet` where a link leads out.
    """
    steps, links, name = _words(path)[::-1], 0, "."
    with contextlib.ExitStack() as opened:
        way = [folder]
        while steps:
            name = steps.pop()
            if name == "..":
                if len(way) == 1:
                    raise LinkMet(path)
                way.pop()
                name = "."
                continue
            if steps or last:
                target = _link_target(way[-1], name)
                if target:
                    links += 1
                    if target.startswith("/") or links > _MOST_LINKS:
                        raise LinkMet(path)
                    steps += _words(target)[::-1]
                    name = "."
                    continue
            if steps:
                way.append(opened.enter_context(open_below(way[-1], name)))
                name = "."
        yield way[-1], name


def _link_target(folder: int, name: str) -> str:
    """Where a link leads; empty for what is none."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return ""


def open_inside(folder: int, path: str) -> BinaryIO:
    """A regular file below a folder, open for reading; links are followed as :func:`way_inside` says.

    :raises OSError: as :func:`open_file`.
    """
    with way_inside(folder, path) as (inside, name):
        return open_file(name, inside)


# -- writing -------------------------------------------------------------------------------------------------


def write_beside(
    folder: int,
    content: Iterable[bytes],
    mode: int = 0o600,
    owner: Owner = None,
    moment: float | None = None,
    name: str = "",
) -> str:
    """Write a new file under a name of its own, on the disk; returns that name.

    :param moment: when it is to have been changed last (UNIX seconds).
    :param name: that name, from which what a killed call left goes first; else nobody can know it before.
    """
    if name:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
    name = name or f".evenkeel-{secrets.token_hex(8)}"
    handle = os.open(name, _NEW, 0o600, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.writelines(content)
            stream.flush()
            give_away(handle, owner, mode)
            if moment is not None:
                os.utime(handle, (moment, moment))
            os.fsync(handle)
    except BaseException as error:
        os.unlink(name, dir_fd=folder)
        if isinstance(error, OSError) and not error.filename:
            # Which of the file systems has no room.
            error.filename = os.readlink(path_of(folder))
        raise
    return name


def put_in_place(folder: int, name: str, target: str) -> None:
    """Give what was written beside its own name, at once and on the disk; it is gone where that cannot be."""
    try:
        os.replace(name, target, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise
    os.fsync(folder)


def write_below(
    folder: int, name: str, content: bytes, mode: int = 0o600, owner: Owner = None, beside: str = ""
) -> None:
    """Write a file of a folder, whole or not at all; what has its name, a link as well, is replaced and not followed.

    :param beside: the name that it has before, as :func:`write_beside` takes it.
    """
    put_in_place(folder, write_beside(folder, [content], mode, owner, name=beside), name)


def write_over(folder: int, name: str, text: str) -> None:
    """Write a text of a line or more over a file of this user's own, into the blocks that it has; a longer file gets spaces at its end.

    In one act, and never shorter than it was: others read it meanwhile.

    :raises OSError: ENOSPC where the text takes more than these blocks, EPERM where the file is anything else than such a file.
    """
    handle = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        known = os.fstat(handle)
        if not stat.S_ISREG(known.st_mode) or known.st_nlink != 1 or known.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), name)
        whole = text.rstrip("\n").encode().ljust(known.st_size - 1) + b"\n"
        # In units of 512 bytes.
        if len(whole) > max(known.st_size, known.st_blocks * 512):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        os.write(handle, whole)
        os.fsync(handle)
    finally:
        os.close(handle)


def copy_below(source: int, name: str, target: int, left_out: Callable[[str], bool] = lambda _path: False) -> None:
    """Copy a file, a link or a folder with all that is in it, with modes and times, into another folder.

    :param left_out: tells of a path, which begins with ``name``, whether to leave it out.
    :raises OSError: something is neither, or was exchanged meanwhile.
    """
    known = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISLNK(known.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    elif stat.S_ISDIR(known.st_mode):
        with open_below(source, name) as inside, make_below(target, name) as copy:
            copy_all(inside, copy, lambda path: left_out(f"{name}/{path}"))
            give_away(copy, None, stat.S_IMODE(known.st_mode))
            os.utime(copy, ns=(known.st_atime_ns, known.st_mtime_ns))
    else:
        with open_file(name, source) as stream, os.fdopen(os.open(name, _NEW, 0o600, dir_fd=target), "wb") as written:
            shutil.copyfileobj(stream, written, _CHUNK)
            written.flush()
            known = os.fstat(stream.fileno())
            give_away(written.fileno(), None, stat.S_IMODE(known.st_mode))
            os.utime(written.fileno(), ns=(known.st_atime_ns, known.st_mtime_ns))


def copy_all(source: int, target: int, left_out: Callable[[str], bool] = lambda _path: False) -> None:
    """Copy all that lies in a folder into another, as :func:`copy_below`."""
    for name in sorted(os.listdir(source)):
        if not left_out(name):
            copy_below(source, name, target, left_out)


def remove_below(folder: int, name: str) -> None:
    """Remove a folder of another with all that is in it, where it is there; a link of that name is refused.

    :raises OSError: something cannot be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(f"{path_of(folder)}/{name}")
