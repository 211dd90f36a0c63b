# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers have written to their logs since a change, several of them in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .engine import Engine
from .inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, moment_of


@dataclass(frozen=True)
class Writer:
    """A container whose log is told: ``since`` is UNIX time."""

    id: str
    name: str
    since: float = 0.0


def since_the_change(engine: Engine, writers: Sequence[Writer], lines: int) -> list[str]:
    """The last lines of all of them together, each after its container's name."""
    found = []
    for writer in writers if lines > 0 else ():
        text = engine.logs(writer.id, lines, times=True)
        for number, line in enumerate(text.splitlines()):
            moment, _space, said = line.partition(" ")
            written = _moment(moment)
            if said.strip() and written >= writer.since:
                found.append((written, writer.name, number, said.rstrip()))
    return [f"{name}: {said}" for _written, name, _number, said in sorted(found)[-lines:]]


def _moment(text: str) -> float:
    try:
        return moment_of(text)
    except ValueError:
        # No log driver writes that; a line is not lost for it.
        return float("inf")


def of_service(engine: Engine, project: str, service: str, since: float, lines: int) -> list[str]:
    """What the containers of a service have written last.

    :param service: empty for all services of the project.
    :param since: not before (UNIX time).
    """
    mine = {PROJECT_LABEL: project, ONE_OFF_LABEL: "False", **({SERVICE_LABEL: service} if service else {})}
    writers = [
        Writer(str(i["Id"]), str(i["Name"]).lstrip("/"), max(moment_of(i.get("Created")), since))
        for i in engine.containers(mine)
    ]
    return since_the_change(engine, writers, lines)
