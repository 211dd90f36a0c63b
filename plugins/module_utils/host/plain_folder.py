# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder on the target as the source of releases, for teams without git: its content is the revision."""

from __future__ import annotations

import os
import pwd
import shutil

from .mounts import digest_of
from .refusal import BadInput


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


def copy_into(path: str, revision: str, target: str, owner: str) -> None:
    """Copy it into an existing empty folder.

    :param owner: to whom the copy belongs, empty for who runs this.
    :raises BadInput: it changed in the meantime, as while an upload goes on.
    """
    shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)
    os.chmod(target, 0o755)
    if revision_of(path) != revision or digest_of(target)[:40] != revision:
        raise BadInput(f"{path} changed while it was copied", "wait until the upload has ended, then run this again")
    if owner and os.geteuid() == 0:
        user = pwd.getpwnam(owner)
        for folder, folders, names in os.walk(target):
            for entry in (folder, *(os.path.join(folder, n) for n in (*folders, *names))):
                os.chown(entry, user.pw_uid, user.pw_gid, follow_symlinks=False)
