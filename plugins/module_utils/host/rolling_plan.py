# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything a roll has to know before it starts, found out without touching anything."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..decide import preflight, published_ports
from ..decide.nginx_config import UNIX, Route, routes
from ..decide.nginx_include import FOLDER, is_managed
from ..decide.nginx_syntax import UnreadableConfig, load
from ..decide.services import PROXY, ROLLED_KINDS, BadService, chosen_kind, longest_gap_note, objections, settings_of
from ..decide.stack import STOP_FIRST, WEB, Policy, Stack, view_of
from . import generations, processes
from .call_result import BadInput
from .compose import Compose, ComposeFailed
from .engine import Engine, label_of, pid_of
from .machine import HASH_LABEL, ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, ComposeMachine
from .nginx import HOST, HostNginx, Nginx, NginxFailed
from .project import compose_of, connect, image_name, names_of, state_dir_of
from .targets import Target, main_route
from .ways import Front, service_at, way_to


@dataclass
class Call:
    """Everything one call has found out before it starts.

    ``problems`` are why a service cannot change hands here: they matter only where it has to.
    """

    compose: Compose
    engine: Engine
    project: dict[str, Any]
    hashes: dict[str, str]
    targets: list[Target]
    proxy_name: str
    state_dir: str
    allow_downtime: bool
    together: bool = True
    newer_than: float = 0.0
    kinds: dict[str, str] = field(default_factory=dict)
    ways: dict[str, str] = field(default_factory=dict)
    unheard: tuple[str, ...] = ()
    problems: dict[str, BadInput] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.project["name"])

    def policy(self) -> Policy:
        action = "pause" if any(t.settings.failure_action == "pause" for t in self.targets) else "rollback"
        return Policy(tuple(t.wanted for t in self.targets), action, self.together)


def prepare(params: Mapping[str, Any]) -> Call:
    """Find out all that a roll needs, touching nothing.

    :param params: the module's arguments.
    :raises BadInput: anything that would make the roll fail or lose a request.
    """
    compose = compose_of(params)
    engine = connect(compose.project_src)
    try:
        project = compose.resolved()
        compose = Compose(compose.project_src, compose.files, compose.env_files, compose.profiles, str(project["name"]))
        hashes = compose.hashes(project)
    except ComposeFailed as error:
        raise BadInput(
            f"the Compose project in {compose.project_src} is not valid: {error}", "docker compose config shows it"
        ) from error
    services = project.get("services") or {}
    images = {n: engine.image(image_name(project, n)) for n in services}
    asked = list(params.get("services") or [])
    for name in [*asked, *(params.get("service_options") or {})]:
        if name not in services:
            raise BadInput(f"there is no service {name} in the project; it has {', '.join(sorted(services))}")
    options = params.get("service_options") or {}
    configs = {n: images[n].get("Config") or {} for n in services}
    try:
        proxy_name, every, listeners = _proxy_of(engine, project, configs, params)
        found = {n: _routes_to(str(project["name"]), n, s, every, listeners) for n, s in services.items()}
        kinds = {n: chosen_kind(n, s, configs[n], options.get(n) or {}, len(found[n])) for n, s in services.items()}
    except BadService as error:
        raise BadInput(str(error)) from error
    names = asked or [n for n, s in services.items() if kinds[n] in ROLLED_KINDS and not _is_off(s)]
    call = Call(
        compose,
        engine,
        project,
        hashes,
        [],
        proxy_name,
        state_dir_of(params, str(project["name"])),
        bool(params.get("allow_downtime")),
        kinds=kinds,
    )
    call.unheard = tuple(host[len(UNIX) :] for host, service in listeners.items() if not service)
    call.newer_than = generations.moment_of(call.state_dir, str(params.get("generation") or ""))
    try:
        call.targets = _in_order([_target(n, call, images[n], params, found[n]) for n in names])
    except BadService as error:
        raise BadInput(str(error)) from error
    _refuse_what_cannot_be(call, images, params)
    call.notes += _differing_others(call, images)
    return call


