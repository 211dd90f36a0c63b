# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nginx is in front of a project, and by which ways it leads to a service."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..decide.nginx_config import UNIX, Route, routes
from ..decide.nginx_include import is_managed
from ..decide.nginx_syntax import UnreadableConfig, load
from ..decide.services import PROXY, chosen_kind
from .call_result import BadInput
from .engine import Engine
from .inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, pid_of
from .nginx import HOST, HostNginx, Nginx, NginxFailed
from .project import names_of
from .ways import service_at


def proxy_of(
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
        return routes(load(nginx.described()))
    except UnreadableConfig as error:
        raise BadInput(
            f"the configuration of {nginx.name} cannot be read safely: {error}",
            "change that line, or set proxy_mode: none if this service is not behind it",
        ) from error
    except NginxFailed as error:
        raise BadInput(str(error), f"docker exec {nginx.name} nginx -t") from error


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
