# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relative mounts that are no part of a revision, such as ``./pgdata``: data, which lies in one place for all releases."""

from __future__ import annotations

import os

from .refusal import BadInput

# What git needs to keep a folder that is empty otherwise.
_PLACEHOLDERS = {".gitkeep", ".keep", ".gitignore", ".placeholder"}


def is_data(path: str, tree: str) -> bool:
    """Whether what is mounted from there is the server's own, since the revision has nothing for it.

    :param path: in the release's tree, links resolved.
    """
    if path == tree or not path.startswith(f"{tree}/"):
        return False
    if not os.path.lexists(path):
        return True
    return os.path.isdir(path) and set(os.listdir(path)) <= _PLACEHOLDERS


def make_room_for_data(path: str, name: str, check_mode: bool) -> bool:
    """Make the folder for data where there is none yet; what is there stays as it is.

    :param path: where it lies for all releases.
    :param name: as the Compose file names it, relative.
    :raises BadInput: what is mounted looks like a file, and is not there.
    """
    if os.path.lexists(path):
        return False
    stem, suffix = os.path.splitext(os.path.basename(name))
    if stem and suffix:
        raise BadInput(
            f"./{name} is mounted, but is neither in the revision nor at {path}: the engine would make an empty folder of it",
            f"put the server's own {name} at {path}",
        )
    if not check_mode:
        os.makedirs(path)
    return True
