# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of a stack that somebody started by hand, before anything of it is taken over.  Touches nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.host.directory_handles import read_file
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.inspection import HASH_LABEL, ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of, pid_of
from ...engine.host.project import connect, image_name
from ...releases import adopted
from ...releases.host.store import Store
from .. import adoption
from ..adoption import CannotAdopt, Origin, Started
from ..callers import Caller
from . import callers
from .snapshot import Snapshot, contents, look

_PREFIX = "com.docker.compose."
_CODE = (".py", ".js", ".ts", ".php", ".rb", ".html")


@dataclass(frozen=True)
class View:
    """A stack that can be taken over.

    :ivar images: service → ids of the images that its containers have, those that run first.
    :ivar env_source: the server's own environment file, empty where there is none.
    :ivar data: relative paths of mounts that are no part of a version.
    :ivar callers: commands of this server that would start it from the folder again.
    """

    engine: Engine
    origin: Origin
    project: dict[str, Any]
    hashes: dict[str, str]
    containers: list[dict[str, Any]]
    images: dict[str, list[str]]
    env_source: str
    data: tuple[str, ...]
    places: dict[str, str]
    tree: Snapshot
    notes: list[str] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)


def started(inspection: Mapping[str, Any]) -> Started:
    """A container as :mod:`adopt.adoption` wants to know it."""

    def listed(name: str) -> tuple[str, ...]:
        return tuple(p for p in label_of(inspection, f"{_PREFIX}project.{name}").split(",") if p)

    return Started(
        project=label_of(inspection, PROJECT_LABEL),
        service=label_of(inspection, SERVICE_LABEL),
        name=str(inspection.get("Name") or "").lstrip("/"),
        config_hash=label_of(inspection, HASH_LABEL),
        image=str(inspection.get("Image") or ""),
        running=pid_of(inspection) is not None,
        folder=label_of(inspection, f"{_PREFIX}project.working_dir"),
        files=listed("config_files"),
        env_files=listed("environment_file"),
        compose=label_of(inspection, f"{_PREFIX}version"),
    )


def see(store: Store, name: str, folder: str, files: Sequence[str], env_file: str) -> View:
    """Look at what runs, and whether it can be taken over.

    :param name: the Compose project's; ``folder`` is that from which it was started, empty where only one is possible.
    :param files: the Compose files that it has to have been started with; whichever where none is named.
    :param env_file: the server's own environment file, relative to the folder; empty for none.
    :raises BadInput: it cannot; nothing was touched.
    """
    engine = connect("/")
    inspections = engine.containers({ONE_OFF_LABEL: "False"})
    try:
        origin = adoption.origin_of(name, folder.rstrip("/"), [started(i) for i in inspections])
    except CannotAdopt as error:
        raise BadInput(str(error), error.advice) from error
    mine = [i for i in inspections if label_of(i, PROJECT_LABEL) == name]
    folder = _checked(origin, store, files)
    project, hashes = _resolved(origin, name, [started(i) for i in mine])
    images: dict[str, list[str]] = {}
    for seen in sorted((started(i) for i in mine), key=lambda c: not c.running):
        ids = images.setdefault(seen.service, [])
        ids += [seen.image] if seen.image not in ids else []
    env_source = _environment(origin, env_file, store)
    binds = adopted.binds_inside(project, folder)
    apart = [env_file or ".env", ".git"]
    try:
        found = contents(folder, binds, apart)
        # Only without git there is no better way to tell, and it means to walk through all of it.
        code = [p for p in binds if _holds_code(os.path.join(folder, p))] if found is None else []
        data = adoption.data_in(binds, found, code)
    except CannotAdopt as error:
        raise BadInput(str(error), error.advice) from error
    left_out = [*data, *apart]
    tree = look(folder, left_out)
    places = adoption.places_of(binds, data, folder)
    notes = _notes(engine, project, [started(i) for i in mine], images) + _parted(mine, places)
    called_by, unread = callers.find(name, folder, origin.files, tree.paths)
    if unread:
        notes.append(f"whether these call docker compose in {folder} cannot be seen: {', '.join(unread)}")
    return View(engine, origin, project, hashes, mine, images, env_source, tuple(data), places, tree, notes, called_by)


def _checked(origin: Origin, store: Store, files: Sequence[str]) -> str:
    """The folder that runs.

    :raises BadInput: it is not there, or app_root cannot be beside it.
    """
    folder = origin.folder.rstrip("/")
    for path in (folder, *origin.files, *origin.env_files):
        if not os.path.exists(path):
            raise BadInput(
                f"{path}, from which it was started, is not there any more", "put it back as it was when it was started"
            )
    problem = adoption.problem_with_places(os.path.realpath(store.root), os.path.realpath(folder))
    if problem:
        raise BadInput(problem, "choose another app_root, such as /srv/<app_name>")
    used = [os.path.relpath(f, folder) for f in origin.files]
    if files and [os.path.normpath(f) for f in files] != used:
        raise BadInput(
            f"it runs from {', '.join(used)}, but app_compose_files says {', '.join(files)}",
            f"set app_compose_files: [{', '.join(used)}]",
        )
    return folder


