# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Celery workers of a project as one version has them: which containers are of another, and how both are spoken to.

What is asked of the queues is asked by a container of the version that is to come, with its own Celery and settings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...base.errors import BadInput
from ...base.host import processes
from ...celery.command_line import Consumer, consumer_of, fetches_tasks
from ...celery.host.nodes import CeleryNodes
from ...celery.inside import queues as celery_queues
from ...django.host.oneoff import OneOff
from ...engine.host import app_script
from ...engine.host.compose import Compose
from ...engine.host.engine import Engine
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of, pid_of
from ...engine.host.project import compose_of, image_name
from ...engine.kinds import environment_of
from ...engine.options import ProjectOptions
from ...engine.programs import WORKER
from ...engine.services import BadService, CommonSettings, chosen_kind, settings_of, words_in
from ...operation.host.journal import Fence
from ...operation.options import LockOptions
from ...releases.host import adopted
from ..stack import Container, is_outdated
from .fenced import FencedMachine
from .machine import ComposeMachine
from .project_look import ProjectLook, look_at
from .rest_of_stack import removed_targets
from .roller import StepFailed
from .targets import Target

# Seconds for one question: a container's start, the app's Python, and the broker's patience.
_ANSWERS = 120.0
_POLL = 0.5


@dataclass(frozen=True)
class _Asker(OneOff):
    """A container of a worker's service, with a script for its own Python."""

    interpreter: str = "python3"
    folder: str = ""

    def _inside(self) -> list[str]:
        where = ["--workdir", self.folder] if self.folder else []
        return [*where, "--entrypoint", self.interpreter, self.service, "-c"]


@dataclass
class Workers:
    """Those of one project.

    :ivar services: what fetches tasks in the version that is to come.
    :ivar consumer: what these fetch, None where it cannot be told, or there are none.
    :ivar newer: containers of another version, running or not; ``older`` those that are as wanted.
    """

    engine: Engine
    compose: Compose
    project: str
    services: list[str]
    consumer: Consumer | None
    targets: list[Target]
    newer: list[Container] = field(default_factory=list)
    older: list[Container] = field(default_factory=list)
    inspections: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""

    @property
    def running(self) -> int:
        """How many of another version run, or are started again and again."""
        return len([c for c in self.newer if c.running])

    def _nodes(self, containers: Sequence[Container]) -> list[str]:
        nodes = CeleryNodes(self.engine)
        found = [nodes.node(self.inspections[c.id]) for c in containers if c.running]
        return [node.name for node in found if node]

    def ask(self, act: str, **more: Any) -> dict[str, Any]:
        """What the script answers (``celery/inside/queues.py``).

        :raises BadInput: it does not.
        """
        if self.consumer is None:
            raise BadInput("no worker of this version can be asked")
        order = {
            "act": act,
            "app": self.consumer.app,
            "includes": self.consumer.includes,
            "queues": self.consumer.queues,
            "everything": self.consumer.everything,
            "excluded": self.consumer.excluded,
            "project": self.project,
            "nodes": self._nodes(self.newer),
            "ours": self._nodes(self.older),
            **more,
        }
        broker = {"CELERY_BROKER_URL": self.consumer.broker} if self.consumer.broker else {}
        asker = _Asker(
            engine=self.engine,
            compose=self.compose,
            project=self.project,
            service=self.services[0],
            manage_py="",
            timeout=_ANSWERS + float(more.get("seconds") or 0.0),
            about="queues",
            given=json.dumps({**self.variables, **broker}),
            # Nobody works on a queue whose tasks are moved.
            hurried=act != "look",
            interpreter=self.consumer.interpreter,
            folder=self.folder,
        )
        answer = asker.ask(app_script.as_text([celery_queues], [order]))
        if "error" in answer:
            what = "its broker does not answer" if answer.get("away") else "asking it failed"
            raise BadInput(
                f"{self.services[0]}: what waits in its queues cannot be known, {what}: {answer['error']}",
                "see that the broker runs (docker compose ps, logs) and run the same command again: without it an older "
                "worker could discard tasks that only the newer version knows",
            )
        return answer

    def hush(self, fence: Fence) -> None:
        """Have older workers that run already fetch nothing more; a roll has them fetch again.

        :raises BadInput: one does not do so.
        """
        machine, seen = self._machine(fence)
        mine = {c.id for c in self.older}
        running = [c for c in seen if c.id in mine and c.running]
        consuming = [c.id for c in running if c.consumes is True]
        try:
            unreachable = machine.quiesce(consuming) if consuming else []
            # Who cannot be told is stopped, and started anew by the coming roll.
            unreachable += [c.id for c in running if c.consumes is None]
            if unreachable:
                machine.stop(unreachable)
        except StepFailed as error:
            raise BadInput(str(error)) from error

    def end(self, fence: Fence) -> None:
        """Have the workers of another version fetch nothing more, end what they have begun, and stop.

        They stay: whoever goes back to that version starts them again.

        :raises BadInput: one could not be stopped.
        """
        machine, seen = self._machine(fence)
        mine = {c.id for c in self.newer}
        running = [c for c in seen if c.id in mine and c.running]
        limits = {t.settings.name: t.settings for t in self.targets}
        try:
            consuming = [c.id for c in running if c.consumes is True]
            if consuming:
                machine.quiesce(consuming)
            began = machine.now()
            busy = {c.id: limits[c.service] for c in running if c.consumes is not None}
            while busy:
                report = machine.tasks(list(busy))
                over = machine.now() - began
                # One that does not say has what a plain stop gives it.
                busy = {
                    i: s for i, s in busy.items()
                    if report.get(i) and (s.drain_policy == "wait" or over < s.drain_timeout)
                }  # fmt: skip
                if busy:
                    machine.sleep(_POLL)
            if running:
                machine.stop([c.id for c in running])
        except StepFailed as error:
            raise BadInput(str(error)) from error
        self._machine(fence)

    def _machine(self, fence: Fence) -> tuple[FencedMachine, tuple[Container, ...]]:
        """The machine as it is now, and the workers on it."""
        machine = FencedMachine(ComposeMachine(self.compose, self.engine, self.project, self.targets), fence)
        try:
            seen = machine.look().containers
        except StepFailed as error:
            raise BadInput(str(error)) from error
        self._sort(seen)
        return machine, seen

    def _sort(self, seen: Sequence[Container]) -> None:
        wanted = {t.settings.name: t.wanted for t in self.targets}
        self.newer = [c for c in seen if is_outdated(c, wanted[c.service])]
        self.older = [c for c in seen if not is_outdated(c, wanted[c.service])]
        found = self.engine.containers({PROJECT_LABEL: self.project, ONE_OFF_LABEL: "False"})
        self.inspections = {str(i["Id"]): i for i in found}
        self.newer = [c for c in self.newer if c.id in self.inspections]
        self.older = [c for c in self.older if c.id in self.inspections]


