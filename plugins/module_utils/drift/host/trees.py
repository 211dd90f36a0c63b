# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody changed by hand in files of this host: trees of releases, and what containers mount out of them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...base.host.directory_handles import open_file
from ...base.host.files import read_json
from ...base.secret_values import MARK
from ...engine.definition import GENERATED, LIVE
from ...engine.host.container_files import Budget, TooMuch
from ...engine.path_content import FILE, FOLDER, LINK, OTHER, Held
from ...git.host.git import Git, GitFailed
from ...git.host.history import has
from ...nginx.host.proxy_files import files_of
from ...releases.choice import is_id
from ...releases.host.mounts import copy_path
from ...releases.host.store import Store
from .. import drift
from ..drift import Difference

_TOLD = 200


@dataclass(frozen=True)
class TreeDrift:
    """What is seen of one folder or file of this host.

    :ivar what: ``release``, or ``mount`` for what containers mount.
    :ivar differences: paths relative to ``path``, at most 200; ``more`` is how many there are besides. In a release
        ``before`` is the id of git's blob.
    :ivar unseen: why it could not be compared, empty where it was.
    """

    what: str
    path: str
    differences: tuple[Difference, ...] = ()
    more: int = 0
    unseen: str = ""


def _is_compiled(tree: str, name: str) -> bool:
    return name.endswith(".mo") and os.path.exists(os.path.join(tree, f"{name[:-3]}.po"))


def of_release(store: Store, release: str) -> TreeDrift:
    """The tree of a release against the commit that it was made of."""
    path, revision = store.path_of(release), str(store.manifest(release).get("revision") or "")
    git = Git(store.layout.mirror, store.owner)
    if not revision or not os.path.isdir(git.mirror):
        return TreeDrift("release", path, unseen="it was not made from a git repository that is kept here")
    if not has(git, revision):
        # As after adopt: what runs is known, and the repository only from the first update on.
        why = f"revision {revision[:12]} is not in the mirror of the repository yet; an update fetches it"
        return TreeDrift("release", path, unseen=why)
    try:
        commit = git.commit_of(revision)
        edited, others = git.edits(commit, path)
    except GitFailed as error:
        return TreeDrift("release", path, unseen=f"revision {revision[:12]} cannot be read: {error}")
    shared = [str(s) for s in store.manifest(release).get("shared") or []]
    known = {"D": drift.REMOVED, "A": drift.ADDED}
    found = []
    for name, (letter, blob) in edited.items():
        held = _held(os.path.join(path, name), Budget())
        change = known.get(letter, drift.CHANGED)
        found.append(
            Difference(
                name, change, blob, held.sum if held else "", held.at if held else 0.0, why=held.why if held else ""
            )
        )
    for name in others:
        ours = name == GENERATED or name.startswith(".evenkeel") or drift.is_below(name, shared)
        if not (ours or drift.is_noise(name) or _is_compiled(path, name)):
            held = _held(os.path.join(path, name), Budget())
            found.append(Difference(name, drift.ADDED, "", held.sum if held else "", held.at if held else 0.0))
    # The user's files that the generated one would compete with have another name in a release.
    aside = {n for n in others if n.startswith(".evenkeel.")}
    found = [f for f in found if not (f.change == drift.REMOVED and f".evenkeel.{f.path}" in aside)]
    found = [f for f in found if not (f.path == GENERATED and f.change == drift.CHANGED)]
    found.sort(key=lambda f: f.path)
    return TreeDrift("release", path, tuple(found[:_TOLD]), max(0, len(found) - _TOLD))


def of_mounts(store: Store, inspections: Iterable[Mapping[str, Any]], budget: Budget) -> list[TreeDrift]:
    """What containers mount out of trees, against what it was made of; only what differs, or cannot be compared, is told."""
    sources = {
        str(m.get("Source") or "") for i in inspections for m in i.get("Mounts") or [] if m.get("Type") == "bind"
    }
    copies, live = store.layout.mounts, store.layout.proxy
    found = [_of_copy(store, source, copies, budget) for source in sorted(sources) if source.startswith(f"{copies}/")]
    if any(source.startswith(f"{live}/") for source in sources):
        found += _of_live(store, budget)
    return [f for f in found if f.differences or f.unseen]


