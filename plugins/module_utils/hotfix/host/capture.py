# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody edited by hand in containers that run, as files of the tree: a hotfix like any other from then on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from ...base.errors import BadInput
from ...drift import drift
from ...engine.host.container_files import TooMuch
from ...engine.host.engine import EngineFailed
from ...engine.host.inspection import SERVICE_LABEL, label_of
from ...engine.services import ROLLED_KINDS
from .. import hotfix
from . import hand_edits, in_place_record, ledger, thin_image, view
from .source import Source
from .view import Serving

_BY_HAND = "put it into a commit and update, or run the same command again once the container has what its image has"


def source(here: Serving, state_dir: str, name: str, shared: Sequence[str]) -> Source:
    """The hand edits of all containers of the app; without files where there are none.

    Edits of files that the revision does not have stay where they are: whoever replaces containers refuses to lose them.

    :param name: what the hotfix is to be called; made of the edits where it is empty.
    :param shared: paths of the server's own files, which are left alone.
    :raises BadInput: two containers differ, or a file was taken away.
    """
    built = set(view.built_images(here))
    mine = [c for c in here.containers if _is_app(here, c, built)]
    in_place = in_place_record.in_force(here.store, state_dir)
    files: dict[str, bytes] = {}
    whose: dict[str, str] = {}
    lines: list[str] = []
    try:
        for edit in hand_edits.of_tree(here.engine, here.name, mine, here.path, in_place.judged if in_place else None):
            inside, container = edit.inside, edit.container
            if hotfix.problem_with_path(inside, shared):
                continue
            if edit.change == drift.REMOVED:
                raise BadInput(f"{container}: {edit.path} was taken away by hand, which no hotfix can", _BY_HAND)
            if edit.content is None:
                continue
            if files.get(inside, edit.content) != edit.content:
                raise BadInput(
                    f"{inside} was edited by hand in {whose[inside]} and in {container}, and differently",
                    "make both the same (docker cp), and run the same command again",
                )
            files[inside], whose[inside] = edit.content, container
            lines.append(edit.text)
    except (EngineFailed, TooMuch) as error:
        raise BadInput(f"not all that was edited by hand can be read: {error}", _BY_HAND) from error
    total = hashlib.sha256(b"".join(p.encode() + b"\0" + hashlib.sha256(c).digest() for p, c in sorted(files.items())))
    name = name or f"by-hand-{total.hexdigest()[:8]}"
    problem = hotfix.problem_with_name(name)
    if problem:
        raise BadInput(problem, "set hotfix_name")
    for path, content in files.items():
        problem = hotfix.problem_with_content(path, thin_image.plain_file(here.path, path), content, files)
        if problem:
            raise BadInput(problem, _BY_HAND)
    return Source(name, files, by_hand=True, captured=tuple(lines))


def _is_app(here: Serving, inspection: Mapping[str, Any], built: set[str]) -> bool:
    service = label_of(inspection, SERVICE_LABEL)
    return here.kinds.get(service) in ROLLED_KINDS and here.image_of(service) in built


def kept(state_dir: str, here: Serving) -> list[str]:
    """Notes on what was captured from this very revision and is not in it: whoever was killed finds it again by them."""
    chain: Sequence[Any] = here.manifest.get("hotfixes") or []
    there = {str(h.get("name")) for h in chain if isinstance(h, Mapping)}
    found = []
    for name in ledger.names(state_dir):
        about = ledger.read(state_dir, name)
        if about.get("captured") and about.get("base") == here.revision and name not in there:
            patch = ledger.path_of(state_dir, name, "patch")
            found.append(
                f"what was captured as {name} is not in what runs; it is kept on the server as {patch} (hotfix_patch)"
            )
    return found
