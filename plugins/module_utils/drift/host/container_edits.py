# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was edited by hand in containers that run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...engine.host.container_files import TooMuch
from ...engine.host.engine import Engine
from ...engine.host.inspection import pid_of
from ..drift import ADDED, UNREAD, Difference, tree_paths
from .containers import GONE, ContainerDrift, Drifts


@dataclass(frozen=True)
class Edits:
    """Hand edits in containers: ``texts`` for people, ``seen`` per container that has any, ``unseen`` which could not be looked at."""

    texts: list[str] = field(default_factory=list)
    seen: list[tuple[Mapping[str, Any], ContainerDrift]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    @property
    def patches(self) -> bool:
        return bool(self.texts)


def edit_text(container: str, path: str, change: str) -> str:
    """One edit as people read it, and as it is told from others."""
    return f"{container}: {path} {change}"


def edits_in_containers(
    engine: Engine,
    project: str,
    containers: Sequence[Mapping[str, Any]],
    judged: Callable[[str, Sequence[Difference]], tuple[Difference, ...]] | None = None,
) -> Edits:
    """See what differs in the containers' own layers from their images; what entrypoints write at the start is left out.

    :param judged: by the name of an image, says better which differences came at the start.
    """
    edits = Edits()
    running = [i for i in containers if pid_of(i)]
    with Drifts(engine, project) as drifts:
        for inspection, found in zip(running, drifts.of_each(running)):
            if judged:
                image = str((inspection.get("Config") or {}).get("Image") or "")
                found = replace(found, differences=judged(image, found.differences))
            if found.unseen:
                edits.notes.append(f"{found.name}: could not be looked at for hand edits: {found.unseen}")
                edits.unseen.extend([f"{found.name}: {found.unseen}"] if found.unseen != GONE else [])
            mine = [d for d in found.differences if not d.at_start]
            edits.texts.extend(edit_text(found.name, d.path, d.change) for d in mine)
            if mine:
                edits.seen.append((inspection, found))
            if found.more:
                edits.notes.append(f"{found.name}: {found.more} more files differ from its image")
                if all(d.change != ADDED for d in found.differences):
                    edits.unseen.append(edits.notes[-1])
    return edits


def in_tree(
    drifts: Drifts,
    inspection: Mapping[str, Any],
    found: ContainerDrift,
    tree: Mapping[str, str],
    added: Callable[[str], bool] = lambda _path: True,
) -> Iterator[tuple[Difference, str, bytes | None]]:
    """The differences of one container that are of files of the tree, each with its path there and what it is now; None for no file.

    What an entrypoint wrote is left out. Nothing else is read: an app may have written files of any size.

    :param tree: path in the tree → SHA-256.
    :param added: which of the added files count, by their paths in the container.
    :raises EngineFailed: the engine does not answer.
    :raises TooMuch: a file is larger than may be read.
    """
    root = str((inspection.get("Config") or {}).get("WorkingDir") or "")
    places = tree_paths([d for d in found.differences if not d.at_start], tree, root)
    mine = [d for d in found.differences if d.path in places and (d.change != ADDED or added(d.path))]
    for one in mine:
        if one.change == UNREAD:
            raise TooMuch(f"{found.name}: {one.path}: {one.why}")
    for difference, _old, new in drifts.edits(inspection, replace(found, differences=tuple(mine))):
        yield difference, places[difference.path], new
