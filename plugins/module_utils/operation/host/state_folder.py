# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an app's state folder is, whether it can be trusted, and its one move out of the app's own folder.

Whoever can write there decides what root undoes, restores and removes.  Formerly it was ``app_root/.evenkeel``, in a
folder that belongs to ``app_owner``.
"""

from __future__ import annotations

import errno
import json
import os
import pwd
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ...base.host.directory_handles import open_folder
from ...base.host.files import FilesFailed, read_json, sync_directory, write_private

#: The folder of all state folders that nobody named otherwise; each app's is ``<DEFAULT>/<app_name>``.
DEFAULT = "/var/lib/evenkeel"
#: In a folder that was moved: from where, and which inode it was there.
MOVED = "moved-from.json"
_HANDLES = "/proc/self/fd/"


def of_handle(handle: int) -> str:
    """The path of an open folder: nobody can exchange what is behind it."""
    return f"{_HANDLES}{handle}"


def where(wanted: str, former: str = "") -> str:
    """The folder that has the state now: the wanted one, or the former one as long as that has not been moved.

    Without root nothing can be made under :data:`DEFAULT`; the former one is kept then.

    :raises FilesFailed: whose it is, or may write to it, is not to be trusted.
    """
    wanted = os.path.normpath(wanted)
    if former and os.path.dirname(wanted) == DEFAULT and not _holds(wanted):
        moved = os.path.islink(former) and os.readlink(former) == wanted
        stays = os.geteuid() != 0 and not os.path.lexists(wanted)
        if not moved and (stays or os.path.islink(former) or _holds(former)):
            refuse_untrusted(former, parents=False)
            return former
    refuse_untrusted(wanted)
    return wanted


def _holds(path: str) -> bool:
    """Whether something is in a folder; what may not be looked into is taken for full."""
    try:
        return bool(os.listdir(path))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def refuse_untrusted(path: str, parents: bool = True) -> None:
    """Refuse a state folder that somebody else owns or may write to, or that is a link; where none is yet, its parents.

    :param parents: whether root also looks at every folder above it, whose owner could exchange it.
    :raises FilesFailed: it is none to be trusted.
    """
    try:
        about = os.stat(path) if path.startswith(_HANDLES) else os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        about = None
    except PermissionError as error:
        raise FilesFailed(
            f"{_name(os.geteuid())} may not look at the state folder {path}", "run with become: true"
        ) from error
    if about is not None:
        _refuse_link(path, about)
        if about.st_uid not in (0, os.geteuid()):
            raise FilesFailed(
                f"the state folder {path} belongs to {_name(about.st_uid)}, and this runs as {_name(os.geteuid())}",
                f"run as {_name(about.st_uid)} as before; or look at what is in it, and if that is yours: "
                f"chown -R {_name(os.geteuid())}: {shlex.quote(path)}",
            )
        if about.st_mode & 0o022:
            raise FilesFailed(
                f"others may write to the state folder {path} (mode {stat.S_IMODE(about.st_mode):04o})",
                f"look at what is in it, then chmod 0700 {shlex.quote(path)}",
            )
    if not parents or os.geteuid() or path.startswith(_HANDLES):
        return
    above = os.path.dirname(os.path.normpath(path))
    for folder in sorted({*_up(above), *_up(os.path.realpath(above))}):
        with suppress(FileNotFoundError, NotADirectoryError):
            _refuse_parent(path, folder, os.lstat(folder))


def _refuse_link(path: str, about: os.stat_result) -> None:
    if stat.S_ISLNK(about.st_mode):
        raise FilesFailed(
            f"the state folder {path} is a link to {os.readlink(path)}",
            "move what it leads to in its place, or name a folder as app_state_dir (of a module: state_dir)",
        )


def _refuse_parent(path: str, folder: str, about: os.stat_result) -> None:
    mode, link = about.st_mode, stat.S_ISLNK(about.st_mode)
    written = mode & 0o002 or (mode & 0o020 and about.st_gid != 0)
    if about.st_uid in (0, os.geteuid()) and (link or not written or mode & stat.S_ISVTX):
        return
    how = f"belongs to {_name(about.st_uid)}" if about.st_uid else f"can be written to by others ({mode & 0o7777:04o})"
    raise FilesFailed(
        f"the state folder {path} lies in {folder}, which {how}: who could exchange it",
        f"leave app_state_dir out (it is {DEFAULT}/<app_name> then), or name a folder below folders of root; "
        f"of a module called alone: state_dir: {DEFAULT}/<app_name>",
    )


def _up(path: str) -> list[str]:
    """A path and every folder above it."""
    return [path] if path in ("/", "") else [*_up(os.path.dirname(path)), path]


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # a container's user without a name
        return str(user)


def refuse_two(wanted: str, former: str) -> None:
    """Refuse where both folders have a journal and none was made from the other: which is right only a person knows.

    :raises FilesFailed: both are there.
    """
    with suppress(OSError):
        about = os.lstat(former)
        mine = stat.S_ISDIR(about.st_mode) and about.st_uid in (0, os.geteuid())
        if mine and _inode(about) != _noted(wanted)[1] and os.path.exists(os.path.join(former, "journal.jsonl")):
            raise FilesFailed(
                f"there are two state folders of this app, {former} and {wanted}, each with a journal of its own",
                f"see which has the newer operations/, and move the other one away: mv {shlex.quote(former)} "
                f"{shlex.quote(former + '.old')}",
            )


@contextmanager
def opened(former: str) -> Iterator[int]:
    """A handle on the folder that was not moved yet: it stays the same one whatever becomes of its path.

    :raises FilesFailed: it is none to be trusted.
    """
    try:
        handle = os.open(former, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise FilesFailed(f"the state folder {former} cannot be opened: {error.strerror}") from error
    try:
        refuse_untrusted(of_handle(handle))
        yield handle
    finally:
        os.close(handle)


def is_at(handle: int, path: str) -> bool:
    """Whether an open folder is the one of that path."""
    with suppress(OSError):
        return _inode(os.fstat(handle)) == _inode(os.lstat(path))
    return False


def move(handle: int, former: str, wanted: str) -> None:
    """Move the open folder to where it is wanted, and leave a link; the caller holds its lock.

    Killed anywhere: either it is whole where it was, or it is whole where it is wanted and :func:`settle` does the rest.

    :raises FilesFailed: somebody exchanged it meanwhile; it stays.
    :raises OSError: no room, no permission; it stays.
    """
    about = {"path": former, "inode": _inode(os.fstat(handle))}
    write_private(os.path.join(of_handle(handle), MOVED), json.dumps(about) + "\n")
    with open_folder(os.path.dirname(wanted), make=0o755):
        pass
    try:
        os.rename(former, wanted)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(handle, wanted)
    else:
        if not is_at(handle, wanted):
            os.rename(wanted, former)
            raise FilesFailed(
                f"the state folder {former} was exchanged for another one while it was moved",
                f"somebody who may write to {os.path.dirname(former)} did so: see who, and which folder is yours",
            )
    sync_directory(os.path.dirname(wanted))
    settle(wanted)


def settle(wanted: str) -> None:
    """Finish a move that was killed: take away the copy that was left, and leave the link.

    The link is for a guard and for scripts that know the former path; nothing here follows it.
    """
    former, inode = _noted(wanted)
    if not former:
        return
    with suppress(FileNotFoundError):
        about = os.lstat(former)
        if not stat.S_ISDIR(about.st_mode) or _inode(about) != inode or is_same(former, wanted):
            return
        shutil.rmtree(former, ignore_errors=True)
    # Nothing depends on it: the folder around it may be gone, or be closed to root.
    with suppress(OSError):
        os.symlink(wanted, former)


def is_same(one: str, other: str) -> bool:
    """Whether two paths are one folder."""
    return _inode(os.lstat(one)) == _inode(os.lstat(other))


def _noted(wanted: str) -> tuple[str, list[int]]:
    """From where a folder was moved, and which device and inode it was; empty where it was not."""
    noted = read_json(os.path.join(wanted, MOVED))
    path, inode = noted.get("path"), noted.get("inode")
    return (path, inode) if isinstance(path, str) and isinstance(inode, list) else ("", [])


def _inode(about: os.stat_result) -> list[int]:
    return [about.st_dev, about.st_ino]


def _copy(handle: int, wanted: str) -> None:
    """Copy the open folder to another file system: whole under its name, or not there at all.

    :raises OSError: no room.
    """
    making = os.path.join(os.path.dirname(wanted), f".copying-{os.path.basename(wanted)}")
    shutil.rmtree(making, ignore_errors=True)
    done = subprocess.run(
        ["cp", "-a", "--", f"{of_handle(handle)}/.", making],
        pass_fds=(handle,), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        shutil.rmtree(making, ignore_errors=True)
        raise FilesFailed(
            f"the state folder cannot be copied to {wanted}: {done.stderr.strip().splitlines()[-1:] or 'no reason given'}",
            f"make room in {os.path.dirname(wanted)}, then run the same command again",
        )
    os.sync()
    os.rename(making, wanted)
