# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which proxy is in front of a project, and by which ways it leads to a service."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...base.errors import BadInput
from ...engine.host.engine import Engine
from ...engine.host.inspection import PROJECT_LABEL, SERVICE_LABEL, label_of, pid_of
from ...engine.host.project import names_of
from ...engine.kinds import Evidence, judge
from ...engine.programs import CADDY, NGINX, PROXY, TRAEFIK, WEB
from ...engine.services import chosen_kind
from ...nginx.config import UNIX, Route, routes
from ...nginx.host.nginx import HOST, HostNginx, Master, Nginx, NginxFailed
from ...nginx.include import is_managed
from ...nginx.syntax import UnreadableConfig, load
from ..caddy_config import UnreadableCaddy
from ..port_rules import lasting
from ..traefik_labels import file_routes, is_enabled, label_routes
from ..unroutable import Around
from .caddy import Caddy
from .strategies import service_at
from .traefik import Traefik, traefiks


@dataclass(frozen=True)
class Proxied:
    """The proxy that leads to a project: an nginx, a Caddy, or a Traefik that goes by labels.

    :ivar name: its service, its container where it is another project's, ``nginx.HOST``, or empty where there is none.
    :ivar routes: every route of its configuration; ``listeners``: who listens at each UNIX socket of them.
    :ivar beside: service → the container of another one that leads to it too.
    :ivar strangers: service → what it is, of proxies that cannot be led; ``down``: service → the state of its container, of
        those that do not run.
    """

    name: str = ""
    routes: tuple[Route, ...] = ()
    listeners: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)
    strangers: Mapping[str, str] = field(default_factory=dict)
    down: Mapping[str, str] = field(default_factory=dict)

    def around(self, project: str) -> Around:
        """What is known of the proxies around a project."""
        unheard = [host[len(UNIX) :] for host, service in self.listeners.items() if not service]
        return Around(project, self.name, self.beside, self.strangers, self.down, unheard)


def proxy_of(
    engine: Engine,
    project: Mapping[str, Any],
    there: Sequence[Mapping[str, Any]],
    evidence: Mapping[str, Evidence],
    options: Mapping[str, Any],
    named: str = "",
) -> Proxied:
    """Find the proxy that a roll is to lead: of several the one that leads to most services.

    :param there: inspections of the project's containers, without one-off ones.
    :param options: ``service_options``.
    :param named: the service that is the one to lead (``proxy_service``).
    :raises BadInput: ``proxy_service`` is no service, or what a proxy leads to cannot be told.
    """
    services, project_name = project["services"], str(project["name"])
    if named and named not in services:
        raise BadInput(f"proxy_service: there is no service {named}; the project has {', '.join(sorted(services))}")
    kinds = {n: chosen_kind(n, s, evidence[n], options.get(n) or {}) for n, s in services.items()}
    fronts = {n: front_of(services[n], evidence[n]) for n in services}
    by_labels = [n for n, kind in kinds.items() if kind == PROXY and fronts[n] == TRAEFIK]
    proxies = [n for n, kind in kinds.items() if n not in by_labels and (n == named or (kind == PROXY and fronts[n]))]
    found: list[tuple[str, Proxied]] = []
    down: dict[str, str] = {}
    for service in proxies:
        mine = [i for i in there if label_of(i, SERVICE_LABEL) == service]
        if mine and not any(pid_of(i) for i in mine):
            down[service] = _status_of(mine[0])
        for inspection in lasting(services[service], [i for i in mine if pid_of(i)]):
            try:
                every = _routes_of(engine, inspection, service, fronts[service])
            except NginxFailed as error:
                now = engine.inspect(str(inspection["Id"]))
                if pid_of(now):
                    hint = "" if fronts[service] == CADDY else f"docker exec {_name_of(inspection)} nginx -t"
                    raise BadInput(str(error), hint) from error
                down[service] = _status_of(now)
                continue
            sockets = [r for r in every if r.host.startswith(UNIX)]
            listeners = {r.host: service_at(r, inspection, there) for r in sockets}
            found.append((_name_of(inspection), Proxied(service, every, listeners)))
    if not named:
        found += [(HOST, own) for own in [_host_proxy(project_name, services)] if own.name]
    labelled = any(_labels(s, "traefik.") for s in services.values())
    for traefik, its in traefiks(engine, there, labelled) if labelled or by_labels else ():
        service = label_of(its, SERVICE_LABEL) if label_of(its, PROJECT_LABEL) == project_name else traefik.name
        every = _by_labels(traefik, services, kinds)
        found += [(traefik.name, Proxied(service, every))] if every else []
    rest = {n: s for n, s in services.items() if n not in (*proxies, *by_labels)}
    routed = {
        container: {n for n, s in rest.items() if routes_to(project_name, n, s, one.routes, one.listeners)}
        for container, one in found
    }
    leaders = [(container, one) for container, one in found if not named or one.name == named]
    strangers = {
        n: judge(services[n], evidence[n]).because.removeprefix("image ")
        for n, kind in kinds.items()
        if kind == PROXY and n not in proxies and n not in {one.name for _container, one in found}
    }
    if not leaders:
        return Proxied(strangers=strangers, down=down)
    chosen, leader = max(leaders, key=lambda pair: len(routed[pair[0]]))
    beside = {n: container for container, _one in found if container != chosen for n in sorted(routed[container])}
    return replace(leader, beside=beside, strangers=strangers, down=down)


