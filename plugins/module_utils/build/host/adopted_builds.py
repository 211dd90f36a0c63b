# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What jobs had built when a stack was taken over: kept by the first publication, so that it comes back with its release."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...base.host.files import read_json
from ...engine.definition import GENERATED
from ...engine.options import ProjectOptions
from ...operation.options import LockOptions
from ...releases.host import adopted
from .. import builds
from ..builds import Output
from .job import note
from .jobs_view import Jobs, jobs_in


class AdoptedBuilds:
    """The jobs of the release that was taken over, while it is the current one."""

    def __init__(self, view: Jobs | None) -> None:
        self._view = view

    def due(self, live: str) -> list[Output]:
        """What its jobs build into a folder of live files, where that is not kept yet."""
        if self._view is None:
            return []
        outputs = builds.by_live([o for job in self._view.names for o in self._view.outputs[job]]).get(live, [])
        return [] if any(self._view.record(o.job) for o in outputs) else outputs

    def kept(self, outputs: Sequence[Output]) -> None:
        """Write down that these are kept: their jobs have run for that release, whoever started them."""
        for job in dict.fromkeys(o.job for o in outputs):
            if self._view is not None:
                note(self._view, job)

    @property
    def release(self) -> str:
        """Whose they are."""
        return self._view.release if self._view else ""


def of_adopted(
    view: Jobs,
    project: ProjectOptions,
    lock: LockOptions,
    releases_dir: str,
    service_options: Mapping[str, Any],
    django_service: str,
) -> AdoptedBuilds:
    """Look for what an adopted release would lose by the publication of another one.

    :raises BadInput: the adopted release cannot be read.
    """
    release, folder = adopted.record(view.state_dir).get("release"), releases_dir
    path = os.path.join(folder, str(release))
    current = os.path.join(os.path.dirname(folder), "current")
    if not (release and folder) or os.path.realpath(current) != os.path.realpath(path) or release == view.release:
        return AdoptedBuilds(None)
    coming_back = adopted.RETURNING if os.path.exists(os.path.join(path, adopted.RETURNING)) else GENERATED
    services = read_json(os.path.join(path, coming_back)).get("services") or {}
    options = {n: o for n, o in service_options.items() if n in services}
    before = replace(project, project_src=path, files=(coming_back,), env_files=())
    return AdoptedBuilds(jobs_in(before, lock, (), options, django_service))
