# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was edited by hand in containers that run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..decide.drift import Difference
from .drift import ContainerDrift, Drifts
from .engine import Engine
from .inspection import pid_of


@dataclass(frozen=True)
class Edits:
    """Hand edits in containers: ``told`` for people, ``seen`` per container that has any."""

    told: list[str] = field(default_factory=list)
    seen: list[tuple[Mapping[str, Any], ContainerDrift]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def patches(self) -> bool:
        return bool(self.told)


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
    with Drifts(engine, project) as drifts:
        for inspection in (i for i in containers if pid_of(i)):
            found = drifts.of(inspection)
            if judged:
                image = str((inspection.get("Config") or {}).get("Image") or "")
                found = replace(found, differences=judged(image, found.differences))
            if found.unseen:
                edits.notes.append(f"{found.name}: could not be looked at for hand edits: {found.unseen}")
            mine = [d for d in found.differences if not d.at_start]
            edits.told.extend(f"{found.name}: {d.path} {d.change}" for d in mine)
            if mine:
                edits.seen.append((inspection, found))
            if found.more:
                edits.notes.append(f"{found.name}: {found.more} more files differ from its image")
    return edits
