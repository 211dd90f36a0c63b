# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve the user's Compose files into the ``compose.yaml`` of a release."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...base import secret_values
from ...base.errors import BadInput
from ...base.host.directory_handles import open_folder, read_file
from ...base.host.files import read_json, write_private
from ...base.secret_values import assignments
from ...engine import definition
from ...engine import kinds as engine_kinds
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.inspection import (
    FILES_LABEL,
    FOLDER_LABEL,
    ONE_OFF_LABEL,
    PROJECT_LABEL,
    SERVICE_LABEL,
    label_of,
    pid_of,
)
from ...engine.host.project import TOOLS_FIT, compose_of, connect, state_dir_of
from ...engine.jobs import jobs_of, set_apart
from ...engine.options import ProjectOptions
from ...nginx.host.proxy_files import place_first
from ...operation.host.journal import Fence, working
from ...operation.options import LockOptions
from .. import project as generated
from ..adopted import beside
from ..layout import release_in
from ..standing import keep_as_created
from . import adopted, unchanged_images
from .data_mounts import is_data, make_room_for_data
from .kept_data import kept_data
from .mounts import copy_path, place


@dataclass(frozen=True)
class Request:
    """Of which Compose files a release's own is made, and how.

    :ivar project: the user's files, in the folder of the release.
    :ivar revision: the commit whose tree the release has; it names the images that are built.
    :ivar mounts_dir: where copies of what is mounted out of the tree are, each under its content's SHA-256.
    :ivar regenerate: whether it is made at all; what was generated before is only told otherwise.
    :ivar live_dir: where proxies find their files at paths that never change; nowhere where it is not given.
    :ivar data_dir: where data is kept that a mount in the tree is for; such a mount stays as it is where it is not given.
    :ivar serving_src: the release that serves, whose jobs and untouched services are kept; this one where it is not given.
    :ivar reuse_images: keep an image of the serving release whose files are the same in this revision.
    :ivar kept_images: service → the image it has already, for those whose image is that of another revision.
    """

    project: ProjectOptions
    lock: LockOptions
    revision: str
    mounts_dir: str
    service_options: Mapping[str, Any] = field(default_factory=dict)
    regenerate: bool = True
    live_dir: str = ""
    data_dir: str = ""
    serving_src: str = ""
    reuse_images: bool = False
    kept_images: Mapping[str, str] = field(default_factory=dict)


def _read(path: str) -> str:
    try:
        return read_file(path).decode()
    except OSError:
        return ""


def _sources(options: ProjectOptions) -> Compose:
    """The user's files, those under another name that :func:`put_aside` has given it."""
    files = [os.path.normpath(str(path)) for path in options.files]
    if not files:
        raise BadInput("files: the project's own Compose files are needed", "set app_compose_files")
    root = options.project_src
    files = [generated.ASIDE + f if os.path.isfile(os.path.join(root, generated.ASIDE + f)) else f for f in files]
    return compose_of(replace(options, files=tuple(files)))


def put_aside(root: str) -> None:
    """Give another name to the user's files that Compose would read instead of, or beside, the generated one."""
    text = _read(os.path.join(root, definition.GENERATED))
    if text and secret_values.MARK not in text:
        write_private(os.path.join(root, generated.ASIDE + definition.GENERATED), text)
    with open_folder(root) as folder:
        for name in generated.OVERRIDES:
            with contextlib.suppress(FileNotFoundError):
                os.rename(name, generated.ASIDE + name, src_dir_fd=folder, dst_dir_fd=folder)


def _refuse_other_meaning(compose: Compose, project_name: str) -> None:
    """Variables by which a plain ``docker compose`` beside the generated file would read or mean something else."""
    texts = [_read(os.path.join(compose.project_src, path)) for path in compose.env_files or (".env",)]
    for name, value in [variable for text in texts for variable in assignments(text)]:
        if name == "COMPOSE_FILE" or (name == "COMPOSE_PROJECT_NAME" and value != project_name):
            raise BadInput(
                f"the environment file sets {name}, so that a plain docker compose in the release would not mean what is "
                f"deployed",
                f"remove {name} from it; app_compose_files and app_name say the same here",
            )


