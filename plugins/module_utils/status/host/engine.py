# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine tells of an app: its containers beside what the release wants, and what an operation has left."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.configurations import makes_the_same
from ...engine.host.engine import CONNECTIONS, DockerException, Engine, RequestException
from ...engine.host.inspection import (
    FILES_LABEL,
    HASH_LABEL,
    ONE_OFF_LABEL,
    PROJECT_LABEL,
    SERVICE_LABEL,
    health_of,
    label_of,
    moment_of,
    pid_of,
    restarts_of,
)
from ...engine.host.kinds import evidence_of
from ...engine.host.project import image_name
from ...engine.kinds import Evidence, judge
from ...engine.programs import JOB, NGINX, PROXY
from ...engine.services import BadService, chosen_kind
from ...nginx.host.nginx import Nginx, NginxFailed
from ...nginx.twin import TWIN_LABEL
from ...operation.host.records import iso
from ...postgres.host.client import LABEL as CLIENT
from ...postgres.host.throwaway_server import LABEL as THROWAWAY
from ...rehearsal.scratch import LABEL as SCRATCH
from ...releases.host import adopted
from ...releases.project import REVISION_LABEL
from ...traffic.host import firewall
from ...traffic.host.proxy_routes import front_of
from ..findings import Container, Service

_COVER = "/.evenkeel-"
# Seconds between two looks at what a container uses.
_APART = 1.0
# What checks make and take away again: scratch copies, databases that are thrown away, their clients, twins of nginx.
_OURS = (SCRATCH, THROWAWAY, CLIENT, TWIN_LABEL)


