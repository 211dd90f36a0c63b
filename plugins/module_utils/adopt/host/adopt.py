# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adopting: makes the first release out of what runs already, and starts, stops or changes none of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.host.directory_handles import open_file, open_folder, read_file, write_below
from ...base.host.files import private_directory, write_private
from ...drift.host.container_edits import Edits, edits_in_containers
from ...engine import definition
from ...engine.host import configurations
from ...engine.host.engine import EngineFailed
from ...engine.host.project import image_name
from ...engine.jobs import set_apart
from ...operation.host.journal import working
from ...operation.options import LockOptions
from ...releases import choice
from ...releases import project as generated
from ...releases.host import adopted, retention
from ...releases.host.project import live_of, place_all, put_aside
from ...releases.host.retention import Act
from ...releases.host.store import Store, store_of
from .. import adoption
from ..callers import report
from . import stop_sign
from .edits import capture
from .snapshot import copy
from .view import View, see, started

# What such a release is made from: never what an update makes one from, so the first update makes its own.
_INPUTS = "adopted"


@dataclass(frozen=True)
class Request:
    """Which stack is taken over, and where its releases will be.

    :ivar path: ``app_root``; ``owner`` is whose it is, empty for whoever runs this.
    :ivar state: ``present``, or ``absent`` to take away what was made.
    :ivar folder: from which it was started, empty where only one is possible.
    :ivar files: its Compose files, where it is to be refused if others are used.
    :ivar env_file: the server's own environment file, relative to the folder; empty for none.
    :ivar capture: keep what was edited by hand as a branch.
    :ivar stop_sign: once the release is active, have Compose refuse what is called in the folder.
    """

    path: str
    project_name: str
    lock: LockOptions
    state: str = "present"
    folder: str = ""
    files: tuple[str, ...] = ()
    env_file: str = ".env"
    capture: bool = False
    stop_sign: bool = False
    service_options: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""


def adopt(request: Request, check_mode: bool) -> dict[str, Any]:
    """Make the release, or take it away again.

    :raises BadInput: nothing was touched.
    """
    store = store_of(request.path, request.owner)
    state_dir = store.state_dir(request.lock)
    about = adopted.record(state_dir)
    if request.state == "absent":
        return _undo(request, store, state_dir, about, check_mode)
    if about.get("release") and store.current() and (request.stop_sign or store.current() == about["release"]):
        return _adopted_before(request, store, state_dir, about, check_mode)
    if store.current():
        _refuse_beside_releases(store, store.current())
    view = see(store, request.project_name, request.folder, request.files, request.env_file)
    _refuse_beside_releases(store, *_served(store, view))
    edits = edits_in_containers(view.engine, request.project_name, view.containers)
    if check_mode:
        return {
            **_started_by_hand(view, edits),
            "changed": True,
            "release": "",
            "release_path": "",
            "msg": _sentence(view, edits, "would be"),
        }
    made = [*(about.get("made") or []), *(p for p in _folders(store) if not os.path.isdir(p))]
    store.make_folders()
    private_directory(state_dir)
    with working(request.lock, state_dir, f"release_adopt of {request.project_name}") as fence:
        about = _make(request, store, state_dir, view, edits, made, fence.act)
        facts = _facts(store, about, True, _sentence(view, edits, "is"))
        return fence.reported({**facts, **_started_by_hand(view, edits), "branch": about["branch"]})


def _adopted_before(
    request: Request, store: Store, state_dir: str, about: Mapping[str, Any], check_mode: bool
) -> dict[str, Any]:
    """Say what is active, and set the stop signs that lack: only now does nothing read the folder's Compose files any more.

    :raises BadInput: a sign cannot be set.
    """
    folder, files = str(about["folder"]), [str(f) for f in about["files"]]
    before = {
        **_facts(store, about, False, f"{about['release']} was adopted from {folder} before"),
        "release": store.current(),
        "release_path": store.path_of(store.current()),
    }
    wanted = stop_sign.lacking(files) if request.stop_sign else []
    if not wanted:
        return before
    verb = "would be" if check_mode else "are"
    told = {
        **before,
        "changed": True,
        "msg": f"stop signs {verb} in place of {', '.join(wanted)}: Compose refuses whatever is called with these",
        "notes": [note for note in [stop_sign.of_git(folder, wanted)] if note],
    }
    if check_mode:
        return told
    with (
        working(request.lock, state_dir, f"release_adopt of {request.project_name}") as fence,
        fence.act(f"put stop signs into {folder}"),
    ):
        stop_sign.put(wanted, request.project_name, store.root)
        return fence.reported(told)


