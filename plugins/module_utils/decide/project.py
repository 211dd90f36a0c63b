# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated ``compose.yaml`` of a release: the user's project, resolved, with images and mounts pinned.

Everyone uses it, an admin's plain ``docker compose`` in ``current`` too, so that all compute the same
configuration hashes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

REVISION_LABEL = "org.opencontainers.image.revision"
PROJECT_LABEL = "evenkeel.project"
MARK = "x-evenkeel-release"


class BadProject(Exception):
    """The project cannot be deployed from a release folder; the message says what to write instead."""


def tree_mounts(project: Mapping[str, Any], root: str) -> list[str]:
    """Bind sources that lie in the release's tree, sorted.

    A release folder gets another name each time, so these are mounted from a copy whose path changes
    exactly when the content does.
    """
    sources = {
        str(volume.get("source"))
        for service in project.get("services", {}).values()
        for volume in service.get("volumes") or []
        if volume.get("type") == "bind"
    }
    inside = [s for s in sources if s == root or s.startswith(f"{root}/")]
    return sorted(inside)


def image_names(project: Mapping[str, Any], revision: str) -> dict[str, str]:
    """The image each built service runs, tagged with the revision; services with one recipe share one image."""
    name = str(project["name"])
    by_recipe: dict[str, str] = {}
    result: dict[str, str] = {}
    for service_name, service in sorted(project.get("services", {}).items()):
        if not service.get("build"):
            continue
        given = str(service.get("image") or "")
        recipe = json.dumps([service["build"], given], sort_keys=True)
        repository = re.sub(r":[^:/]+$", "", given.split("@")[0]) if given else f"{name}-{service_name}"
        result[service_name] = by_recipe.setdefault(recipe, f"{repository}:{revision[:12]}")
    return result


def generate(
    project: Mapping[str, Any], root: str, revision: str, release: str, placed: Mapping[str, str]
) -> dict[str, Any]:
    """The project of a release.

    :param project: as Compose resolves the user's files.
    :param root: the release's folder.
    :param placed: for each of :func:`tree_mounts` the path of its content-addressed copy.
    :raises BadProject: a bind source in the tree that is not part of the revision.
    """
    result: dict[str, Any] = json.loads(json.dumps(project))
    images = image_names(project, revision)
    for name, service in result.get("services", {}).items():
        if name in images:
            service["image"] = images[name]
            build = service["build"]
            labels = build.get("labels") or {}
            build["labels"] = {**labels, REVISION_LABEL: revision, PROJECT_LABEL: str(project["name"])}
        for volume in service.get("volumes") or []:
            source = str(volume.get("source") or "")
            if volume.get("type") != "bind" or not (source == root or source.startswith(f"{root}/")):
                continue
            if source not in placed:
                raise BadProject(
                    f"{name} mounts {source[len(root) + 1 :]}, which is not in the revision: it is data, and each release "
                    f"would start with an empty one; write its absolute path, or use a named volume"
                )
            volume["source"] = placed[source]
    result[MARK] = {"release": release, "revision": revision}
    return result


def as_text(project: Mapping[str, Any]) -> str:
    """The project as the text of a Compose file (JSON is YAML, and needs no library on a target)."""
    return json.dumps(project, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def masked(text: str) -> str:
    """A Compose file's text for a diff: values of environment variables and build arguments are not shown."""
    try:
        project = json.loads(text)
    except ValueError:
        return ""
    for service in project.get("services", {}).values():
        for holder, key in ((service, "environment"), (service.get("build") or {}, "args")):
            if holder.get(key):
                holder[key] = dict.fromkeys(holder[key], "<not shown>")
    return as_text(project)
