# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""More containers of some services by Compose, which leaves everything else as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Callable

from ...engine.host.compose import Compose
from ...engine.host.engine import Engine
from ...engine.host.inspection import HASH_LABEL, ONE_OFF_LABEL, PROJECT_LABEL, label_of
from ..published_ports import with_other_ports
from ..steps import Start
from .roller import StepFailed
from .targets import Target


def create(
    compose: Compose, engine: Engine, name: str, project: Mapping[str, Any], targets: Mapping[str, Target], step: Start
) -> None:
    """Create, and do not start, what a step asks for.

    :param name: of the project; ``project`` its resolved definition, for what is created with other ports.
    :raises ComposeFailed: or :class:`.engine.EngineFailed`; some may be there then.
    """

    def beside(act: Callable[[dict[str, int], dict[str, int]], None], more: Sequence[tuple[str, int]]) -> None:
        if more:
            # Compose would bring what they depend on to the number of the file, down as well: the new ones first.
            listed = engine.listed({PROJECT_LABEL: name, ONE_OFF_LABEL: "False"})
            present = Counter(service for _id, service in listed)
            needed = {n for service, _count in more for n in targets[service].after if present[n]}
            act({n: present[n] + c for n, c in more}, {n: present[n] for n in sorted(needed)})

    beside(compose.create_beside, [(n, c) for n, c in step.create if n not in step.surges])
    if step.surges:
        definition = with_other_ports(project, {n: targets[n].surge_ports for n in step.surges})
        beside(partial(compose.create_by, definition), [(n, c) for n, c in step.create if n in step.surges])


def refuse_others(fresh: Sequence[tuple[Mapping[str, Any], Target]], step: Start) -> None:
    """Hold that what was created is what was decided about.

    :raises StepFailed: a container has another configuration.
    """
    for inspection, target in fresh:
        wanted = target.surge if target.settings.name in step.surges else target.config_hash
        if label_of(inspection, HASH_LABEL) != wanted:
            raise StepFailed(
                f"{target.settings.name}: Compose created a container of another configuration than it printed "
                f"before; was a file changed in between?"
            )
