# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``compose_project``: resolve the user's Compose files into the ``compose.yaml`` of a release."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
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
from ...engine.options import project_options
from ...nginx.host.proxy_files import place_first
from ...operation.host.journal import Fence, working
from ...operation.options import lock_options
from .. import project as generated
from ..adopted import beside
from ..standing import keep_as_created
from . import adopted
from .data_mounts import is_data, make_room_for_data
from .kept_data import kept_data
from .mounts import copy_path, place


def _read(path: str) -> str:
    try:
        return read_file(path).decode()
    except OSError:
        return ""


def _sources(params: Mapping[str, Any]) -> Compose:
    """The user's files, those under another name that :func:`put_aside` has given it."""
    files = [os.path.normpath(str(path)) for path in params.get("files") or []]
    if not files:
        raise BadInput("files: the project's own Compose files are needed", "set app_compose_files")
    root = str(params["project_src"])
    files = [generated.ASIDE + f if os.path.isfile(os.path.join(root, generated.ASIDE + f)) else f for f in files]
    return compose_of(project_options({**params, "files": files}))


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
    params: Mapping[str, Any],
    live: Mapping[str, Mapping[str, str]],
    stays: Mapping[str, str],
    check_mode: bool,
    kept: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], bool]:
    """For each mount in the tree what is mounted instead, and whether a copy had to be made.

    :param stays: relative path → where the data of it lies, for what was taken over.
    :param kept: the same for what the version has files of, and which is data all the same.
    """
    root, store, data = (str(params.get(key) or "") for key in ("project_src", "mounts_dir", "data_dir"))
    placed, fresh, tree = {}, False, os.path.realpath(root)
    for source in generated.tree_mounts(project, root, live):
        real = os.path.realpath(source)
        inside = os.path.relpath(source, root)
        if inside in (kept or {}) or (inside in stays and is_data(real, tree)):
            placed[source] = {**stays, **(kept or {})}[inside]
            continue
        if data and is_data(real, tree):
            placed[source] = os.path.join(data, inside)
            fresh = make_room_for_data(placed[source], inside, check_mode) or fresh
            continue
        if not os.path.exists(real):
            continue
        if real != tree and not real.startswith(f"{tree}/"):
            # A link into shared/: the server's own file, which has one path for ever.
            placed[source] = real
        elif check_mode:
            placed[source] = copy_path(real, store, tree)
        else:
            placed[source], made = place(real, store, tree)
            fresh = fresh or made
    return placed, fresh


def resolve(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call.

    :raises BadInput: the project is not valid, or could not live in a release folder.
    """
    if not params.get("regenerate", True):
        return _as_it_is(str(params["project_src"]))
    read = read_sources(params)
    name = str(read[1]["name"])
    _refuse_started_by_hand(str(params["project_src"]), name, read[1].get("services") or {})
    if check_mode:
        return _generate(params, *read, True)
    with working(lock_options(params), state_dir_of(lock_options(params), name), f"compose_project of {name}") as fence:
        fence.note(**{TOOLS_FIT: True})
        return fence.told(write_generated(params, read, fence))


def _refuse_started_by_hand(release: str, name: str, services: Collection[str]) -> None:
    """Refuse a first release where its services are there already and no release made them: they hold names, ports, data.

    :raises BadInput: they are.
    """
    folder = os.path.dirname(release)
    if os.path.basename(folder) != "releases" or os.path.lexists(os.path.join(os.path.dirname(folder), "current")):
        return
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


def read_sources(params: Mapping[str, Any]) -> Read:
    """Have Compose read the user's files.

    :raises BadInput: the project is not valid.
    """
    compose = _sources(params)
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


def write_generated(params: Mapping[str, Any], read: Read, fence: Fence) -> dict[str, Any]:
    """Generate the file of a release, for a caller that has the lock.

    :raises BadInput: the project could not live in a release folder.
    """
    with fence.act(f"write {os.path.join(read[0].project_src, definition.GENERATED)}"):
        return _generate(params, *read, False)


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
    params: Mapping[str, Any],
    compose: Compose,
    project: Mapping[str, Any],
    check_mode: bool,
) -> dict[str, Any]:
    root = compose.project_src
    if not check_mode:
        put_aside(root)
    taken_over = adopted.record(state_dir_of(lock_options(params), str(project["name"])))
    stays = {str(k): str(v) for k, v in (taken_over.get("places") or {}).items()}
    if taken_over:
        project = beside(project, root, str(taken_over["folder"]))
    data, data_notes = kept_data(project, root, taken_over)
    live = live_of(project, root, str(params.get("live_dir") or ""), stays, data)
    placed, fresh = place_all(project, params, live, stays, check_mode, data)
    if not check_mode:
        fresh = place_first(live, root) or fresh
    try:
        kept = params.get("kept_images") or {}
        result = generated.generate(project, root, str(params["revision"]), os.path.basename(root), placed, live, kept)
    except generated.BadProject as error:
        raise BadInput(str(error)) from error
    serving = read_json(os.path.join(str(params.get("serving_src") or root), definition.GENERATED))
    serving = serving if secret_values.MARK in serving else {}
    result = set_apart(result, params.get("service_options") or {}, serving)
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
        "notes": notes + data_notes,
        "diff": {
            "before": generated.shown(ours),
            "after": generated.shown(text),
            "before_header": path,
            "after_header": path,
        },
    }
