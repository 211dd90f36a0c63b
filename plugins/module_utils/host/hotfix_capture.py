# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody edited by hand in containers that run, as files of the tree: a hotfix like any other from then on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..decide import drift, hotfix
from ..decide.services import ROLLED_KINDS
from . import git_history, git_hotfixes, hotfix_ledger, hotfix_view, in_place_record, thin_image
from .adopt_edits import edits_in_containers
from .container_files import TooMuch
from .drift import Drifts
from .git import Git
from .hotfix_source import Source
from .hotfix_view import Serving
from .inspection import label_of
from .machine import SERVICE_LABEL
from .refusal import BadInput

_BY_HAND = "put it into a commit and update, or run the same command again once the container has what its image has"


def source(params: Mapping[str, Any], here: Serving, git: Git) -> Source:
    """The hand edits of all containers of the app; without files where there are none.

    Edits of files that the revision does not have stay where they are: whoever replaces containers refuses to lose them.

    :raises BadInput: two containers differ, or a file was taken away.
    """
    built = set(hotfix_view.built_images(here))
    mine = [c for c in here.containers if _is_app(here, c, built)]
    in_place = in_place_record.in_force(here.store, str(params["state_dir"]))
    edits = edits_in_containers(here.engine, here.name, mine, in_place.judged if in_place else None)
    files: dict[str, bytes] = {}
    whose: dict[str, str] = {}
    told: list[str] = []
    known = _sums(here, git) if edits.seen else {}
    shared = [str(s) for s in params.get("shared") or []]
    with Drifts(here.engine, here.name) as drifts:
        for inspection, found in edits.seen:
            root = str((inspection.get("Config") or {}).get("WorkingDir") or "")
            places = drift.tree_paths([d for d in found.differences if not d.at_start], known, root)
            try:
                for difference, _old, new in drifts.edits(inspection, found):
                    inside = "" if difference.at_start else places.get(difference.path, "")
                    if not inside or hotfix.problem_with_path(inside, shared):
                        continue
                    if difference.change == drift.REMOVED:
                        raise BadInput(
                            f"{found.name}: {difference.path} was taken away by hand, which no hotfix can", _BY_HAND
                        )
                    if new is None or difference.before == difference.after:
                        # Not read, or other permissions only.
                        continue
                    if files.get(inside, new) != new:
                        raise BadInput(
                            f"{inside} was edited by hand in {whose[inside]} and in {found.name}, and differently",
                            "make both the same (docker cp), and run the same command again",
                        )
                    files[inside], whose[inside] = new, found.name
                    told.append(f"{found.name}: {difference.path} {difference.change}")
            except TooMuch as error:
                raise BadInput(
                    f"{found.name}: not all that was edited by hand can be read: {error}", _BY_HAND
                ) from error
    total = hashlib.sha256(b"".join(p.encode() + b"\0" + hashlib.sha256(c).digest() for p, c in sorted(files.items())))
    name = str(params.get("name") or f"by-hand-{total.hexdigest()[:8]}")
    problem = hotfix.problem_with_name(name)
    if problem:
        raise BadInput(problem, "set hotfix_name")
    for path, content in files.items():
        problem = hotfix.problem_with_content(path, thin_image.plain_file(here.path, path), content)
        if problem:
            raise BadInput(problem, _BY_HAND)
    return Source(name, files, by_hand=True, captured=tuple(told))


def _is_app(here: Serving, inspection: Mapping[str, Any], built: set[str]) -> bool:
    service = label_of(inspection, SERVICE_LABEL)
    return here.kinds.get(service) in ROLLED_KINDS and here.image_of(service) in built


def _sums(here: Serving, git: Git) -> dict[str, str]:
    """Path in the running revision → SHA-256."""
    found = {}
    for path in git_hotfixes.paths_of(git, here.revision) if git_history.has(git, here.revision) else ():
        content = thin_image.plain_file(here.path, path)
        if content is not None:
            found[path] = hashlib.sha256(content).hexdigest()
    return found


def kept(state_dir: str, here: Serving) -> list[str]:
    """Notes on what was captured from this very revision and is not in it: whoever was killed finds it again by them."""
    chain: Sequence[Any] = here.manifest.get("hotfixes") or []
    there = {str(h.get("name")) for h in chain if isinstance(h, Mapping)}
    found = []
    for name in hotfix_ledger.names(state_dir):
        about = hotfix_ledger.read(state_dir, name)
        if about.get("captured") and about.get("base") == here.revision and name not in there:
            patch = hotfix_ledger.path_of(state_dir, name, "patch")
            found.append(
                f"what was captured as {name} is not in what runs; it is kept on the server as {patch} (hotfix_patch)"
            )
    return found