def place_all(
    project: Mapping[str, Any],
    root: str,
    mounts_dir: str,
    data_dir: str,
    live: Mapping[str, Mapping[str, str]],
    stays: Mapping[str, str],
    check_mode: bool,
    kept: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], bool]:
    """For each mount in the tree what is mounted instead, and whether a copy had to be made.

    :param mounts_dir: where copies are put; ``data_dir``: where data is put, nowhere where it is empty.
    :param stays: relative path → where the data of it lies, for what was taken over.
    :param kept: the same for what the version has files of, and which is data all the same.
    """
    placed, fresh, tree = {}, False, os.path.realpath(root)
    for source in generated.tree_mounts(project, root, live):
        real = os.path.realpath(source)
        inside = os.path.relpath(source, root)
        if inside in (kept or {}) or (inside in stays and is_data(real, tree)):
            placed[source] = {**stays, **(kept or {})}[inside]
            continue
        if data_dir and is_data(real, tree):
            placed[source] = os.path.join(data_dir, inside)
            fresh = make_room_for_data(placed[source], inside, check_mode) or fresh
            continue
        if not os.path.exists(real):
            continue
        if real != tree and not real.startswith(f"{tree}/"):
            # A link into shared/: the server's own file, which has one path for ever.
            placed[source] = real
        elif check_mode:
            placed[source] = copy_path(real, mounts_dir, tree)
        else:
            placed[source], made = place(real, mounts_dir, tree)
            fresh = fresh or made
    return placed, fresh


def resolve(request: Request, check_mode: bool) -> dict[str, Any]:
    """Make the ``compose.yaml`` of a release.

    :raises BadInput: the project is not valid, or could not live in a release folder.
    """
    if not request.regenerate:
        return _as_it_is(request.project.project_src)
    read = read_sources(request.project)
    name = str(read[1]["name"])
    _refuse_started_by_hand(request.project.project_src, name, read[1].get("services") or {})
    if check_mode:
        result = _generate(request, *read, True)
        return {**result, "msg": definition.UNKNOWN_UNTIL_BUILT if result["changed"] else ""}
    with working(request.lock, state_dir_of(request.lock, name), f"compose_project of {name}") as fence:
        fence.note(**{TOOLS_FIT: True})
        return fence.reported(write_generated(request, read, fence))


def _refuse_started_by_hand(release: str, name: str, services: Collection[str]) -> None:
    """Refuse a first release where its services are there already and no release made them: they hold names, ports, data.

    :raises BadInput: they are.
    """
    found = release_in(release)
    if not found or os.path.lexists(found[0].link()):
        return
    folder = found[0].releases
    mine = {
        label_of(i, SERVICE_LABEL): i
        for i in connect(release).containers({PROJECT_LABEL: name, ONE_OFF_LABEL: "False"})
        if label_of(i, SERVICE_LABEL) in services and f"{folder}/" not in label_of(i, FILES_LABEL)
    }
    if mine:
        runs = "runs" if any(map(pid_of, mine.values())) else "is there, stopped,"
        where = label_of(next(iter(mine.values())), FOLDER_LABEL) or "an unknown folder"
        raise BadInput(
            f"{name} {runs} already, started by hand from {where}: {', '.join(sorted(mine))}",
            "ansible-playbook evenkeel.deploy.adopt takes it over as it runs (start it first if it is stopped); then run the "
            "same command again",
        )


#: The project's own files, and what Compose makes of them.
Read = tuple[Compose, dict[str, Any]]


def read_sources(options: ProjectOptions) -> Read:
    """Have Compose read the user's files.

    :raises BadInput: the project is not valid.
    """
    compose = _sources(options)
    connect(compose.project_src)
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise BadInput(
            f"the Compose project of this revision is not valid: {error}",
            f"docker compose --project-directory {compose.project_src} config shows it",
        ) from error
    _refuse_other_meaning(compose, str(project["name"]))
    return compose, project


