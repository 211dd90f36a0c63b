# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where data lies that is no part of a revision: in relative mounts such as ``./pgdata``, in volumes without a name."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ...base.errors import BadInput
from ...base.host.directory_handles import open_folder
from ..mounted_content import PLACEHOLDERS, is_store, worth_keeping

#: Files of the server's own that are looked for in one folder; the sentence names a few.
_MOST = 1000


def is_data(path: str, tree: str) -> bool:
    """Whether what is mounted from there is the server's own, since the revision has nothing for it.

    :param path: in the release's tree, links resolved.
    """
    if path == tree or not path.startswith(f"{tree}/"):
        return False
    if not os.path.lexists(path):
        return True
    return os.path.isdir(path) and set(os.listdir(path)) <= PLACEHOLDERS


def own_of(served: str, tree: str) -> list[str]:
    """What containers have written into a mounted folder or file since it was part of a version, links not followed.

    :param served: what is mounted; ``tree``: the same of the version that it comes from.
    :returns: paths below it, whole folders ending in ``/``; the file itself is ``""``.
    """
    if os.path.isfile(served):
        differs = is_store(served) and os.path.isfile(tree) and not filecmp.cmp(served, tree, shallow=False)
        return [""] if differs else []
    return worth_keeping(path for path, _n in zip(_written(served, tree, ""), range(_MOST)))


def _written(served: str, tree: str, prefix: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(served), key=lambda entry: entry.name)
    except OSError:
        # Gone in the meantime, or no folder any more.
        return
    for entry in entries:
        original = os.path.join(tree, entry.name)
        if entry.is_dir(follow_symlinks=False):
            if not os.path.isdir(original):
                # The engine makes empty ones, to mount something else there.
                yield from [f"{prefix}{entry.name}/"] if any(names for *_where, names in os.walk(entry.path)) else []
            else:
                yield from _written(entry.path, original, f"{prefix}{entry.name}/")
        elif not os.path.lexists(original) or (
            is_store(entry.name) and entry.is_file() and not filecmp.cmp(entry.path, original, shallow=False)
        ):
            yield prefix + entry.name


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
        with open_folder(path, make=0o755):
            pass
    return True