def _differing_others(call: Call, images: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Services outside this call that a plain ``docker compose up -d`` would recreate."""
    rolled = {t.settings.name for t in call.targets}
    found = {}
    for inspection in call.engine.containers({PROJECT_LABEL: call.name, ONE_OFF_LABEL: "False"}):
        name = label_of(inspection, SERVICE_LABEL)
        image = str((images.get(name) or {}).get("Id") or inspection["Image"])
        same = label_of(inspection, HASH_LABEL) == call.hashes.get(name) and inspection["Image"] == image
        if name in call.hashes and name not in rolled and not same:
            found[name] = (
                f"{name}: runs with another definition than this project has; a plain docker compose up -d recreates it"
            )
    return sorted(found.values())


def _is_off(service: Mapping[str, Any]) -> bool:
    return 0 in ((service.get("deploy") or {}).get("replicas"), service.get("scale"))


def _proxy_of(
    engine: Engine, project: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]], params: Mapping[str, Any]
) -> tuple[str, tuple[Route, ...], dict[str, str]]:
    """The service that is the running nginx, every route of its configuration, and who listens at each UNIX socket."""
    if params.get("proxy_mode") == "none":
        return "", (), {}
    services = project["services"]
    name = str(params.get("proxy_service") or "")
    if name and name not in services:
        raise BadInput(f"proxy_service: there is no service {name}; the project has {', '.join(sorted(services))}")
    options = params.get("service_options") or {}
    candidates = (
        [name]
        if name
        else [n for n, s in services.items() if chosen_kind(n, s, configs[n], options.get(n) or {}) == PROXY]
    )
    for candidate in candidates:
        for inspection in engine.containers({PROJECT_LABEL: str(project["name"]), SERVICE_LABEL: candidate}):
            if pid_of(inspection):
                every = _routes_of(Nginx(engine, inspection))
                running = engine.containers({PROJECT_LABEL: str(project["name"]), ONE_OFF_LABEL: "False"})
                sockets = [r for r in every if r.host.startswith(UNIX)]
                return candidate, every, {r.host: service_at(r, inspection, running) for r in sockets}
    return ("", (), {}) if name else (*_host_proxy(str(project["name"]), services), {})


def _host_proxy(project: str, services: Iterable[str]) -> tuple[str, tuple[Route, ...]]:
    """This host's own nginx, where it includes a file for one of the services."""
    try:
        master = HostNginx()
        every = routes(load(master.dump()))
    except (NginxFailed, UnreadableConfig):
        # It may be another's, and have nothing to do with this project.
        return "", ()
    mine = any(is_managed(r.include, project, service) for r in every for service in services)
    return (HOST, every) if mine else ("", ())


def _routes_of(nginx: Nginx) -> tuple[Route, ...]:
    try:
        return routes(load(nginx.dump()))
    except UnreadableConfig as error:
        raise BadInput(
            f"the configuration of {nginx.name} cannot be read safely: {error}",
            "change that line, or set proxy_mode: none if this service is not behind it",
        ) from error
    except NginxFailed as error:
        raise BadInput(str(error), f"docker exec {nginx.name} nginx -t") from error


def _routes_to(
    project: str, name: str, service: Mapping[str, Any], every: Sequence[Route], listeners: Mapping[str, str]
) -> tuple[Route, ...]:
    """The routes that lead to a service: by its name or an alias, a variable that holds it, a file of ours, its socket."""
    known = names_of(name, service)
    return tuple(
        r
        for r in every
        if r.host in known
        or listeners.get(r.host) == name
        or is_managed(r.include, project, name)
        or (not r.static_name and re.search(rf"\b{re.escape(name)}\b", r.host))
    )


def _target(
    name: str, call: Call, image: Mapping[str, Any], params: Mapping[str, Any], leading: tuple[Route, ...]
) -> Target:
    service = call.project["services"][name]
    first = main_route(leading)
    settings = settings_of(
        name,
        service,
        image.get("Config") or {},
        params,
        (params.get("service_options") or {}).get(name) or {},
        first.port if first else 0,
        proxied=bool(leading),
    )
    if settings.kind not in ROLLED_KINDS:
        raise BadService(
            f"{name} is a {settings.kind}, which is not replaced by this module; set kind under service_options if that is "
            f"wrong, or leave it out of services"
        )
    # Only who comes through nginx can be led to a stand-in.
    ports = published_ports.published(service) if leading and settings.order != STOP_FIRST else []
    if ports:
        call.notes.append(published_ports.note(name, ports))
    front = Front(call.engine, call.name, call.proxy_name, params.get("proxy_mode") == "pin")
    way = None
    try:
        way = way_to(name, service, settings, leading, front) if leading else None
    except BadInput as error:
        call.problems[name] = error
    if way:
        call.ways[name] = way.why
        call.notes += [way.note] if way.note else []
    return Target(
        settings,
        str(image.get("Id") or ""),
        call.hashes.get(name, ""),
        leading,
        way.steering if way else None,
        call.newer_than,
        way.learn_seconds if way else None,
        way.folder if way else None,
        call.compose.hashes(published_ports.without_ports(call.project, [name]))[name] if ports else "",
    )


def _in_order(targets: Sequence[Target]) -> list[Target]:
    """Forward order: new workers know old tasks, so they come before the web that sends new ones."""
    ranks = {"worker": 0, "scheduler": 1, "web": 2}
    return sorted(targets, key=lambda t: ranks[t.settings.kind])


def _refuse_what_cannot_be(call: Call, images: Mapping[str, Mapping[str, Any]], params: Mapping[str, Any]) -> None:
    running = call.engine.containers({PROJECT_LABEL: call.name})
    for target in call.targets:
        settings, name = target.settings, target.settings.name
        if not target.image:
            raise BadInput(
                f"{name}: the image {image_name(call.project, name)} is not on this host", "build or pull it first"
            )
        service = call.project["services"][name]
        complaints = objections(name, service, settings, images[name].get("Config") or {})
        serving = [i for i in running if label_of(i, SERVICE_LABEL) == name and pid_of(i)]
        if serving and settings.order != STOP_FIRST:
            ports = published_ports.published(service)
            steered = target.route is not None
            problem = published_ports.objection(name, ports, settings.replicas, steered, call.allow_downtime)
            if problem:
                call.problems.setdefault(name, BadInput(problem))
        if complaints:
            raise BadInput(complaints[0])
        if settings.kind != WEB:
            continue
        if serving and target.route is None and params.get("proxy_mode") != "none":
            where = (
                f"{call.proxy_name} has no proxy_pass to {name}"
                + (f" (it cannot be told who listens at {', '.join(call.unheard)})" if call.unheard else "")
                if call.proxy_name
                else "no running nginx was found in the project"
            )
            raise BadInput(
                f"{name}: {where}, so requests could not be moved to the new container",
                "name it with proxy_service, or set proxy_mode: none if nobody reaches it through nginx; an nginx of this "
                f"host has to write include /etc/nginx/{FOLDER}/{call.name}-{name}.conf; in its upstream block, and in that "
                "file server 127.0.0.1:PORT; with the container's port",
            )
        if settings.order == STOP_FIRST and serving and not call.allow_downtime:
            raise BadInput(
                f"{name}: order stop-first takes the old one away before the new one is ready: a gap of its boot time",
                "use order: start-first, or allow it with allow_downtime: true",
            )
        note = longest_gap_note(settings)
        if note:
            call.notes.append(note)


def refuse_what_cannot_change_hands(call: Call, stack: Stack) -> None:
    """Look whether each service that has to be replaced can be.

    What is as wanted may be so behind any nginx: a first deployment has nothing to lead from one to the other.

    :raises BadInput: one cannot.
    """
    for target in call.targets:
        problem = call.problems.get(target.settings.name)
        if problem and view_of(stack, target.wanted).changing:
            raise problem


def _room(engine: Engine) -> preflight.Room:
    total, available = processes.memory_of_machine()
    root = str(engine.info().get("DockerRootDir") or "/")
    while not os.path.isdir(root):
        root = os.path.dirname(root)
    disk = os.statvfs(root)
    return preflight.Room(total, available, disk.f_bavail * disk.f_frsize, disk.f_favail, root)


def refuse_without_room(call: Call, machine: ComposeMachine, stack: Stack) -> None:
    """Look whether all fits beside what runs, else whether each service alone does.

    :raises BadInput: not even that.
    """
    extras = []
    for target in call.targets:
        view = view_of(stack, target.wanted)
        count = 0 if target.settings.order == STOP_FIRST else view.missing
        used = machine.memory_used(target.settings.name)
        extras.append(
            preflight.Extra(target.settings.name, count, used, target.settings.reservation, target.settings.limit)
        )
    if any(e.count for e in extras) or any(e.reserved for e in extras):
        room = _room(call.engine)
        missing = preflight.shortages(room, extras)
        alone = [s for e in extras for s in preflight.shortages(room, [e])]
        if missing and alone:
            raise BadInput(f"there is no room for this: {alone[0]}")
        if missing:
            call.together = False
            call.notes.append("memory is short: one service after the other is replaced, and not all at once")