def _of_copy(store: Store, source: str, copies: str, budget: Budget) -> TreeDrift:
    """A copy that is named by the digest of its content."""
    try:
        held = held_below(source, budget)
        if copy_path(source, copies, "") == source:
            return TreeDrift("mount", source)
        origin = _origin(store, source, copies)
        before = held_below(origin, budget) if origin else {}
    except (OSError, TooMuch) as error:
        return TreeDrift("mount", source, unseen=str(error))
    if not origin:
        return TreeDrift(
            "mount",
            source,
            unseen="it is not what it was made of any more, and no release holds that to compare it with",
        )
    kept = {p: h for p, h in before.items() if not (p == GENERATED or p.startswith(".evenkeel"))}
    found = drift.differences(kept, held)
    return TreeDrift("mount", source, tuple(f for f in found if not drift.is_noise(f.path)))


def _origin(store: Store, source: str, copies: str) -> str:
    """What a copy was made of: the file or folder of a release whose digest names it."""
    name = os.path.basename(source)
    for release in sorted((r.id for r in store.all()), reverse=True):
        tree = os.path.realpath(store.path_of(release))
        project = read_json(os.path.join(tree, GENERATED))
        if source not in str(project):
            continue
        if name == "tree" and copy_path(tree, copies, tree) == source:
            return tree
        for folder, folders, names in os.walk(tree):
            for entry in (n for n in (*folders, *names) if n == name):
                if copy_path(os.path.join(folder, entry), copies, tree) == source:
                    return os.path.join(folder, entry)
    return ""


def _of_live(store: Store, budget: Budget) -> list[TreeDrift]:
    """What a proxy mounts from a path that never changes, against the current release."""
    current = store.current()
    root = store.path_of(current) if current else ""
    project = read_json(os.path.join(root, GENERATED)) if root else {}
    found = []
    for service in (project.get(MARK) or {}).get(LIVE) or {}:
        sources = {
            str(v.get("target")): str(v.get("source")) for v in project["services"][service].get("volumes") or []
        }
        for dest, content in files_of(root, project, service, strangers=True).items():
            target = max((t for t in sources if drift.is_below(dest, [t])), key=len)
            path = os.path.normpath(os.path.join(sources[target], os.path.relpath(dest, target)))
            held = _held(path, budget)
            before = {".": Held(FILE, hashlib.sha256(content).hexdigest())} if content is not None else {}
            seen = drift.differences(before, {".": held} if held else {}, modes=False)
            found.append(TreeDrift("mount", path, tuple(s for s in seen if not drift.is_noise(os.path.basename(path)))))
    return found


def held_below(path: str, budget: Budget) -> dict[str, Held]:
    """Every file and link below a folder of this host by its relative path, or the file itself as ``.``.

    :raises TooMuch: it is more than may be read.
    :raises OSError: no permission.
    """
    if os.path.islink(path) or not os.path.isdir(path):
        held = _held(path, budget)
        return {".": held} if held else {}
    result: dict[str, Held] = {}
    for folder, folders, names in os.walk(path, onerror=_raise):
        for name in (*names, *(f for f in folders if os.path.islink(os.path.join(folder, f)))):
            full = os.path.join(folder, name)
            held = _held(full, budget)
            if held and held.why:
                raise TooMuch(f"{os.path.relpath(full, path)}: {held.why}")
            if held:
                result[os.path.relpath(full, path)] = held
    return result


def _raise(error: OSError) -> None:
    raise error


def _held(path: str, budget: Budget) -> Held | None:
    try:
        about = os.lstat(path)
        mode = stat.S_IMODE(about.st_mode)
        if stat.S_ISLNK(about.st_mode):
            return Held(LINK, hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest(), at=about.st_mtime)
        if stat.S_ISDIR(about.st_mode):
            return Held(FOLDER)
        if not stat.S_ISREG(about.st_mode):
            return Held(OTHER)
        budget.take(about.st_size)
        with open_file(path) as stream:
            total = hashlib.sha256()
            for part in iter(lambda: stream.read(1024 * 1024), b""):
                total.update(part)
        return Held(FILE, total.hexdigest(), mode, about.st_size, about.st_mtime)
    except FileNotFoundError:
        return None
    except TooMuch as error:
        return Held(FILE, why=str(error))


def release_of(path: str, store: Store) -> str:
    """The release in whose tree a path lies, empty for none."""
    head = os.path.relpath(path, store.folder).split("/", 1)[0]
    return head if is_id(head) else ""