def workers_of(
    options: ProjectOptions,
    lock: LockOptions,
    service_options: Mapping[str, Any],
    removed: Sequence[str],
    look: ProjectLook | None = None,
) -> Workers:
    """The workers of a project.

    :param removed: services that the project does not have any more, whose workers are of another version.
    :param look: what was seen of the project a moment ago.
    :raises BadInput: the project is not valid.
    """
    compose = compose_of(options)
    if os.path.exists(os.path.join(compose.project_src, adopted.RETURNING)):
        # What was taken over comes back by this, under its own images' names, and not by the definition that it is compared with.
        look = None
        compose = Compose(compose.project_src, (adopted.RETURNING,), (), compose.profiles, compose.project_name)
    look = look or look_at(compose, lock)
    compose, engine, project, name = look.compose, look.engine, look.project, look.name
    found, evidence, hashes = look.found, look.evidence, look.hashes()
    targets, consumers = [], []
    try:
        for service, definition in sorted((project.get("services") or {}).items()):
            image = engine.image(image_name(project, service))
            config = image.get("Config") or {}
            kind = chosen_kind(service, definition, evidence[service], service_options.get(service) or {})
            words = words_in(definition, config)
            if fetches_tasks(kind, words):
                settings = settings_of(
                    service, definition, evidence[service], CommonSettings(), service_options.get(service) or {}
                )
                targets.append(Target(settings, str(image.get("Id") or ""), hashes.get(service, "")))
                consumers.append(consumer_of(words, environment_of(definition, config)))
        services = [t.settings.name for t in targets]
        there = {label_of(i, SERVICE_LABEL) for i in found}
        gone = [s for s in removed if s in there and s not in (project.get("services") or {})]
        targets += [
            t for t in removed_targets(gone, found, lambda _service, _definition: ()) if t.settings.kind == WORKER
        ]
    except BadService as error:
        raise BadInput(str(error)) from error
    workers = Workers(engine, compose, name, services, _together([c for c in consumers if c]), targets)
    machine = ComposeMachine(compose, engine, name, targets)
    try:
        workers._sort(machine.look().containers)
    except StepFailed as error:
        raise BadInput(str(error)) from error
    workers.variables, workers.folder = _made_by_entrypoint(workers)
    workers.consumer = workers.consumer or _together(_that_run(workers))
    return workers


def _that_run(workers: Workers) -> list[Consumer]:
    """What those that run fetch, where only a start script knows the command."""
    found = []
    for container in [*workers.older, *workers.newer]:
        pid = pid_of(workers.inspections[container.id])
        if pid and container.service in workers.services:
            for process in sorted(processes.tree(pid), key=lambda p: p.started):
                consumer = consumer_of(processes.words(process.pid), processes.environment(process.pid))
                if consumer:
                    found.append(consumer)
                    break
    return found


def _together(consumers: Sequence[Consumer]) -> Consumer | None:
    """One that fetches what all of the same app fetch."""
    if not consumers:
        return None
    mine = [c for c in consumers if c.app == consumers[0].app]
    queues = tuple(dict.fromkeys(q for c in mine for q in c.queues))
    # What one leaves out another may fetch.
    excluded = tuple(q for q in mine[0].excluded if all(q in c.excluded for c in mine))
    includes = tuple(dict.fromkeys(i for c in mine for i in c.includes))
    every = any(c.everything for c in mine)
    return replace(mine[0], queues=queues, everything=every, excluded=excluded, includes=includes)


#: What is of one process, or one container.
_OWN = {"HOSTNAME", "HOME", "PWD", "OLDPWD", "SHLVL", "_", "TERM", "PATH"}


def _made_by_entrypoint(workers: Workers) -> tuple[dict[str, str], str]:
    """What an entrypoint has exported, such as the broker's address, and the folder it went to: ours bypass it."""
    for container in [*workers.older, *workers.newer]:
        inspection = workers.inspections[container.id]
        pid = pid_of(inspection)
        config = inspection.get("Config") or {}
        given = {str(e) for e in config.get("Env") or []}
        if pid:
            now = {k: v for k, v in processes.environment(pid).items() if f"{k}={v}" not in given and k not in _OWN}
            folder = processes.folder(pid)
            return now, folder if folder != str(config.get("WorkingDir") or "/") else ""
    return {}, ""
