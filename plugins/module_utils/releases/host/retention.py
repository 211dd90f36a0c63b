# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking away what nobody needs any more: old releases, the mounted copies and the images that only they had.

Nothing of anybody else's, nothing that a container runs or mounts, and never a failure of what called it: what could not
be taken away is said.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Callable

from ...base.host.directory_handles import read_file
from ...base.host.files import read_json, sync_directory
from ...base.secret_values import MARK
from ...engine.definition import GENERATED
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.inspection import FILES_LABEL, FOLDER_LABEL
from .. import choice
from ..project import PROJECT_LABEL
from .store import Store

#: Gives what a single removal is done under.
Act = Callable[[str], AbstractContextManager[None]]
_REMOVING = ".removing-"
_OF_REVISION = re.compile(r":[0-9a-f]{12}$")
#: Where an engine listens, and where its program is beside the folders of PATH.
SOCKET, PROGRAMS = "/var/run/docker.sock", ("/usr/sbin", "/usr/bin", "/usr/local/bin", "/snap/bin")
_WHERE = (FOLDER_LABEL, FILES_LABEL)


@dataclass
class Cleared:
    """What went, and what could not."""

    releases: list[str] = field(default_factory=list)
    mounts: int = 0
    images: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Used:
    """What containers of this host use: paths, ids of images, releases of the app; ``engine`` None where none is needed."""

    engine: Engine | None = None
    paths: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    releases: frozenset[str] = frozenset()

    @classmethod
    def seen(cls, store: Store) -> Used:
        """Ask the engine, where any release of the app is for one, or this host has one that may have mounted them.

        :raises EngineFailed: it does not answer.
        """
        if not any(generated(store, r.id) for r in store.all()) and not has_engine():
            return cls()
        engine = Engine()
        containers = engine.containers({})
        paths = _paths_of(containers)
        images = frozenset(str(c.get("Image")) for c in containers)
        return cls(engine, frozenset(paths), images, frozenset(_releases_in(store, paths)))


def has_engine(at: str = SOCKET, programs: Sequence[str] = PROGRAMS) -> bool:
    """Whether there is a Docker engine on this host, be it down: its program, its socket, or the name of another one.

    A client alone is none.

    :param at: path of its socket.
    :param programs: folders that its program may be in, beside those of PATH.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), *programs))
    return bool(os.environ.get("DOCKER_HOST") or os.path.exists(at) or shutil.which("dockerd", path=path))


def clear(store: Store, keep: int, act: Act) -> Cleared:
    """Leave ``keep`` releases of an app, and what belongs to them.

    :param act: gives what each single removal is done under.
    """
    try:
        used = Used.seen(store)
    except EngineFailed as error:
        return Cleared(notes=[f"no old release was taken away, since what containers use cannot be seen: {error}"])
    return remove(store, choice.surplus(store.all(), keep, store.current(), used.releases), used, act)


def remove(store: Store, gone: Sequence[str], used: Used, act: Act) -> Cleared:
    """Take releases away, and what only they had."""
    cleared = Cleared()
    names = {n for release in gone for n in _images_of(store, release)}
    for release in gone:
        with _noted(cleared, f"release {release}"):
            _remove_release(store, release, act)
        if not os.path.exists(store.path_of(release)):
            cleared.releases.append(release)
    _sweep(store, cleared)
    cleared.mounts = _clear_mounts(store, used.paths, cleared, act)
    # A hotfix goes on using images that were built for the release below it.
    left = {
        str(s.get("image") or "") for r in store.all() for s in (generated(store, r.id).get("services") or {}).values()
    }
    for name in sorted(names - left):
        with _noted(cleared, f"image {name}"):
            image = str(used.engine.image(name).get("Id") or "") if used.engine else ""
            if used.engine and image and image not in used.images:
                used.engine.untag(name)
                cleared.images.append(name)
    for project in sorted(_projects_of(store)) if used.engine else ():
        _clear_nameless(used, project, cleared)
    return cleared


def _projects_of(store: Store) -> set[str]:
    projects = (read_json(os.path.join(store.path_of(r.id), GENERATED)).get("name") for r in store.all())
    return {str(name) for name in projects if name}


def _clear_nameless(used: Used, project: str, cleared: Cleared) -> None:
    """Images of ours that a rebuild under the same name has left without one."""
    engine = used.engine
    if engine is None:
        return
    with _noted(cleared, "images without a name"):
        for image in engine.nameless_images(f"{PROJECT_LABEL}={project}"):
            if image not in used.images:
                with _noted(cleared, f"image {image[7:19]}"):
                    engine.untag(image)
                    cleared.images.append(image)


@contextmanager
def _noted(cleared: Cleared, what: str) -> Iterator[None]:
    """Note what could not be taken away, and go on."""
    try:
        yield
    except (OSError, EngineFailed) as error:
        cleared.notes.append(f"{what} could not be taken away: {error}")


def _paths_of(containers: Iterable[Mapping[str, Any]]) -> set[str]:
    """Every path of this host that a container mounts or was created from."""
    found = {str(m.get("Source") or "") for c in containers for m in c.get("Mounts") or []}
    for container in containers:
        labels = (container.get("Config") or {}).get("Labels") or {}
        found |= {path for label in _WHERE for path in str(labels.get(label) or "").split(",")}
    return found - {""}


def _releases_in(store: Store, paths: Iterable[str]) -> set[str]:
    inside = f"{os.path.realpath(store.folder)}/"
    real = (os.path.realpath(path) for path in paths)
    return {path[len(inside) :].split("/")[0] for path in real if path.startswith(inside)}


def generated(store: Store, release: str) -> dict[str, Any]:
    """A release's generated project, empty where it has none; a plain app may have a ``compose.yaml`` of its own."""
    project = read_json(os.path.join(store.path_of(release), GENERATED))
    return project if MARK in project else {}


