# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content-addressed copies of what services mount out of a release's tree."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat

from ...base.host.directory_handles import (
    copy_all,
    copy_below,
    give_away,
    make_below,
    open_file,
    open_folder,
    remove_below,
    way_inside,
)
from ...engine.definition import GENERATED

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
        with open_file(path) as stream:
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
    with open_folder(store, make=0o755) as folder, open_folder(root) as tree:
        for leftover in os.listdir(folder):
            if leftover.startswith(_MAKING):
                remove_below(folder, leftover)
        making = f"{_MAKING}{secrets.token_hex(6)}"
        # Nobody else comes in while it is filled; the owner of the tree may exchange what is copied for a link.
        with make_below(folder, making) as made:
            if source == root:
                with make_below(made, "tree") as copy:
                    copy_all(tree, copy, lambda path: "/" not in path and _is_ours(path))
                    give_away(copy, None, stat.S_IMODE(os.fstat(tree).st_mode))
            else:
                with way_inside(tree, os.path.relpath(source, root), last=False) as (inside, name):
                    copy_below(inside, name, made)
            give_away(made, None, 0o755)
        os.rename(making, os.path.basename(os.path.dirname(target)), src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    return target, True
