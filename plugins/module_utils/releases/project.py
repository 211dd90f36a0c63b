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
from collections.abc import Iterator, Mapping
from typing import Any

from ..base.secret_values import MARK
from ..engine.definition import LIVE, is_inside
from ..engine.kinds import kind_without_image
from ..engine.programs import PROXY

REVISION_LABEL = "org.opencontainers.image.revision"
PROJECT_LABEL = "evenkeel.project"
CONTENT_LABEL = "evenkeel.content"
#: In the mark: service → path in the container → path in the tree of what it mounts a copy of.
MOUNTS = "mounts"
#: Files that Compose reads beside the generated one by itself, which would change what it means.
OVERRIDES = tuple(f"{stem}.override.{end}" for stem in ("compose", "docker-compose") for end in ("yml", "yaml"))
#: Before the names of the user's files that lie in a release under another name, since Compose would read them by theirs.
ASIDE = ".evenkeel."
_HIDDEN = "<not shown>"

_COPY = re.compile(r"/mounts/[0-9a-f]{64}/")


class BadProject(Exception):
    """The project cannot be deployed from a release folder; the message says what to write instead."""


def _binds(project: Mapping[str, Any], root: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Each place that names a path in the tree which a container mounts: who, the mapping, its key."""
    for name, service in project.get("services", {}).items():
        for volume in service.get("volumes") or []:
            if volume.get("type") == "bind" and is_inside(str(volume.get("source")), root):
                yield name, volume, "source"
    for kind in ("configs", "secrets"):
        for name, definition in (project.get(kind) or {}).items():
            if is_inside(str(definition.get("file") or ""), root):
                yield f"{kind}.{name}", definition, "file"


def tree_mounts(
    project: Mapping[str, Any], root: str, live: Mapping[str, Mapping[str, str]] | None = None
) -> list[str]:
    """Mounted files and folders that lie in the release's tree, sorted, without those of :func:`live_mounts`.

    A release folder gets another name each time, so these are mounted from a copy whose path changes
    exactly when the content does.
    """
    mounted = ((who, str(holder[key])) for who, holder, key in _binds(project, root))
    return sorted({source for who, source in mounted if source not in (live or {}).get(who, {})})


def image_names(project: Mapping[str, Any], revision: str) -> dict[str, str]:
    """The image, tagged with the revision, of each service that is built or runs a built one by its name.

    Services with one recipe share one image.
    """
    name = str(project["name"])
    services = sorted(project.get("services", {}).items())
    by_recipe: dict[str, str] = {}
    by_name: dict[str, str] = {}
    result: dict[str, str] = {}
    for service_name, service in services:
        if not service.get("build"):
            continue
        given = str(service.get("image") or "")
        recipe = json.dumps([service["build"], given], sort_keys=True)
        repository = re.sub(r":[^:/]+$", "", given.partition("@")[0]) if given else f"{name}-{service_name}"
        result[service_name] = by_recipe.setdefault(recipe, f"{repository}:{revision[:12]}")
        if given:
            by_name[_tagged(given)] = result[service_name]
    for service_name, service in services:
        if not service.get("build") and _tagged(str(service.get("image"))) in by_name:
            result[service_name] = by_name[_tagged(str(service["image"]))]
    return result


def _tagged(image: str) -> str:
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"


def live_mounts(project: Mapping[str, Any], root: str, store: str) -> dict[str, dict[str, str]]:
    """What proxies mount out of the tree: service → path in the tree → the path under ``store`` that never changes.

    A proxy that mounted a copy by its content would have to be created anew for each change of its configuration.
    """
    found: dict[str, dict[str, str]] = {}
    for name, service in project.get("services", {}).items():
        for volume in service.get("volumes") or [] if kind_without_image(service) == PROXY else []:
            source = str(volume.get("source"))
            # A mount of the whole tree would let the proxy see what no release has meant for it.
            if volume.get("type") == "bind" and is_inside(source, root) and source != root:
                found.setdefault(name, {})[source] = f"{store}/{name}/{source[len(root) + 1 :]}"
    return found


def generate(
    project: Mapping[str, Any],
    root: str,
    revision: str,
    release: str,
    placed: Mapping[str, str],
    live: Mapping[str, Mapping[str, str]] | None = None,
    kept_images: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The project of a release.

    :param project: as Compose resolves the user's files.
    :param root: the release's folder.
    :param placed: for each of :func:`tree_mounts` the path of its content-addressed copy.
    :param live: see :func:`live_mounts`; those that are there.
    :param kept_images: for services whose image is that of another revision the name it has.
    :raises BadProject: a mounted path in the tree that is not part of the revision.
    """
    result: dict[str, Any] = json.loads(json.dumps(project))
    images = {**image_names(project, revision), **(kept_images or {})}
    for name, service in result.get("services", {}).items():
        # All that are in here are active; a plain `up` would leave out those that still name a profile.
        service.pop("profiles", None)
        if name in images:
            service["image"] = images[name]
            _free_of_its_name(service)
        if service.get("build"):
            build = service["build"]
            labels = build.get("labels") or {}
            build["labels"] = {**labels, REVISION_LABEL: revision, PROJECT_LABEL: str(project["name"])}
    marked: dict[str, dict[str, str]] = {}
    copied: dict[str, dict[str, str]] = {}
    for who, holder, key in list(_binds(result, root)):
        own = (live or {}).get(who, {}).get(holder[key])
        if own:
            marked.setdefault(who, {})[str(holder["target"])] = holder[key][len(root) + 1 :]
            holder[key] = own
            continue
        if holder[key] not in placed:
            raise BadProject(
                f"{who} mounts {holder[key][len(root) + 1 :] or '.'}, which is not in the revision: it is data, and each "
                f"release would start with an empty one; write its absolute path, or use a named volume"
            )
        if key == "source" and placed[holder[key]] != holder[key]:
            copied.setdefault(who, {})[str(holder["target"])] = holder[key][len(root) + 1 :]
        holder[key] = placed[holder[key]]
    for service in result.get("services", {}).values():
        _label_content(service, result, set(placed.values()))
    result[MARK] = {"release": release, "revision": revision, **({LIVE: marked} if marked else {}),
                    **({MOUNTS: copied} if copied else {})}  # fmt: skip
    return result


def _free_of_its_name(service: dict[str, Any]) -> None:
    """Let there be two of what a release replaces: a ``container_name`` allows only one, so it becomes an alias.

    nginx and the other containers go on reaching it by that name.  What publishes ports can only be one anyway.
    """
    if service.get("ports"):
        return
    name = service.pop("container_name", None)
    if name and not service.get("network_mode"):
        for network, attachment in (service.get("networks") or {"default": None}).items():
            aliases = [*((attachment or {}).get("aliases") or []), str(name)]
            service.setdefault("networks", {})[network] = {
                **(attachment or {}),
                "aliases": list(dict.fromkeys(aliases)),
            }


def _label_content(service: dict[str, Any], project: Mapping[str, Any], copies: set[str]) -> None:
    """Compose 2.26 hashes neither path nor content of a service's ``configs`` and ``secrets``: a label makes it do so."""
    used = [
        (project.get(kind) or {}).get(str(entry.get("source")), {}).get("file")
        for kind in ("configs", "secrets")
        for entry in service.get(kind) or []
    ]
    paths = [path for path in used if path in copies]
    if paths:
        service["labels"] = {**(service.get("labels") or {}), CONTENT_LABEL: " ".join(paths)}


def as_text(project: Mapping[str, Any]) -> str:
    """The project as the text of a Compose file (JSON is YAML, and needs no library on a target)."""
    return json.dumps(project, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def shown(text: str) -> str:
    """A Compose file's text for a diff: values of environment variables and build arguments are not shown."""
    try:
        project = json.loads(text)
    except ValueError:
        return ""
    for service in project.get("services", {}).values():
        for holder, key in ((service, "environment"), (service.get("build") or {}, "args")):
            if holder.get(key):
                holder[key] = dict.fromkeys(holder[key], _HIDDEN)
    for definition in (project.get("configs") or {}).values():
        if "content" in definition:
            definition["content"] = _HIDDEN
    return as_text(project)


def is_copy(source: str) -> bool:
    """Whether a mounted path is that of a copy which a release has of a file or folder of its tree."""
    return bool(_COPY.search(f"{source}/"))
