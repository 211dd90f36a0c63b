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

from .files import sync_directory


def digest(path: str) -> str:
    """The SHA-256 of a file or folder: names, kinds, permission bits and contents, not times or owners."""
    total = hashlib.sha256()
    _add(total, path, "")
    return total.hexdigest()


def _add(total: hashlib._Hash, path: str, name: str) -> None:
    mode = os.lstat(path).st_mode
    total.update(f"{name}\0{stat.S_IFMT(mode):o}\0{stat.S_IMODE(mode):o}\0".encode())
    if stat.S_ISLNK(mode):
        total.update(os.readlink(path).encode())
    elif stat.S_ISDIR(mode):
        for entry in sorted(os.listdir(path)):
            # The release's own record lies beside its tree and is no part of what anyone mounts.
            if entry != ".evenkeel":
                _add(total, os.path.join(path, entry), f"{name}/{entry}")
    else:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1024 * 1024), b""):
                total.update(block)


def place(source: str, store: str) -> tuple[str, bool]:
    """Copy a file or folder to ``store/<digest>/<name>``.

    :returns: the copy's path, and whether it had to be made; a copy is whole or not there.
    """
    folder = os.path.join(store, digest(source))
    target = os.path.join(folder, os.path.basename(source))
    if os.path.lexists(target):
        return target, False
    os.makedirs(store, mode=0o755, exist_ok=True)
    making = os.path.join(store, f".making-{secrets.token_hex(6)}")
    os.mkdir(making, 0o755)
    copy = os.path.join(making, os.path.basename(source))
    if os.path.isdir(source):
        shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns(".evenkeel"))
    else:
        shutil.copy2(source, copy)
    try:
        os.rename(making, folder)
    except OSError:
        shutil.rmtree(making)
        if not os.path.lexists(target):
            raise
    sync_directory(store)
    return target, True
