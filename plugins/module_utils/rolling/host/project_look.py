# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project as it is defined beside what runs of it: looked at once for a roll and for what is asked of its queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from ...base.errors import BadInput
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL
from ...engine.host.kinds import evidence_of
from ...engine.host.project import connect
from ...engine.kinds import Evidence
from ...operation.options import LockOptions


@dataclass(frozen=True)
class ProjectLook:
    """What was seen.

    :ivar found: inspections of its containers, running or not, without one-off ones.
    :ivar hashed: what a process of Compose's finds out meanwhile, see :meth:`hashes`.
    """

    compose: Compose
    engine: Engine
    project: dict[str, Any]
    found: Sequence[Mapping[str, Any]]
    evidence: Mapping[str, Evidence]
    hashed: Future[dict[str, str]]

    @property
    def name(self) -> str:
        """The project's."""
        return str(self.project["name"])

    def hashes(self) -> dict[str, str]:
        """Service → the hash that Compose has for its definition; waits for it.

        :raises BadInput: Compose has none.
        """
        try:
            return self.hashed.result()
        except ComposeFailed as error:
            raise _invalid(self.compose, error) from error


def look_at(compose: Compose, lock: LockOptions) -> ProjectLook:
    """Look at a project, touching nothing.

    :raises BadInput: there is no engine, or the project is not valid.
    """
    engine = connect(compose.project_src, lock)
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise _invalid(compose, error) from error
    compose = replace(compose, project_name=str(project["name"]))
    # A process of Compose's, beside all that the engine and nginx are asked.
    beside_it = ThreadPoolExecutor(1)
    hashed = beside_it.submit(compose.hashes, project)
    beside_it.shutdown(wait=False)
    found = engine.containers({PROJECT_LABEL: str(project["name"]), ONE_OFF_LABEL: "False"})
    return ProjectLook(
        compose, engine, project, found, evidence_of(engine, project, compose.project_src, found), hashed
    )


def _invalid(compose: Compose, error: ComposeFailed) -> BadInput:
    return BadInput(
        f"the Compose project in {compose.project_src} is not valid: {error}", "docker compose config shows it"
    )
