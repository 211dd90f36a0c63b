# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where data lies that is no part of a revision: in relative mounts such as ``./pgdata``, in volumes without a name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

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


def is_anonymous(mount: Mapping[str, Any]) -> bool:
    """Whether a mount of an inspection is a volume that the engine made up a name for."""
    name = str(mount.get("Name") or "")
    return mount.get("Type") == "volume" and len(name) == 64 and all(c in "0123456789abcdef" for c in name)


def anonymous_data(inspection: Mapping[str, Any]) -> dict[str, str]:
    """Where a container has an anonymous volume that is not empty → its name; one that cannot be looked into counts."""
    found = {}
    for mount in inspection.get("Mounts") or []:
        if is_anonymous(mount) and not _is_empty(str(mount.get("Source") or "")):
            found[str(mount.get("Destination"))] = str(mount["Name"])
    return found


def _is_empty(folder: str) -> bool:
    try:
        return not os.listdir(folder)
    except OSError:
        return False


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