def _served(store: Store, view: View) -> list[str]:
    """The releases of an update that containers were made of; others are of attempts that came to nothing."""
    files = {f for c in map(started, view.containers) for f in c.files}
    others = [r.id for r in store.all() if r.inputs != _INPUTS]
    return [r for r in others if any(f.startswith(f"{store.path_of(r)}/") for f in files)]


def _refuse_beside_releases(store: Store, *served: str) -> None:
    if served:
        raise BadInput(
            f"{store.root} has releases already: {', '.join(served)}",
            "what runs there is looked after by playbook update; for another stack choose another app_root",
        )


def _folders(store: Store) -> list[str]:
    return [store.root, store.folder, *(os.path.join(store.root, n) for n in ("shared", "mirror.git", "mounts"))]


def _make(
    request: Request, store: Store, state_dir: str, view: View, edits: Edits, made: list[str], act: Act
) -> dict[str, Any]:
    """Make the release, whole or taken up by the next call; what runs is not touched."""
    name, env_file = request.project_name, request.env_file
    with act(f"adopt {name} from {view.origin.folder}"):
        adopted.write(state_dir, {"release": "", "folder": view.origin.folder, "made": made})
        for begun in store.all():
            # By a call that was killed, or by updates that were refused.
            shutil.rmtree(store.path_of(begun.id))
        shared = [env_file] if view.env_source else []
        if shared and not os.path.exists(os.path.join(store.root, "shared", env_file)):
            made = [*made, os.path.join(store.root, "shared", env_file)]
            adopted.write(state_dir, {"release": "", "folder": view.origin.folder, "made": made})
            _share(store, view.env_source, env_file)
        store.refuse_without_room(*view.tree.size)
        release = store.create(
            lambda target: copy(view.tree, target, store.owner), view.tree.revision, _INPUTS, shared, _INPUTS
        )
        path = store.path_of(release)
        about: dict[str, Any] = {
            "release": release, "folder": view.origin.folder, "files": list(view.origin.files), "places": view.places,
            "data": list(view.data), "made": made, "images": [], "branch": "",
        }  # fmt: skip
        # Before anything generated, which has secrets in it, lies beside the folder's own files.
        if request.capture and (view.tree.edits or edits.patches or not view.tree.commit):
            about["branch"] = capture(store, view, edits, path, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        put_aside(path)
        found = adoption.as_found(view.project, view.origin.folder, path, view.tree.revision, view.places)
        write_private(
            os.path.join(path, definition.GENERATED), generated.as_text(definition.without_contexts(found, path))
        )
        returning = _returning(request.service_options, store, view, release)
        about["images"] = _keep_images(view, returning)
        write_private(
            os.path.join(path, adopted.RETURNING), generated.as_text(definition.without_contexts(returning, path))
        )
        if view.env_source:
            write_private(os.path.join(path, ".evenkeel", "env"), read_file(view.env_source).decode())
        configurations.keep(state_dir, found["services"], view.hashes)
        adopted.write(state_dir, about)
        store.note(
            release,
            state=choice.BUILT,
            adopted={"folder": view.origin.folder, "commit": view.tree.commit, "edits": list(view.tree.edits)},
            images={s: ids[0] for s, ids in view.images.items() if ids},
        )
    return about


def _share(store: Store, source: str, env_file: str) -> None:
    target = os.path.join(store.root, "shared", env_file)
    with open_file(source) as stream:
        content, about = stream.read(), os.fstat(stream.fileno())
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{source} is no text", "write it in UTF-8") from error
    with open_folder(os.path.dirname(target), make=0o755) as folder:
        # Whoever reads it now goes on reading it.
        write_below(folder, os.path.basename(target), content, 0o600, (about.st_uid, about.st_gid))


def _returning(service_options: Mapping[str, Any], store: Store, view: View, release: str) -> dict[str, Any]:
    """The same release as it comes back when what was started by hand is gone: as releases are."""
    path = store.path_of(release)
    project = adoption.in_tree(view.project, view.origin.folder, path)
    mounts_dir, data_dir = (os.path.join(store.root, name) for name in ("mounts", "shared"))
    data = {p: view.places[p] for p in view.data}
    live = live_of(project, path, os.path.join(store.root, "shared/proxy"), view.places, data)
    placed, _fresh = place_all(project, path, mounts_dir, data_dir, live, view.places, False, data)
    # What is mounted and neither copied nor data, such as a link out of the folder, stays where it is.
    for source in generated.tree_mounts(project, path, live):
        placed.setdefault(source, view.origin.folder + source[len(path) :])
    result = generated.generate(project, path, view.tree.revision, release, placed, live)
    return set_apart(result, service_options, result)


def _keep_images(view: View, returning: dict[str, Any]) -> list[str]:
    """Give what runs the names by which the release comes back, and write these into it; returns them.

    Services of one recipe may run different images: one was built anew and the other was not.
    """
    kept: dict[str, str] = {}
    for service, name in generated.image_names(view.project, view.tree.revision).items():
        present = str(view.engine.image(image_name(view.project, service)).get("Id") or "")
        image = (view.images.get(service) or [present])[0]
        if not image:
            continue
        if kept.setdefault(name, image) != image:
            name = f"{view.project['name']}-{service}:{view.tree.revision[:12]}"
            kept[name] = image
        returning["services"][service]["image"] = name
    for name, image in kept.items():
        repository, _colon, tag = name.rpartition(":")
        view.engine.tag(image, repository, tag)
    return sorted(kept)


def _undo(request: Request, store: Store, state_dir: str, about: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Take away what was made, and leave what runs as it is.

    :raises BadInput: a later release serves, or what runs is of a release.
    """
    if not about:
        return {"changed": False, "release": "", "release_path": "", "msg": "nothing was adopted here"}
    release, current = str(about["release"]), store.current()
    advice = "go on with playbook update; what was adopted is a release like any other by now"
    if current not in ("", release):
        raise BadInput(f"a later release is active: {current}", advice)
    try:
        used = retention.Used.seen(store)
    except EngineFailed as error:
        raise BadInput(f"what containers use cannot be seen: {error}") from error
    inside = [p for p in used.paths if p.startswith((f"{store.folder}/", f"{store.root}/mounts/"))]
    if inside:
        raise BadInput(f"containers run that were made from releases in {store.root}", advice)
    result = _facts(store, about, True, f"{release} is taken away; what runs is as it was, from {about['folder']}")
    if check_mode:
        return result
    with (
        working(request.lock, state_dir, f"release_adopt of {request.project_name}") as fence,
        fence.act(f"give up {release}"),
    ):
        notes = _take_away(store, state_dir, about, used)
        return fence.reported({**result, "notes": notes})


def _take_away(store: Store, state_dir: str, about: Mapping[str, Any], used: retention.Used) -> list[str]:
    # First of all: the app has to be started from there again.
    notes = stop_sign.take_away(str(f) for f in about.get("files") or [])
    link = os.path.join(store.root, "current")
    if os.path.islink(link):
        os.unlink(link)
    for left in store.all():
        shutil.rmtree(store.path_of(left.id))
    for name in about.get("images") or []:
        try:
            if used.engine:
                used.engine.untag(str(name))
        except EngineFailed as error:
            notes.append(f"the name {name} could not be taken away: {error}")
    shutil.rmtree(os.path.join(store.root, "mounts"), ignore_errors=True)
    for path in sorted((str(p) for p in about.get("made") or []), reverse=True):
        if os.path.isfile(path):
            os.unlink(path)
        with contextlib.suppress(OSError):
            # Only what is empty: who put anything there since goes on having it.
            os.rmdir(path)
    adopted.forget(state_dir)
    if about.get("branch"):
        notes.append(f"the branch {about['branch']} stays in {store.root}/mirror.git")
    return notes


def _started_by_hand(view: View, edits: Edits) -> dict[str, Any]:
    return {
        "revision": view.tree.revision, "folder": view.origin.folder, "local_edits": list(view.tree.edits),
        "container_edits": edits.texts, "data": {p: os.path.join(view.origin.folder, p) for p in view.data},
        "images": view.images, "notes": [*view.notes, *edits.notes],
        "callers": report(view.callers, str(view.project["name"])),
    }  # fmt: skip


def _facts(store: Store, about: Mapping[str, Any], changed: bool, msg: str) -> dict[str, Any]:
    release = str(about["release"])
    manifest = store.manifest(release)
    return {
        "changed": changed, "release": release, "release_path": store.path_of(release), "folder": about["folder"],
        "revision": manifest.get("revision", ""), "branch": about.get("branch", ""), "msg": msg, "notes": [],
        "local_edits": (manifest.get("adopted") or {}).get("edits", []), "container_edits": [],
    }  # fmt: skip


def _sentence(view: View, edits: Edits, verb: str) -> str:
    tree = view.tree
    what = f"commit {tree.commit[:12]}" if tree.commit else "no git"
    if tree.edits:
        what += f" with {len(tree.edits)} local changes"
    text = f"{view.project['name']} {verb} adopted as {tree.revision[:12]} from {view.origin.folder} ({what})"
    hands = f"; {len(edits.texts)} files were changed by hand in containers, and go with them" if edits.texts else ""
    return f"{text}; no container is touched{hands}"