class EngineView:
    """The containers of one project.

    :param project: the generated project of the current release, empty where there is none.
    :param project_src: its folder.
    :param state_dir: what is recorded of the configurations that ran, and of the folder that was adopted.
    :param active_since: when the current release became active (UNIX seconds).
    :raises EngineFailed: the engine does not answer.
    """

    def __init__(
        self,
        engine: Engine,
        app: str,
        project: Mapping[str, Any],
        project_src: str,
        state_dir: str,
        active_since: float = 0.0,
    ) -> None:
        self.engine = engine
        self.app = app
        self.state_dir = state_dir
        self.active_since = active_since
        self._adopted = adopted.record(state_dir)
        self.project, self._source = project, project_src
        self.inspections = engine.containers({PROJECT_LABEL: app})
        #: What could not be seen, and why.
        self.unseen: dict[str, str] = {}

    # What takes longest, and needs neither of these, can begin before them.
    @cached_property
    def _hashes(self) -> dict[str, str]:
        try:
            return Compose(self._source).hashes(self.project) if self.project else {}
        except ComposeFailed as error:
            self.unseen["configuration of containers"] = str(error)
            return {}

    @cached_property
    def _evidence(self) -> dict[str, Evidence]:
        return evidence_of(self.engine, self.project, self._source, self._of_services()) if self.project else {}

    # -- what should run, and what does ---------------------------------------------------------------

    def services(self) -> list[Service]:
        """The services of the release; without one those that run."""
        definitions = self.project.get("services") or {}
        found = []
        for name in definitions or sorted({label_of(i, SERVICE_LABEL) for i in self._of_services()}):
            mine = [i for i in self._of_services() if label_of(i, SERVICE_LABEL) == name]
            definition = definitions.get(name) or {}
            kind, image = self._kind(name, definition, mine)
            wanted = str(self.engine.image(image).get("Id") or "") if definition else ""
            containers = tuple(self._container(i, wanted, image) for i in mine)
            deploy = definition.get("deploy") or {}
            number = next(n for n in (deploy.get("replicas"), definition.get("scale"), 1) if n is not None)
            replicas = 0 if kind == JOB else int(number) if definition else len(mine)
            found.append(Service(name, kind, image, replicas, containers))
        return found

    def others(self) -> list[Container]:
        """Containers of the project that are of no service of the release: one-offs, and services that are gone."""
        known = set(self.project.get("services") or {})
        return [
            self._container(i, "", "")
            for i in self.inspections
            if label_of(i, ONE_OFF_LABEL) == "True" or (known and label_of(i, SERVICE_LABEL) not in known)
        ]

    def _of_services(self) -> list[dict[str, Any]]:
        return [i for i in self.inspections if label_of(i, ONE_OFF_LABEL) != "True"]

    def _kind(self, name: str, definition: Mapping[str, Any], mine: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        if not definition:
            config = (mine[0].get("Config") or {}) if mine else {}
            stood = {"image": config.get("Image"), "command": config.get("Cmd")}
            return judge(stood, Evidence()).kind, str(config.get("Image") or "")
        seen = self._evidence.get(name) or Evidence()
        try:
            return chosen_kind(name, definition, seen, {}, 0), image_name(self.project, name)
        except BadService:
            return judge(definition, seen).kind, image_name(self.project, name)

    def _container(self, inspection: Mapping[str, Any], wanted: str, image: str) -> Container:
        state = inspection.get("State") or {}
        since = moment_of(state.get("StartedAt")) or moment_of(inspection.get("Created"))
        return Container(
            name=str(inspection.get("Name") or "").lstrip("/"),
            state=str(state.get("Status") or ""),
            health=health_of(inspection),
            since=iso(since)[:19] + "Z" if since else "",
            restarts=restarts_of(inspection),
            exit_code=int(state.get("ExitCode") or 0),
            image=str(inspection.get("Image") or ""),
            revision=label_of(inspection, REVISION_LABEL),
            outdated=self._outdated(inspection, wanted, image),
            old_folder=self._old_folder(inspection),
        )

    def _old_folder(self, inspection: Mapping[str, Any]) -> str:
        """The adopted folder where it was made from there while a release was active already; empty where it was not."""
        used = label_of(inspection, FILES_LABEL).split(",")
        created = moment_of(inspection.get("Created"))
        later = bool(self.active_since and created and created > self.active_since)
        return (
            str(self._adopted.get("folder") or "") if later and set(used) <= {*self._adopted.get("files", ())} else ""
        )

    def _outdated(self, inspection: Mapping[str, Any], wanted: str, image: str) -> str:
        """How it differs from what the release wants, empty where it does not."""
        has = str(inspection.get("Image") or "")
        if wanted and has != wanted:
            return f"runs image {has[7:19]}, and {image} of this release is {wanted[7:19]}"
        service, has = label_of(inspection, SERVICE_LABEL), label_of(inspection, HASH_LABEL)
        if not image or has == self._hashes.get(service, has):
            return ""
        if makes_the_same(self.state_dir, service, has, self.project["services"][service]):
            return ""
        return "was created from another configuration than this release has"

    def use(self) -> dict[str, tuple[float, int]]:
        """Name of a container → percent of a CPU, and bytes of memory without what could be dropped; takes a second, or two."""
        running = {str(i.get("Name") or "").lstrip("/"): str(i["Id"]) for i in self.inspections if pid_of(i)}
        # All at once: each is waited for, and nothing is done meanwhile.
        with ThreadPoolExecutor(max_workers=CONNECTIONS) as pool:
            report = list(pool.map(self._stats, running.values()))
        return {name: used for name, used in zip(running, report) if used}

    def _stats(self, container_id: str) -> tuple[float, int] | None:
        try:
            before, report = self._two_moments(container_id)
            cpu = report["cpu_stats"]
            worked = cpu["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
            passed = cpu.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
            memory = report["memory_stats"]
            stats = memory.get("stats") or {}
            cached = stats.get("total_inactive_file", stats.get("inactive_file", 0))
            share = 100.0 * worked / passed * cpu.get("online_cpus", 1) if passed > 0 else 0.0
            return round(share, 1), max(0, int(memory.get("usage", 0)) - int(cached))
        except (DockerException, RequestException, KeyError, TypeError, ValueError):
            # It has just ended.
            return None

    def _two_moments(self, container_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a container had used of the processors, and what it has used, and has of memory, a second later."""
        ask = partial(self.engine.api.stats, container_id, stream=False)
        try:
            before = ask(one_shot=True)["cpu_stats"]
        except TypeError:
            # Older than 6, the SDK cannot ask so: the engine waits for two moments of its own.
            report = ask()
            return report["precpu_stats"], report
        time.sleep(_APART)
        return before, ask(one_shot=True)

    # -- what an operation leaves that was killed ---------------------------------------------------------

    def leftovers(self) -> list[str]:
        """Pins, gates, refusals, covers of socket folders, and containers of our own that should be gone."""
        found = []
        unavailable = firewall.unavailable()
        if unavailable and self.inspections:
            self.unseen["gates and refusals"] = unavailable
        for inspection in self._of_services():
            pid, name = pid_of(inspection), str(inspection.get("Name") or "").lstrip("/")
            if not pid:
                continue
            if not unavailable:
                found += self._rules(pid, name)
            definition = (self.project.get("services") or {}).get(label_of(inspection, SERVICE_LABEL)) or {}
            name_of = label_of(inspection, SERVICE_LABEL)
            seen = self._evidence.get(name_of) or Evidence()
            if front_of(definition, seen) == NGINX and self._kind(name_of, definition, [inspection])[0] == PROXY:
                found += self._of_nginx(Nginx(self.engine, inspection), pid)
        made = [entry for label in _OURS for entry in self.engine.brief({label: self.app})]
        return found + [f"container {entry['Names'][0].lstrip('/')} of a check that was ended" for entry in made]

    def _rules(self, pid: int, name: str) -> list[str]:
        try:
            tables = firewall.tables(pid)
        except firewall.FirewallFailed as error:
            self.unseen[f"rules in {name}"] = str(error)
            return []
        return [f"rule in the network of {name}: {what}" for what in tables]

    def _of_nginx(self, nginx: Nginx, pid: int) -> list[str]:
        found = []
        try:
            found += [f"pin in {nginx.name}: {s} to {', '.join(p.addresses)}" for s, p in nginx.pins().items()]
        except (NginxFailed, OSError) as error:
            self.unseen[f"pins in {nginx.name}"] = str(error)
        try:
            with open(os.path.join("/proc", str(pid), "mountinfo"), encoding="utf-8", errors="replace") as stream:
                found += [f"a view of sockets in {nginx.name}: {line.split()[4]}" for line in stream if _COVER in line]
        except OSError:
            pass
        return found
