# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder on the target as the source of releases, for teams without git: its content is the revision."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator

from ...base.errors import BadInput
from ...base.host.directory_handles import (
    EXCHANGED,
    LinkMet,
    copy_all,
    give_tree_away,
    open_folder,
    open_private,
    path_of,
)
from .mounts import digest_of


def is_plain_folder(path: str) -> bool:
    """Whether a source is a folder of this host and no git repository."""
    if not os.path.isabs(path) or not os.path.isdir(path):
        return False
    bare = all(os.path.exists(os.path.join(path, name)) for name in ("HEAD", "objects", "refs"))
    return not bare and not os.path.exists(os.path.join(path, ".git"))


def revision_of(path: str) -> str:
    """What stands for a commit: forty digits of the digest over names, kinds, permissions and contents.

    :raises BadInput: it holds what a release cannot.
    """
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            entry = os.path.join(folder, name)
            if os.path.islink(entry) or os.path.isdir(entry) or os.path.isfile(entry):
                continue
            raise BadInput(f"{entry} is no file, folder or link", "remove it from the folder that releases are made of")
    if any(name.startswith(".evenkeel") for name in os.listdir(path)):
        raise BadInput(f"{path} holds .evenkeel, where a release keeps its own record", "remove it there")
    return digest_of(path)[:40]


def size_of(path: str) -> tuple[int, int]:
    """Bytes and files in it."""
    sizes = [os.lstat(os.path.join(folder, n)).st_size for folder, _folders, names in os.walk(path) for n in names]
    return sum(sizes), len(sizes)


@contextlib.contextmanager
def open_source(path: str) -> Iterator[int]:
    """A folder that releases are made of, open.

    :raises BadInput: its owner could have put a link on the way to it, to what only root may read.
    """
    try:
        opened = contextlib.ExitStack()
        folder = opened.enter_context(open_folder(path))
    except LinkMet as error:
        raise BadInput(
            f"{error.filename} on the way to {path} is a link that root did not make, and is not followed",
            f"name {os.path.realpath(path)}",
        ) from error
    with opened:
        yield folder


def copy_into(path: str, revision: str, target: str, owner: str) -> None:
    """Copy it into an existing empty folder that only this user can enter: whoever could change the copy could have root follow it.

    :param owner: to whom the copy belongs, empty for who runs this.
    :raises BadInput: it changed in the meantime, as while an upload goes on.
    """
    changed = BadInput(f"{path} changed while it was copied", "wait until the upload has ended, then run this again")
    with open_private(target) as copy:
        try:
            with open_source(path) as source:
                copy_all(source, copy)
            if revision_of(path) != revision or digest_of(path_of(copy))[:40] != revision:
                raise changed
        except OSError as error:
            if error.errno in EXCHANGED:
                raise changed from error
            raise
        user = pwd.getpwnam(owner) if owner else None
        give_tree_away(copy, (user.pw_uid, user.pw_gid) if user else None)