def write_generated(request: Request, read: Read, fence: Fence) -> dict[str, Any]:
    """Generate the file of a release, for a caller that has the lock.

    :raises BadInput: the project could not live in a release folder.
    """
    with fence.act(f"write {os.path.join(read[0].project_src, definition.GENERATED)}"):
        return _generate(request, *read, False)


def _as_it_is(root: str) -> dict[str, Any]:
    """What was generated before, with the environment of that time.

    :raises BadInput: nothing was.
    """
    path = os.path.join(root, definition.GENERATED)
    result = read_json(path)
    if secret_values.MARK not in result:
        raise BadInput(f"{path} was not generated by this module", "update to that revision instead")
    return {**_facts(result, path), "changed": False, "notes": [], "diff": {"before": "", "after": ""}}


def _facts(result: Mapping[str, Any], path: str) -> dict[str, Any]:
    services = result.get("services", {})
    return {
        "path": path,
        "project_name": result["name"],
        "services": sorted(services),
        "jobs": jobs_of(result),
        "live": sorted(result[secret_values.MARK].get(definition.LIVE, {})),
        "images": {n: s["image"] for n, s in services.items() if s.get("build")},
    }


def live_of(
    project: Mapping[str, Any], root: str, store: str, stays: Mapping[str, str], kept: Collection[str] = ()
) -> dict[str, dict[str, str]]:
    """What proxies mount out of the tree from a path of its own; a link leads to the server's own file already.

    :param kept: relative paths of data, which no release brings files to.
    """
    tree = os.path.realpath(root)
    found = generated.live_mounts(project, root, store) if store else {}
    return {
        name: {
            s: stays.get(os.path.relpath(s, root), t)
            for s, t in paths.items()
            if os.path.realpath(s).startswith(f"{tree}/")
            and not is_data(s, root)
            and os.path.relpath(s, root) not in kept
        }
        for name, paths in found.items()
    }


def _generate(
    request: Request,
    compose: Compose,
    project: Mapping[str, Any],
    check_mode: bool,
) -> dict[str, Any]:
    root = compose.project_src
    if not check_mode:
        put_aside(root)
    taken_over = adopted.record(state_dir_of(request.lock, str(project["name"])))
    stays = {str(k): str(v) for k, v in (taken_over.get("places") or {}).items()}
    if taken_over:
        project = beside(project, root, str(taken_over["folder"]))
    data, data_notes = kept_data(project, root, taken_over)
    live = live_of(project, root, request.live_dir, stays, data)
    placed, fresh = place_all(project, root, request.mounts_dir, request.data_dir, live, stays, check_mode, data)
    if not check_mode:
        fresh = place_first(live, root) or fresh
    serving = read_json(os.path.join(request.serving_src or root, definition.GENERATED))
    serving = serving if secret_values.MARK in serving else {}
    kept, kept_notes = request.kept_images, []
    if request.reuse_images and not kept:
        kept = unchanged_images.found(project, serving, root, request.revision, compose.files)
        kept_notes = unchanged_images.notes(kept)
    try:
        result = generated.generate(project, root, request.revision, os.path.basename(root), placed, live, kept)
    except generated.BadProject as error:
        raise BadInput(str(error)) from error
    result = set_apart(result, request.service_options, serving)
    kinds = {n: engine_kinds.kind_without_image(s) for n, s in result.get("services", {}).items()}
    result, notes = keep_as_created(result, serving, kinds)
    path = os.path.join(root, definition.GENERATED)
    text = generated.as_text(definition.without_contexts(result, root))
    before = _read(path)
    # What stands there may be the user's own file, which may hold secrets anywhere.
    ours = before if secret_values.MARK in before else ""
    # Read for its secrets, which may be others by now.
    read_json(path)
    if before != text and not check_mode:
        write_private(path, text)
    return {
        **_facts(result, path),
        "changed": before != text or fresh,
        "notes": notes + data_notes + kept_notes,
        "diff": {
            "before": generated.shown(ours),
            "after": generated.shown(text),
            "before_header": path,
            "after_header": path,
        },
    }
