# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers and schedulers, asked what is queued, and stopped while the database under them is another.

Who was stopped is written down before: whoever comes after a killed call starts them again, and nobody who was stopped by others.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from ...base.host.files import private_directory, read_json, write_private
from ...celery.host.nodes import CeleryNodes
from ...engine.host.engine import EngineFailed
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of, pid_of
from ...engine.programs import SCHEDULER, WORKER
from ...operation.host.journal import Fence
from .source import Source

# Seconds that a task may take to end.
_PATIENCE = 300.0


def running_of(source: Source, kind: str) -> list[dict[str, Any]]:
    """The containers of a kind that run."""
    found = source.engine.containers({PROJECT_LABEL: source.project, ONE_OFF_LABEL: "False"})
    mine = [i for i in found if source.kinds.get(label_of(i, SERVICE_LABEL), "") == kind]
    return [i for i in mine if pid_of(i) is not None]


def queued(source: Source) -> tuple[dict[str, int], str]:
    """What waits in each queue of the project's workers, and the same in words."""
    counts: dict[str, int] = {}
    fetched, silent = 0, []
    nodes = CeleryNodes(source.engine)
    for inspection in running_of(source, WORKER):
        report = nodes.queued(inspection)
        if report is None:
            silent.append(str(inspection["Name"]).lstrip("/"))
            continue
        counts.update(report[0])
        fetched += report[1]
    words = [f"{count:,} in {queue}" for queue, count in sorted(counts.items())]
    words += [f"{fetched:,} fetched by workers"] if counts else []
    words += [f"{name} could not be asked" for name in silent]
    return (
        counts,
        f"tasks that are queued: {', '.join(words)}" if words else "no worker runs that could say what is queued",
    )


class Pause:
    """Those of one project.

    :param directory: the state directory.
    """

    def __init__(self, source: Source, directory: str, fence: Fence) -> None:
        self._source, self._fence = source, fence
        self._directory = directory
        self._path = os.path.join(directory, "restoring.json")

    def stop(self) -> list[str]:
        """Stop those that run, schedulers first; returns their names.

        :raises EngineFailed: one could not be stopped.
        """
        running = [*running_of(self._source, SCHEDULER), *running_of(self._source, WORKER)]
        if not running:
            return []
        left = list(read_json(self._path).get("containers") or [])
        private_directory(self._directory)
        write_private(
            self._path, json.dumps({"containers": list(dict.fromkeys([*left, *(str(i["Id"]) for i in running)]))})
        )
        for inspection in running:
            with self._fence.act(f"stop {inspection['Name']}"):
                grace = float((inspection.get("Config") or {}).get("StopTimeout") or 0.0)
                self._source.engine.stop(str(inspection["Id"]), max(grace, _PATIENCE))
        return [str(i["Name"]).lstrip("/") for i in running]

    def end(self) -> list[str]:
        """Start again who was stopped, by a call before as well; returns what could not be started."""
        problems = []
        for container in reversed(read_json(self._path).get("containers") or []):
            inspection = self._source.engine.inspect(str(container))
            if not inspection or pid_of(inspection) is not None:
                continue
            name = str(inspection["Name"]).lstrip("/")
            try:
                with self._fence.act(f"start {name}"):
                    self._source.engine.start(str(container))
            except EngineFailed as error:
                problems.append(f"{name} was stopped and could not be started again: {error}; docker start {name}")
        if not problems:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        return problems
