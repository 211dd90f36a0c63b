# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What images are built from: a copy of a release's tree without what is generated in it, gone with the build.

In a release's folder lie its ``compose.yaml`` with every variable filled in, its record, and after a hotfix of the environment
a real ``.env``. ``COPY . /app`` would put these into the image, whatever ``.dockerignore`` says of ``.env``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Callable

from ...base.errors import BadInput
from ...base.host.file_lock import flock
from ...base.host.files import private_directory, read_json
from ...releases.project import ASIDE
from ..command_line import name_in_context

_BLOCK = 1024 * 1024


@contextmanager
def clean_context(tree: str, state_dir: str) -> Iterator[Callable[[str], str]]:
    """Copy a release's tree for the time of its builds; yields what gives a path in the tree its place in the copy.

    :param tree: the release's folder.
    :param state_dir: private folder in which the copy lies, since the tree belongs to a user who may change it meanwhile.
    :raises BadInput: the tree cannot be copied.
    """
    folder = private_directory(os.path.join(state_dir, "build"))
    _sweep(folder)
    own, real = tempfile.mkdtemp(dir=folder), os.path.realpath(tree)
    try:
        # Builds that we start keep this lock with us: where we are killed, what they read is left until they have ended.
        with flock(os.path.join(own, "lock"), fcntl.LOCK_EX, for_act=True):
            copy = os.path.join(own, "tree")
            shared = read_json(os.path.join(real, ".evenkeel", "manifest.json")).get("shared") or ()
            try:
                _copy(real, copy, {str(path) for path in shared})
            except OSError as error:
                raise BadInput(
                    f"the tree of {tree} cannot be copied for its build: {error.filename or folder}: {error.strerror}",
                    f"correct that, or make room in {folder}, and run the same command again",
                ) from error
            yield lambda path: _moved(path, real, copy)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _sweep(folder: str) -> None:
    """Take away what a killed run left, but for what a build of it still reads."""
    for name in os.listdir(folder):
        with flock(os.path.join(folder, name, "lock"), fcntl.LOCK_EX | fcntl.LOCK_NB) as free:
            if free:
                shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def _moved(path: str, tree: str, copy: str) -> str:
    real = os.path.realpath(path)
    if real == tree or real.startswith(f"{tree}/"):
        return copy + real[len(tree) :]
    if f"{os.path.dirname(tree)}/".startswith(f"{real.rstrip('/')}/"):
        raise BadInput(
            f"an image would be built from {path}, a folder around the releases of this host, with every secret in them",
            "write a build context that lies in the repository, relative to its top",
        )
    return path


def _copy(tree: str, target: str, shared: Collection[str]) -> None:
    """Copy a tree with modes and times, following no link, whoever may write in it meanwhile.

    :raises OSError: it cannot be read, or there is no room.
    """
    made: list[tuple[str, os.stat_result]] = []
    for folder, folders, names, handle in os.fwalk(tree, onerror=_fail):
        inside = "" if folder == tree else f"{folder[len(tree) + 1 :]}/"
        if not inside:
            os.mkdir(target, 0o700)
            made.append((target, os.fstat(handle)))
        for name in [*folders, *names]:
            path = name_in_context(inside + name, shared)
            if not path:
                if name in folders:
                    folders.remove(name)
                continue
            about, to = os.stat(name, dir_fd=handle, follow_symlinks=False), os.path.join(target, path)
            if stat.S_ISLNK(about.st_mode):
                os.symlink(os.readlink(name, dir_fd=handle), to)
                os.utime(to, ns=(about.st_atime_ns, about.st_mtime_ns), follow_symlinks=False)
            elif stat.S_ISDIR(about.st_mode):
                os.mkdir(to, 0o700)
                made.append((to, about))
            else:
                # What was put aside is private; in the repository it is as readable as the rest.
                _copy_file(name, handle, to, 0o644 if name.startswith(ASIDE) else 0)
    for to, about in reversed(made):
        os.chmod(to, stat.S_IMODE(about.st_mode))
        os.utime(to, ns=(about.st_atime_ns, about.st_mtime_ns))


def _fail(error: OSError) -> None:
    raise error


def _copy_file(name: str, handle: int, to: str, more: int) -> None:
    """Copy one plain file of an open folder.

    :param more: permissions that the copy gets besides.
    """
    # A pipe would wait for a writer for ever.
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle)
    with os.fdopen(source, "rb") as read:
        about = os.fstat(source)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(0, "it is no file, folder or link", name)
        with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as written:
            for block in iter(lambda: read.read(_BLOCK), b""):
                written.write(block)
            written.flush()
            os.fchmod(written.fileno(), stat.S_IMODE(about.st_mode) | more)
            os.utime(written.fileno(), ns=(about.st_atime_ns, about.st_mtime_ns))
