# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content-addressed copies of what services mount out of a release's tree."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat

from ..decide.project import GENERATED
from .files import sync_directory

_MAKING = ".making-"


def _is_ours(name: str) -> bool:
    """Whether a top-level entry of a release is our record or generated from the tree: nobody mounts that."""
    return name == GENERATED or name.startswith(".evenkeel")


def _add(total: hashlib._Hash, path: str, name: str, whole: bool) -> None:
    mode = os.lstat(path).st_mode
    content = hashlib.sha256()
    if stat.S_ISLNK(mode):
        content.update(os.fsencode(os.readlink(path)))
    elif stat.S_ISREG(mode):
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1024 * 1024), b""):
                content.update(block)
    # A content could hold what looks like the next entry; its digest, of one length, cannot.
    total.update(os.fsencode(f"{name}\0{stat.S_IFMT(mode):o}\0{stat.S_IMODE(mode):o}\0{content.hexdigest()}\0"))
    if stat.S_ISDIR(mode):
        for entry in sorted(os.listdir(path)):
            if not (whole and _is_ours(entry)):
                _add(total, os.path.join(path, entry), f"{name}/{entry}", False)


def digest_of(folder: str) -> str:
    """The same of all that lies in a folder, whatever the folder itself is called and may."""
    total = hashlib.sha256()
    for entry in sorted(os.listdir(folder)):
        _add(total, os.path.join(folder, entry), entry, False)
    return total.hexdigest()


def copy_path(source: str, store: str, root: str) -> str:
    """Where the copy of a file or folder has its place: ``store/<digest>/<name>``.

    The digest is of names, kinds, permission bits and contents, not of times or owners.

    :param root: the release's folder, which ``source`` lies in or is.
    """
    # The folder itself has another name in each release.
    name = "tree" if source == root else os.path.basename(source)
    total = hashlib.sha256()
    _add(total, source, name, source == root)
    return os.path.join(store, total.hexdigest(), name)


def place(source: str, store: str, root: str) -> tuple[str, bool]:
    """Copy a file or folder to its :func:`copy_path`; the caller holds the lock.

    :returns: the copy's path, and whether it had to be made; a copy is whole or not there.
    """
    target = copy_path(source, store, root)
    if os.path.lexists(target):
        return target, False
    if not os.path.isdir(store):
        os.makedirs(store)
        os.chmod(store, 0o755)
    for leftover in os.listdir(store):
        if leftover.startswith(_MAKING):
            shutil.rmtree(os.path.join(store, leftover))
    making = os.path.join(store, f"{_MAKING}{secrets.token_hex(6)}")
    os.mkdir(making)
    os.chmod(making, 0o755)
    copy = os.path.join(making, os.path.basename(target))
    if os.path.isdir(source) and not os.path.islink(source):
        shutil.copytree(
            source,
            copy,
            symlinks=True,
            ignore=lambda folder, names: [n for n in names if folder == root and _is_ours(n)],
        )
    else:
        shutil.copy2(source, copy, follow_symlinks=False)
    os.rename(making, os.path.dirname(target))
    sync_directory(store)
    return target, True
