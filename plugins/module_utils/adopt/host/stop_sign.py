# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Setting stop signs in a folder that was adopted, and taking them away again."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence

from ...base.errors import BadInput
from ...base.host.directory_handles import open_file, open_folder, write_below
from ...git.host.git import GitFailed
from ..stop_sign import aside, is_sign, text
from .snapshot import tracked


def lacking(files: Iterable[str]) -> list[str]:
    """The Compose files that have no stop sign in their place.

    :raises BadInput: one is not there or cannot be read.
    """
    return [path for path in files if not is_sign(_content(path))]


def put(files: Sequence[str], project: str, root: str) -> None:
    """Give each Compose file another name, and a stop sign its own; a killed call leaves a file or a sign of that name.

    :raises BadInput: something else has the other name, or the folder may not be written.
    """
    for path in lacking(files):
        name = os.path.basename(path)
        try:
            with open_folder(os.path.dirname(path)) as folder:
                known = os.stat(path)
                try:
                    os.link(name, aside(name), src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                except FileExistsError as error:
                    if not os.path.samefile(path, aside(path)):
                        raise BadInput(
                            f"{aside(path)} is there already", "move it away, then run this again"
                        ) from error
                owner, mode = (known.st_uid, known.st_gid), stat.S_IMODE(known.st_mode)
                write_below(folder, name, text(path, project, root).encode(), mode, owner)
        except OSError as error:
            raise BadInput(
                f"no stop sign can be put in place of {path}: {error.strerror}; nothing was changed there",
                "run this as a user who may write that folder, or without adopt_stop_sign",
            ) from error


def take_away(files: Iterable[str]) -> list[str]:
    """Give Compose files their names back where stop signs have these; returns what was left as it is, and why."""
    notes = []
    for path in files:
        if not os.path.lexists(aside(path)):
            continue
        with contextlib.suppress(BadInput):
            if not is_sign(_content(path)):
                notes.append(
                    f"{path} was written since the stop sign was put there, and stays; its own is {aside(path)}"
                )
                continue
        with open_folder(os.path.dirname(path)) as folder:
            name = os.path.basename(path)
            os.replace(aside(name), name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
    return notes


def of_git(folder: str, files: Sequence[str]) -> str:
    """What git makes of the signs, empty where it has none of these files."""
    try:
        known = tracked(folder, [os.path.relpath(f, folder) for f in files if f.startswith(f"{folder}/")])
    except (GitFailed, BadInput):
        return ""
    if not known:
        return ""
    names = ", ".join(known)
    return (
        f"git status in {folder} shows {names} as changed; git pull refuses to overwrite it, and git checkout or reset there "
        f"takes the stop sign away"
    )


def _content(path: str) -> bytes:
    try:
        with open_file(path) as stream:
            return stream.read(4096)
    except OSError as error:
        raise BadInput(f"{path}, from which the app was started, cannot be read: {error.strerror}", "") from error
