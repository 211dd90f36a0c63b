# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resolved definition of a Compose project: names that it gives on the engine, and where its build contexts are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

GENERATED = "compose.yaml"
#: What check mode says of a release whose images are not there yet.
UNKNOWN_UNTIL_BUILT = "which containers, images and configuration keys change: unknown until built"

#: In the mark: proxy → path in the container → path in the tree of what it mounts from a path of its own.
LIVE = "live"

#: What stands in a build context of the generated file after the release's folder. There is no such path, and the words are for
#: whoever lets Compose build all the same: its context would be the folder in which that file lies.
_NO_CONTEXT = "/.evenkeel/images-are-built-by-playbook-update"


def name_on_engine(project: Mapping[str, Any], section: str, key: str) -> str:
    """What the engine calls a volume or network of a resolved project (``section``: volumes, networks)."""
    definition = (project.get(section) or {}).get(key) or {}
    return str(definition.get("name") or f"{project.get('name')}_{key}")


def is_inside(path: str, root: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return path == root or path.startswith(f"{root}/")


def without_contexts(project: Mapping[str, Any], root: str) -> dict[str, Any]:
    """The project so that Compose builds nothing from a release's folder, whether it is told to or an image is missing."""
    return _contexts_moved(project, lambda c: f"{root}{_NO_CONTEXT}{c[len(root) :]}" if is_inside(c, root) else c)


def with_contexts(project: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`without_contexts` was given."""
    return _contexts_moved(project, lambda context: context.replace(_NO_CONTEXT, "", 1))


def _contexts_moved(project: Mapping[str, Any], move: Callable[[str], str]) -> dict[str, Any]:
    services = {}
    for name, service in (project.get("services") or {}).items():
        build = service.get("build") or {}
        moved = {"build": {**build, "context": move(str(build["context"]))}} if build.get("context") else {}
        services[name] = {**service, **moved}
    return {**project, "services": services}


def names_in(project: Mapping[str, Any], service: str, server: str) -> list[str]:
    """Every name by which a service of the project finds a server."""
    own = project["services"][server]
    names = [server, own.get("container_name"), own.get("hostname")]
    names += [a for net in (own.get("networks") or {}).values() for a in (net or {}).get("aliases") or []]
    for link in project["services"][service].get("links") or []:
        target, _colon, alias = str(link).partition(":")
        names += [alias] if target == server else []
    return list(dict.fromkeys(str(name) for name in names if name))
