# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody changed by hand in containers: their own layers against their images.  Contents never leave this host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ...engine import path_content
from ...engine.host.container_files import Budget, ContainerFiles, image_files
from ...engine.host.engine import Engine, EngineFailed, NotFound
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of, started_at
from ...engine.path_content import Held
from .. import drift
from ..drift import Difference

#: Why a container could not be looked at that ended meanwhile.
GONE = "it is not there any more"
# Differences of one container that are told; an `apt-get install` by hand has thousands.
_TOLD = 200
# More at once would take from the app what it needs.
_SIDE_BY_SIDE = 4


@dataclass(frozen=True)
class ContainerDrift:
    """What is seen of one container.

    :ivar differences: at most 200, of which none is an added one as long as another is left out; ``more`` is how many there
        are besides.
    :ivar noise: paths that its programs write as they run, which are not compared.
    :ivar unseen: why it could not be looked at, empty where it was.
    """

    name: str
    service: str
    image: str
    differences: tuple[Difference, ...] = ()
    more: int = 0
    noise: int = 0
    unseen: str = ""


@dataclass(frozen=True)
class VolumeDrift:
    """What is seen of one volume: its name, where it is mounted; the rest as with a container."""

    name: str
    where: str
    differences: tuple[Difference, ...] = ()
    more: int = 0
    unseen: str = ""


class Drifts:
    """Looks at containers of one project, with one reader for each image, and only where something has to be compared.

    A context manager; nothing of it is left behind::

        with Drifts(engine, "travel") as drifts:
            seen = drifts.of_each(inspections)
    """

    def __init__(self, engine: Engine, project: str, budget: Budget | None = None) -> None:
        self._engine = engine
        self._project = project
        self.budget = budget or Budget()
        self._readers: dict[str, ContainerFiles] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Drifts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def image(self, image: str) -> ContainerFiles:
        """The files of an image.

        :raises EngineFailed: it cannot be read.
        """
        if image not in self._readers:
            self._readers[image] = self._open.enter_context(image_files(self._engine, image, self._project))
        return self._readers[image]

    def of_each(self, inspections: Sequence[Mapping[str, Any]]) -> list[ContainerDrift]:
        """What differs in the containers' own layers; mounts are not part of them.

        Where the engine has to be asked it needs half a second for each (measured), so that is done for several side by side.
        """
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            asked = [pool.submit(self._engine.changed_paths, str(i["Id"])) for i in inspections]
            return [self._judged(i, one) for i, one in zip(inspections, asked)]

    def _judged(self, inspection: Mapping[str, Any], asked: Future[dict[str, str]]) -> ContainerDrift:
        name = str(inspection.get("Name") or "").lstrip("/")
        service, image = label_of(inspection, SERVICE_LABEL), str(inspection.get("Image") or "")
        try:
            changes = asked.result()
            wanted, noise = drift.to_read(changes, mounted(inspection))
            found = self._compared(inspection, image, {path: changes[path] for path in wanted})
        except NotFound:
            return ContainerDrift(name, service, image, unseen=GONE)
        except EngineFailed as error:
            return ContainerDrift(name, service, image, unseen=str(error))
        # Apps add files by the thousand; what the image has is nobody's but a person's to change.
        first = sorted(sorted(found, key=lambda f: f.change == drift.ADDED)[:_TOLD], key=lambda f: f.path)
        return ContainerDrift(name, service, image, tuple(first), max(0, len(found) - _TOLD), noise)

    def _compared(self, inspection: Mapping[str, Any], image: str, changes: Mapping[str, str]) -> list[Difference]:
        here = ContainerFiles(self._engine, str(inspection["Id"]))
        before: dict[str, Held] = {}
        after: dict[str, Held] = {}
        for path, change in sorted(changes.items(), key=lambda pair: pair[1] == drift.ADDED):
            if change != drift.REMOVED:
                held = here.held(path, self.budget)
                after.update({path: held} if held else {})
            if change == drift.REMOVED:
                before.update(self.image(image).below(path, self.budget))
            elif change == drift.CHANGED and path in after and after[path].kind != path_content.FOLDER:
                held = self.image(image).held(path, self.budget)
                before.update({path: held} if held else {})
        found = drift.differences(before, after, started_at(inspection))
        return [f for f in found if not drift.is_noise(f.path)]

    def of_volumes(self, inspection: Mapping[str, Any]) -> list[VolumeDrift]:
        """What differs in volumes from the files that the image has at the same place; what only a volume has is data.

        A volume is filled from the image once: later images do not reach it, and a hand edit in it stays for ever.
        """
        found = []
        for mount in inspection.get("Mounts") or []:
            where, name = str(mount.get("Destination") or ""), str(mount.get("Name") or "")
            if mount.get("Type") != "volume" or not where or not name:
                continue
            try:
                before = self.image(str(inspection.get("Image") or "")).below(where, self.budget)
                here = ContainerFiles(self._engine, str(inspection["Id"]))
                held = {path: here.held(path, self.budget) for path in before if not drift.is_noise(path)}
            except (EngineFailed, NotFound) as error:
                found.append(VolumeDrift(name, where, unseen=str(error)))
                continue
            kept = {path: before[path] for path in held}
            after = {path: one for path, one in held.items() if one is not None}
            # Whoever fills a volume gives its files other permissions.
            differing = drift.differences(kept, after, modes=False)
            found.append(VolumeDrift(name, where, tuple(differing[:_TOLD]), max(0, len(differing) - _TOLD)))
        return [f for f in found if f.differences or f.unseen]

    def edits(
        self, inspection: Mapping[str, Any], found: ContainerDrift
    ) -> Iterator[tuple[Difference, bytes | None, bytes | None]]:
        """The contents of each file that differs, as the image has it and as the container does; None for no file.

        For capturing a hand edit (see ``drift.drift.patch_of``): whoever calls this keeps them private, they may hold secrets.

        :raises EngineFailed: the engine does not answer.
        :raises TooMuch: a file is larger than may be read.
        """
        here = ContainerFiles(self._engine, str(inspection["Id"]))
        for difference in found.differences:
            old = new = None
            if difference.change in (drift.CHANGED, drift.REMOVED):
                old = self.image(found.image).content(difference.path, self.budget.one)
            if difference.change in (drift.CHANGED, drift.ADDED):
                new = here.content(difference.path, self.budget.one)
            yield difference, old, new


def mounted(inspection: Mapping[str, Any]) -> list[str]:
    """Where in a container something else lies over its own layer."""
    found = {str(m.get("Destination") or "") for m in inspection.get("Mounts") or []}
    found |= set((inspection.get("HostConfig") or {}).get("Tmpfs") or {})
    return sorted(path for path in found if path)


def containers_of(engine: Engine, project: str) -> list[dict[str, Any]]:
    """The containers of a project's services, running or not, without one-offs.

    :raises EngineFailed: the engine does not answer.
    """
    return engine.containers({PROJECT_LABEL: project, ONE_OFF_LABEL: "False"})
