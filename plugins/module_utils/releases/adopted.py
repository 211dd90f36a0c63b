# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the first release of a stack that was started by hand has in its mark, and where it mounts files from."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from ..engine.kinds import kind_without_image

#: In the mark of a release: it stands for what was started by hand.
ADOPTED = "adopted"


def paths_in(project: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each mapping, and key in it, that names a path of this host."""
    for service in project.get("services", {}).values():
        yield from ((v, "source") for v in service.get("volumes") or [] if v.get("type") == "bind")
    for kind in ("configs", "secrets"):
        yield from ((d, "file") for d in (project.get(kind) or {}).values() if d.get("file"))


def moved(path: str, old: str, new: str) -> str:
    return f"{new}{path[len(old) :]}" if path == old or path.startswith(f"{old}/") else path


def beside(project: Mapping[str, Any], tree: str, folder: str) -> dict[str, Any]:
    """The project with what lies beside the release's folder (``../app_shared``) taken from beside the folder of before."""
    result: dict[str, Any] = json.loads(json.dumps(project))
    for holder, key in paths_in(result):
        path = str(holder[key])
        if path != tree and not path.startswith(f"{tree}/"):
            holder[key] = moved(path, posixpath.dirname(tree), posixpath.dirname(folder))
    return result


def binds_inside(project: Mapping[str, Any], folder: str) -> dict[str, list[tuple[str, bool]]]:
    """What containers mount out of the folder: relative path (``.`` is all of it) → the kind of each service, and whether it
    may write there."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for service in project.get("services", {}).values():
        for volume in service.get("volumes") or []:
            source = str(volume.get("source") or "")
            if volume.get("type") == "bind" and (source == folder or source.startswith(f"{folder}/")):
                user = (kind_without_image(service), not volume.get("read_only"))
                found.setdefault(source[len(folder) + 1 :] or ".", []).append(user)
    return found
