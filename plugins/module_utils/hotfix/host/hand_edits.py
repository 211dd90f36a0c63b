# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the repository that somebody edited by hand in containers, and the refusal of versions that would lose them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...base.host.files import read_json
from ...base.secret_values import MARK
from ...base.truncate_list import some
from ...drift import drift
from ...drift.drift import Difference
from ...drift.host.container_edits import edit_text, edits_in_containers, in_tree
from ...drift.host.containers import Drifts, containers_of
from ...engine.definition import GENERATED
from ...engine.host.container_files import TooMuch
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.inspection import SERVICE_LABEL, label_of
from ...engine.host.project import connect
from ...releases.adopted import ADOPTED
from ...releases.host.store import Store
from . import in_place_record, thin_image
from .in_place_record import Record

_SHOWN = 10


@dataclass(frozen=True)
class Edit:
    """One file: ``path`` in the container, ``inside`` the tree, what it is now; None where it was taken away or not read."""

    container: str
    path: str
    inside: str
    change: str
    content: bytes | None

    @property
    def text(self) -> str:
        """As people read it, and as ``container_edits.edits_in_containers`` tells it."""
        return edit_text(self.container, self.path, self.change)


def of_tree(
    engine: Engine,
    project: str,
    containers: Sequence[Mapping[str, Any]],
    tree: str,
    judged: Callable[[str, Sequence[Difference]], tuple[Difference, ...]] | None = None,
    added: Callable[[str], bool] = lambda _path: True,
) -> Iterator[Edit]:
    """What is edited in containers of a release's tree; what an entrypoint wrote and what is no file of the tree is left out.

    :param tree: the release's folder.
    :param judged: see ``container_edits.edits_in_containers``.
    :param added: which of the added files count, by their paths in the container.
    :raises EngineFailed: a container could not be looked at.
    :raises TooMuch: a file is larger than may be read.
    """
    edits = edits_in_containers(engine, project, containers, judged)
    if edits.unseen:
        raise EngineFailed("; ".join(edits.unseen))
    known = _sums(tree) if edits.seen else {}
    with Drifts(engine, project) as drifts:
        for inspection, found in edits.seen:
            for difference, inside, new in in_tree(drifts, inspection, found, known, added):
                # Other permissions only are no other content.
                if difference.change == drift.REMOVED or difference.before != difference.after:
                    yield Edit(found.name, difference.path, inside, difference.change, new)


def _sums(tree: str) -> dict[str, str]:
    """Path in a tree → SHA-256."""
    found = {}
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if name not in (".git", ".evenkeel", "__pycache__")]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), tree)
            content = None if name == GENERATED else thin_image.plain_file(tree, path)
            if content is not None:
                found[path] = hashlib.sha256(content).hexdigest()
    return found


def refuse_losing(
    store: Store, state_dir: str, version: str, content_of: Callable[[str], bytes | None], dropped: Sequence[str]
) -> None:
    """Refuse a version by which containers are replaced that have files of the repository otherwise than it has them.

    What somebody added is only refused to be lost where it is code: apps write files of their own.

    :param content_of: what the version has at a path of the tree.
    :param dropped: hotfixes that may go, of which one may be in these containers only.
    :raises BadInput: some would be lost.
    """
    release = store.current()
    project = read_json(os.path.join(store.path_of(release), GENERATED)) if release else {}
    if not project or ADOPTED in (project.get(MARK) or {}):
        return
    in_place = in_place_record.in_force(store, state_dir)
    built = [name for name, service in (project.get("services") or {}).items() if service.get("build")]
    what = f"{version} has them otherwise"
    engine = connect(store.root)
    _refuse(
        engine,
        str(project["name"]),
        built,
        store.path_of(release),
        content_of,
        in_place,
        dropped,
        what,
        "app_allow_lost_edits",
    )


def refuse_replacing(engine: Engine, project: str, service: str, tree: str, state_dir: str) -> None:
    """The same for a service whose containers are replaced by others of the same release.

    :param tree: its folder.
    :raises BadInput: something would be lost.
    """
    tree = os.path.realpath(tree)
    record = in_place_record.read(state_dir)
    in_place = record if record and record.release == os.path.basename(tree) else None
    what = "new ones have them as the release does"
    _refuse(
        engine,
        project,
        [service],
        tree,
        lambda path: thin_image.plain_file(tree, path),
        in_place,
        (),
        what,
        "app_allow_lost_edits",
    )


def _refuse(
    engine: Engine, project: str, services: Sequence[str], tree: str, content_of: Callable[[str], bytes | None],
    in_place: Record | None, dropped: Sequence[str], what: str, switch: str,
) -> None:  # fmt: skip
    mine = {(e.tree, e.after) for several in in_place.images.values() for e in several} if in_place else set()
    try:
        containers = [c for c in containers_of(engine, project) if label_of(c, SERVICE_LABEL) in services]
        judged = in_place.judged if in_place else None
        found = of_tree(engine, project, containers, tree, judged, lambda path: path.endswith(".py"))
        lost = [e for e in found if e.content != content_of(e.inside)]
    except (EngineFailed, TooMuch) as error:
        raise BadInput(
            f"whether files were edited by hand in what runs cannot be seen: {error}",
            f"see to that; or, if nobody did, run the same command again with -e {switch}=true",
        ) from error
    if in_place and in_place.name in dropped:
        lost = [e for e in lost if (e.inside, e.content) not in mine]
    if not lost:
        return
    advice = (
        "make them a hotfix first: ansible-playbook evenkeel.deploy.hotfix -e hotfix_capture=true, and merge its branch; or run the "
        f"same command again with -e {switch}=true, by which they go"
    )
    if in_place and any((e.inside, e.content) in mine for e in lost):
        advice = f"{in_place.advice}; or run the same command again with -e {switch}=true, by which it goes"
    shown = some([e.text for e in lost], _SHOWN, "; ")
    raise BadInput(f"somebody changed files by hand in containers, and {what}: {shown}", advice)