def _resolved(origin: Origin, name: str, mine: Sequence[Started]) -> tuple[dict[str, Any], dict[str, str]]:
    """What the folder says now.

    :raises BadInput: it says something else than runs.
    """
    running = {c.service for c in mine if c.running}
    compose = Compose(origin.folder, origin.files, origin.env_files, (), name)
    try:
        project = compose.resolved()
        if not running <= set(project.get("services", {})):
            # What was started by a profile, without those that were not.
            whole = Compose(origin.folder, origin.files, origin.env_files, ("*",), name).resolved()
            services = project.get("services", {})
            whole["services"] = {n: s for n, s in whole["services"].items() if n in services or n in running}
            project = whole
            for service in project["services"].values():
                service.pop("profiles", None)
        hashes = compose.hashes(project)
    except ComposeFailed as error:
        raise BadInput(
            f"the Compose project in {origin.folder} is not valid: {error}",
            f"docker compose --project-directory {origin.folder} config shows it",
        ) from error
    differing = adoption.differing(mine, hashes)
    if differing:
        made_by, now = sorted({c.compose for c in mine if c.running and c.compose}), compose.version()
        # A label has Compose's own number, a distribution's program its package's: 2.26.1 and 2.26.1-4.
        other = [v for v in made_by if re.split("[-+~]", v)[0] != re.split("[-+~]", now)[0]]
        raise BadInput(
            f"what {origin.folder} says is not what runs: {', '.join(differing)}"
            + (
                f" (they were made by Compose {', '.join(other)}, this is {now}: that alone may be why)"
                if other
                else ""
            ),
            "put the Compose files and the environment back as they were when these were started, or start these anew as you "
            "always do; docker compose up --dry-run in that folder shows the same",
        )
    return project, hashes


def _environment(origin: Origin, env_file: str, store: Store) -> str:
    """The server's own environment file.

    :raises BadInput: there are several, or ``shared/`` has another one already.
    """
    if len(origin.env_files) > 1:
        raise BadInput(
            f"it was started with several environment files: {', '.join(origin.env_files)}",
            "make one of them, and start it so",
        )
    source = origin.env_files[0] if origin.env_files else os.path.join(origin.folder, env_file or ".env")
    if not env_file or not os.path.isfile(source):
        return ""
    target = store.layout.shared_path(env_file)
    if os.path.exists(target) and _bytes(target) != _bytes(source):
        raise BadInput(f"{target} is there already, and is not what runs: {source} is", f"move {target} away")
    return source


def _bytes(path: str) -> bytes:
    return read_file(path)


def _holds_code(path: str) -> bool:
    """Whether a mounted file or folder is the app's own code or configuration; without git there is nothing better to tell by."""
    if not os.path.isdir(path):
        return True
    for _folder, folders, names in os.walk(path):
        if any(n.endswith(_CODE) for n in names):
            return True
        folders[:] = [f for f in folders if not f.startswith(".")]
    return False


def _notes(
    engine: Engine, project: Mapping[str, Any], mine: Sequence[Started], images: Mapping[str, Sequence[str]]
) -> list[str]:
    services = project.get("services", {})
    ids = {n: str(engine.image(image_name(project, n)).get("Id") or "") for n in images if n in services}
    notes = [
        f"{n}: runs an image that {image_name(project, n)} does not mean any more (it was built or pulled since)"
        for n in adoption.moved_names(mine, ids)
    ]
    return notes + [
        f"{n}: does not run, and is left so" for n in sorted(set(services) - {c.service for c in mine if c.running})
    ]


def _parted(mine: Sequence[Mapping[str, Any]], places: Mapping[str, str]) -> list[str]:
    """Files that a container sees otherwise than this host does, since they were replaced by a rename, as git does it."""
    notes = []
    for inspection in mine:
        pid = pid_of(inspection)
        for mount in inspection.get("Mounts") or [] if pid else []:
            source = str(mount.get("Source") or "")
            if source not in places.values() or not os.path.isfile(source):
                continue
            try:
                inside = os.stat(f"/proc/{pid}/root{mount['Destination']}")
            except OSError:
                continue
            if inside.st_ino != os.stat(source).st_ino:
                notes.append(
                    f"{label_of(inspection, SERVICE_LABEL)}: sees {source} as it was before somebody replaced it; the next update "
                    f"refuses to change it until that container was restarted"
                )
    return notes