def front_of(service: Mapping[str, Any], evidence: Evidence) -> str:
    """Which proxy one is that can be led, empty for none; an nginx where somebody wrote that it is one of ours to lead."""
    written = NGINX if (service.get("x-evenkeel") or {}).get("kind") == PROXY else ""
    return judge(service, evidence).front or written


def master_of(engine: Engine, inspection: Mapping[str, Any]) -> Master | None:
    """The proxy that runs in a container, None where none does."""
    known: tuple[Master, ...] = (Nginx(engine, inspection), Caddy(inspection), Traefik(inspection))
    return next((master for master in known if master.workers()), None)


def _name_of(inspection: Mapping[str, Any]) -> str:
    return str(inspection["Name"]).lstrip("/")


def _routes_of(engine: Engine, inspection: Mapping[str, Any], service: str, front: str) -> tuple[Route, ...]:
    if front != CADDY:
        return routes_of(Nginx(engine, inspection), service)
    try:
        return Caddy(inspection).routes()
    except UnreadableCaddy as error:
        raise BadInput(f"{service}: {error}", error.advice) from error


def _labels(service: Mapping[str, Any], start: str) -> dict[str, str]:
    given = service.get("labels") or {}
    return {str(k): str(v) for k, v in given.items() if str(k).lower().startswith(start)}


def _by_labels(traefik: Traefik, services: Mapping[str, Any], kinds: Mapping[str, str]) -> tuple[Route, ...]:
    """The ways of a Traefik that finds containers by their labels, and those that its files have."""
    provider = traefik.provider()
    written = file_routes(traefik.written(provider.files), traefik.listening, provider.keeps)
    if not provider.docker:
        return written
    led = {
        n: labels
        for n, s in services.items()
        if ((labels := _labels(s, "traefik.")) or kinds[n] == WEB) and is_enabled(labels, provider.exposed)
    }
    labelled = (r for n, labels in led.items() if kinds[n] != PROXY for r in label_routes(n, labels, traefik.listening))
    return (*labelled, *written)


def _host_proxy(project: str, services: Iterable[str]) -> Proxied:
    """This host's own nginx, where it includes a file for one of the services."""
    try:
        master = HostNginx()
        every = routes(load(master.dump()))
    except (NginxFailed, UnreadableConfig):
        # It may be another's, and have nothing to do with this project.
        return Proxied()
    mine = any(is_managed(r.include, project, service) for r in every for service in services)
    return Proxied(HOST, every) if mine else Proxied()


def routes_of(nginx: Nginx, service: str) -> tuple[Route, ...]:
    """Every route of the nginx of a service.

    :raises BadInput: its configuration cannot be read safely; ``NginxFailed``: not at all.
    """
    try:
        return routes(load(nginx.described()))
    except UnreadableConfig as error:
        raise BadInput(
            f"the configuration of {nginx.name} cannot be read safely: {error}",
            f"change that line, or write x-evenkeel: {{kind: other}} beside {service} if it leads to none of these services",
        ) from error


def _status_of(inspection: Mapping[str, Any]) -> str:
    return str((inspection.get("State") or {}).get("Status") or "gone")


def routes_to(
    project: str, name: str, service: Mapping[str, Any], every: Sequence[Route], listeners: Mapping[str, str]
) -> tuple[Route, ...]:
    """The routes that lead to a service: by its name or an alias, a variable that may hold it, a file of ours, its socket."""
    known = names_of(name, service)
    return tuple(
        r
        for r in every
        if r.host in known
        # The engine knows a name with that of its network behind it too.
        or (not r.static_name and r.host.partition(f".{project}_")[0] in known)
        or listeners.get(r.host) == name
        or is_managed(r.include, project, name)
        # Of a variable that nothing in the configuration sets there is only what is written.
        or ("$" in r.host and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", r.host))
    )
