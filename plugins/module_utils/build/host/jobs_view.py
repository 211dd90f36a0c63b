# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be known of the jobs of a release before one runs or what they built is published; touches nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.host.files import read_json
from ...base.secret_values import MARK
from ...engine import jobs
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.kinds import kinds_of
from ...engine.host.project import compose_of, connect, image_name, state_dir_of
from ...engine.jobs import BadJob, is_off
from ...engine.options import ProjectOptions
from ...engine.programs import JOB
from ...engine.services import BadService
from ...operation.options import LockOptions
from .. import builds
from ..builds import Output


@dataclass
class Jobs:
    """The jobs of one release, in their order.

    ``outputs`` are what they build for the proxy; ``left`` those that an update does itself.
    """

    compose: Compose
    engine: Engine
    project: dict[str, Any]
    release: str
    state_dir: str
    kinds: dict[str, str]
    images: dict[str, str]
    names: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    outputs: dict[str, list[Output]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.project["name"])

    def record_path(self, job: str) -> str:
        """Where it is written down that a job has run for this release."""
        return os.path.join(self.compose.project_src, ".evenkeel", "jobs", f"{job}.json")

    def record(self, job: str) -> dict[str, Any]:
        return read_json(self.record_path(job))

    def identity(self, job: str) -> str:
        return jobs.identity(self.project["services"][job], self.images[job])

    def point(self, job: str) -> str:
        return jobs.point_of(self.project, job, self.kinds)

    def volumes(self) -> set[str]:
        """The volumes of this host that hold what jobs built."""
        return self.engine.volumes(f"{builds.STAGING_LABEL}={self.name}")

    def is_done(self, job: str, volumes: set[str]) -> bool:
        wanted = [output.staging for output in self.outputs[job]]
        return jobs.has_run(self.record(job), self.identity(job), wanted, volumes)


class Unrunnable(BadInput):
    """The jobs of a release cannot be run as they are written, so none of them ever was."""


def jobs_in(
    asked: ProjectOptions,
    lock: LockOptions,
    named: Sequence[str] = (),
    service_options: Mapping[str, Any] | None = None,
    django_service: str = "",
) -> Jobs:
    """Read the project.

    :param named: names that have to be services of it.
    :param django_service: whose image runs migrations and collects static files.
    :raises Unrunnable: it is not valid, or a job is written so that it cannot be run.
    :raises BadInput: no engine, no such folder.
    """
    compose = compose_of(asked)
    engine = connect(compose.project_src, lock)
    options = service_options or {}
    try:
        resolved = compose.resolved()
    except ComposeFailed as error:
        raise Unrunnable(
            f"the Compose project in {compose.project_src} is not valid: {error}", "docker compose config shows it"
        ) from error
    project = jobs.set_apart(resolved, options)
    services = project.get("services") or {}
    for name in [*named, *options]:
        if name not in services:
            raise Unrunnable(f"there is no service {name} in the project; it has {', '.join(sorted(services))}")
    images = {n: engine.image(image_name(project, n)) for n in services}
    configs = {n: images[n].get("Config") or {} for n in services}
    known = jobs.jobs_of(resolved, options)
    try:
        kinds = kinds_of(engine, project, compose.project_src, options)
        marked = str((project.get(MARK) or {}).get("release") or os.path.basename(compose.project_src))
        view = Jobs(
            compose,
            engine,
            project,
            re.sub(r"[^A-Za-z0-9_.-]", "-", marked),
            state_dir_of(lock, str(project["name"])),
            {**kinds, **dict.fromkeys(known, JOB)},
            {n: str(images[n].get("Id") or "") for n in services},
        )
        for name in jobs.in_order(project, known):
            if not is_off(services[name]):
                _add(view, name, django_service, configs[name])
    except (BadService, BadJob) as error:
        raise Unrunnable(str(error)) from error
    view.notes += [
        f"{n} looks like a job by its image only, so a plain docker compose up -d starts it too; write x-evenkeel: "
        f"{{kind: job}} beside it"
        for n in sorted(kinds)
        if kinds[n] == JOB and n not in known
    ]
    if view.left:
        view.notes.append(f"{', '.join(view.left)}: not run, the update migrates and collects static files itself")
    return view


def _add(view: Jobs, name: str, django: str, config: Mapping[str, Any]) -> None:
    """Sort one job in: among those that run, with what it builds, or those that the update does itself."""
    project, services = view.project, view.project["services"]
    found = jobs.django_of(services[name], config)
    same = django not in services or image_name(project, name) == image_name(project, django)
    outputs, remarks = builds.outputs_of(project, name, view.kinds, view.release)
    # Static files that the Django service itself has no way to put where the proxy looks are built, not collected.
    collects = "collectstatic" in found.commands and bool(outputs)
    if found.taken_over and same and not collects:
        view.left.append(name)
        return
    jobs.refuse_mixed(name, found, collects)
    if "migrate" in found.commands:
        raise BadJob(
            f"{name} migrates from another image than {django}: nothing would judge these migrations; put it under a profile "
            f"of your own (profiles: [migrate]) and run it when it fits"
        )
    view.outputs[name] = outputs
    view.notes += remarks
    view.names.append(name)
