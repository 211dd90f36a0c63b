# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is data although a version has files of it: users have written into a folder that git keeps a few pictures in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ...base import secret_values
from ...base.errors import BadInput
from ...base.host.files import read_json
from ...engine import definition
from .. import project as generated
from ..adopted import ADOPTED, binds_inside
from ..layout import release_in
from ..mounted_content import DATA, MIXED, VERSION, content_of, named
from ..project import is_copy
from .data_mounts import is_data, own_of


def kept_data(project: Mapping[str, Any], root: str, taken_over: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Mounts of a release that have to stay where those of the one that serves are, and a note for each that was found.

    :param project: as Compose resolves the files of the release in ``root``.
    :param taken_over: what is remembered of an adoption.
    :returns: relative path → the path that is mounted.
    :raises BadInput: the version's code and data lie in one folder.
    """
    places = taken_over.get("places") or {}
    kept = {str(p): str(places[p]) for p in taken_over.get("data") or [] if p in places}
    notes = []
    binds = binds_inside(project, root)
    current, served = _served(root)
    for inside, source in sorted(served.items()):
        real = os.path.realpath(os.path.join(root, inside))
        nothing = is_data(real, os.path.realpath(root))
        if inside in kept or inside not in binds or (nothing and not is_copy(source)):
            continue
        own = own_of(source, os.path.join(current, inside))
        content = content_of(binds[inside], [] if nothing else _files(real), own) if own else VERSION
        what = f"./{inside.removeprefix('.')} has what no version has, written by containers ({named(own)})"
        if content == MIXED or (content == DATA and inside == "."):
            raise BadInput(
                f"{what}, beside the code of a version: the new one would come without it",
                f"mount a folder of its own there for what is data (such as ./media:/app/media), and copy it from {source} to that "
                f"folder under shared/ beside releases/; then run the same command again. What is no data, remove from {source}",
            )
        if content == DATA:
            kept[inside] = source
            notes.append(f"{what}: it is data, and stays in {source} for the releases to come")
    return kept, notes


def _served(root: str) -> tuple[str, dict[str, str]]:
    """The tree of the release that serves, and what its containers mount from it: relative path → the path of this host."""
    found_in = release_in(root)
    if not found_in or not os.path.islink(found_in[0].link()):
        return "", {}
    current = os.path.realpath(found_in[0].link())
    project = read_json(os.path.join(current, definition.GENERATED))
    mark = project.get(secret_values.MARK) or {}
    folder = str(mark.get(ADOPTED) or "")
    found = {}
    for name, service in (project.get("services") or {}).items():
        copied = mark.get(generated.MOUNTS, {}).get(name, {})
        for volume in service.get("volumes") or [] if folder or copied else []:
            source = str(volume.get("source") or "")
            inside = copied.get(str(volume.get("target")))
            if folder and (source == folder or source.startswith(f"{folder}/")):
                inside = os.path.relpath(source, folder)
            if inside and volume.get("type") == "bind":
                found[str(inside)] = source
    return current, found


def _files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [""]
    return [os.path.relpath(os.path.join(parent, n), path) for parent, _folders, names in os.walk(path) for n in names]