def _images_of(store: Store, release: str) -> set[str]:
    """The images that were built for a release, or for an earlier one from the same files: named with a revision."""
    revision = str(store.manifest(release).get("revision") or "")
    services = [s for s in (generated(store, release).get("services") or {}).values() if isinstance(s, dict)]
    built = {str(s.get("image") or "") for s in services if s.get("build")}
    names = {str(s.get("image") or "") for s in services}
    return {n for n in names if revision and n.endswith(f":{revision[:12]}")} | {
        n for n in built if _OF_REVISION.search(n)
    }


def _remove_release(store: Store, release: str, act: Act) -> None:
    aside = os.path.join(store.folder, f"{_REMOVING}{release}")
    with act(f"take away release {release}"):
        # Gone as a whole at once; what is killed here is swept by the next run.
        os.rename(store.path_of(release), aside)
        sync_directory(store.folder)
        shutil.rmtree(aside)


def _sweep(store: Store, cleared: Cleared) -> None:
    for name in os.listdir(store.folder) if os.path.isdir(store.folder) else ():
        if name.startswith(_REMOVING):
            with _noted(cleared, name):
                shutil.rmtree(os.path.join(store.folder, name))


def _clear_mounts(store: Store, used: Iterable[str], cleared: Cleared, act: Act) -> int:
    """Copies of mounted files that no release and no container has any more; returns how many went."""
    folder = store.layout.mounts
    there = [n for n in os.listdir(folder) if re.fullmatch("[0-9a-f]{64}", n)] if os.path.isdir(folder) else []
    wanted = {name for name in there for path in used if f"/{name}/" in f"{path}/"}
    for release in store.all() if there else ():
        try:
            text = read_file(os.path.join(store.path_of(release.id), GENERATED)).decode("utf-8", "replace")
        except FileNotFoundError:
            continue
        wanted |= {name for name in there if name in text}
    count = 0
    for name in sorted(set(there) - wanted):
        with act(f"take away the mounted copy {name[:12]}"), _noted(cleared, f"mounts/{name[:12]}"):
            shutil.rmtree(os.path.join(folder, name))
        count += not os.path.exists(os.path.join(folder, name))
    return count
