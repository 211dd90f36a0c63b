# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a stack that somebody started by hand can be taken over as it is, and what its first release says.

Containers that run are left alone, so the release says exactly what they were started from: same definition, same paths,
same hashes.  Only when a later release has taken their place is it written anew, as releases are.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..base.secret_values import MARK
from ..engine.definition import LIVE
from ..engine.kinds import kind_without_image
from ..engine.programs import PROXY
from ..releases.adopted import ADOPTED, moved, paths_in
from ..releases.mounted_content import DATA, MIXED, content_of, named


class CannotAdopt(Exception):
    """What runs cannot be taken over; ``advice`` is what to do about it."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.advice = advice


@dataclass(frozen=True)
class Started:
    """A container of a Compose project, and what Compose has noted of how it was started.

    :ivar folder: the project's folder then; ``files`` its Compose files, ``env_files`` what ``--env-file`` named.
    :ivar compose: the version of Compose that made it.
    """

    project: str
    service: str
    name: str
    config_hash: str
    image: str
    running: bool
    folder: str
    files: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    compose: str = ""


@dataclass(frozen=True)
class Origin:
    """Where a stack was started."""

    folder: str
    files: tuple[str, ...]
    env_files: tuple[str, ...]


def origin_of(project: str, folder: str, containers: Sequence[Started]) -> Origin:
    """From where a project runs.

    :param folder: the one that is meant, empty for the only one.
    :param containers: all of this host that Compose has made.
    :raises CannotAdopt: it does not run, or from several folders.
    """
    running = [c for c in containers if c.running]
    mine = [c for c in running if c.project == project]
    if not mine:
        others = sorted({f"{c.project} (from {c.folder})" for c in running if not folder or c.folder == folder})
        raise CannotAdopt(
            f"no container of a Compose project {project} runs on this host; there run: {', '.join(others) or 'none'}",
            "set app_name to the name of the project that is meant, or start it as you always do",
        )
    found = sorted({Origin(c.folder, c.files, c.env_files) for c in mine}, key=lambda o: (o.folder, o.files))
    meant = [o for o in found if not folder or o.folder == folder]
    if not meant:
        raise CannotAdopt(
            f"{project} was not started from {folder}, but from {' and '.join(dict.fromkeys(o.folder for o in found))}",
            "name that folder as adopt_folder, or leave it out",
        )
    if len(meant) > 1:
        lines = [
            f"{', '.join(sorted(c.service for c in mine if Origin(c.folder, c.files, c.env_files) == o))} from "
            f"{' + '.join(o.files) or o.folder}"
            for o in found
        ]
        raise CannotAdopt(
            f"{project} was started in several ways: {'; '.join(lines)}",
            "bring all of it up from one folder with the same files, then run this again; or name one as adopt_folder",
        )
    if not meant[0].files or not meant[0].folder.startswith("/"):
        raise CannotAdopt(
            f"the containers of {project} do not say which Compose files they were made from",
            "start them with Compose v2",
        )
    return meant[0]


def problem_with_places(root: str, folder: str) -> str:
    """Why an app's folder of releases cannot be where it is to be, beside the folder that runs; empty where it can.

    :param root: ``app_root``; both without links.
    """
    if root == folder:
        return f"{folder} is the folder that runs, and releases would be written into it"
    if root.startswith(f"{folder}/"):
        return f"app_root {root} lies in the folder that runs, {folder}, and would become part of its own release"
    if folder.startswith(f"{root}/releases/"):
        return f"{folder} is a release already"
    return ""


def differing(containers: Sequence[Started], hashes: Mapping[str, str]) -> list[str]:
    """The services that do not run as the folder says now, each with why.

    :param hashes: service → configuration hash of what the folder says.
    """
    found = []
    for container in (c for c in containers if c.running):
        if container.service not in hashes:
            found.append(f"{container.service} (is not in these files; of a profile?)")
        elif container.config_hash != hashes[container.service]:
            found.append(container.service)
    return sorted(set(found))


def _builds(project: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for service in project.get("services", {}).values():
        if service.get("build"):
            yield from ((service["build"], key) for key in ("context", "dockerfile") if service["build"].get(key))


def in_tree(project: Mapping[str, Any], folder: str, tree: str) -> dict[str, Any]:
    """The project as if it had been started from the release's tree."""
    result: dict[str, Any] = json.loads(json.dumps(project))
    for holder, key in [*paths_in(result), *_builds(result)]:
        holder[key] = moved(str(holder[key]), folder, tree)
    return result


def as_found(
    project: Mapping[str, Any], folder: str, tree: str, revision: str, places: Mapping[str, str]
) -> dict[str, Any]:
    """The project of a release that stands for what was started by hand: what runs has the very same hashes.

    No name, image or mount is touched.  Where images would be built from makes no difference to a container.

    :param places: see :func:`places_of`; what nginx mounts of it can be brought back from the tree.
    """
    result: dict[str, Any] = json.loads(json.dumps(project))
    for service in result.get("services", {}).values():
        service.pop("profiles", None)
    for holder, key in _builds(result):
        holder[key] = moved(str(holder[key]), folder, tree)
    live: dict[str, dict[str, str]] = {}
    for name, service in result.get("services", {}).items():
        for volume in service.get("volumes") or [] if kind_without_image(service) == PROXY else []:
            inside = posixpath.relpath(str(volume.get("source") or "/"), folder)
            if volume.get("type") == "bind" and places.get(inside) == volume["source"]:
                live.setdefault(name, {})[str(volume["target"])] = inside
    result[MARK] = {
        "release": posixpath.basename(tree),
        "revision": revision,
        ADOPTED: folder,
        **({LIVE: live} if live else {}),
    }
    return result


def data_in(
    binds: Mapping[str, Sequence[tuple[str, bool]]],
    contents: Mapping[str, tuple[Collection[str], Sequence[str]]] | None,
    code: Collection[str],
) -> list[str]:
    """Which of these mounts are the server's own data, and no part of a version.

    :param contents: mount → the files below it that git has, and those that only the server has; None without git.
    :param code: those that hold source code; without git that is all there is to tell by.
    :raises CannotAdopt: one has both.
    """
    found = []
    for path, users in binds.items():
        known, own = (["code"] if path in code else [], []) if contents is None else contents[path]
        content = content_of(users, known, own)
        if content == MIXED or (content == DATA and path == "."):
            raise CannotAdopt(
                f"./{path.removeprefix('.')} is mounted where containers may write to it, with both the code of a version and what "
                f"only this server has ({named(own)}): a release would bring the code without it",
                "move what is data to a folder of its own and mount that (- ./media:/app/media beside the mount of the code), or "
                "out of there what is none; start it so as you always do, and run the same command again",
            )
        if content == DATA:
            found.append(path)
    return sorted(found)


def places_of(binds: Mapping[str, Sequence[tuple[str, bool]]], data: Collection[str], folder: str) -> dict[str, str]:
    """What stays where it is for all releases to come: data, and what proxies mount, by relative path.

    A proxy or database that found it elsewhere would have to be created anew.
    """
    stays = {p for p, users in binds.items() if p in data or any(kind == PROXY for kind, _writes in users)}
    return {path: posixpath.join(folder, path) for path in sorted(stays - {"."})}


def moved_names(containers: Sequence[Started], ids: Mapping[str, str]) -> list[str]:
    """Services that run an image which its name does not mean any more.

    :param ids: service → id of the image that its name means, empty where there is none.
    """
    return sorted({c.service for c in containers if c.running and c.image != ids.get(c.service)})
