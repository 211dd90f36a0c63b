# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way of steering fits how an nginx names a service; what fits none is refused, with what to write instead."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...base.host import processes
from ...engine.host.engine import Engine
from ...engine.host.inspection import PROJECT_LABEL, SERVICE_LABEL, label_of, pid_of
from ...engine.host.project import names_of
from ...engine.services import Settings
from ...nginx import twin as twins
from ...nginx.config import UNIX, Route
from ...nginx.host.nginx import HOST
from ...nginx.host.site import ContainerSite, HostSite, SiteFailed
from ...nginx.include import is_managed
from . import firewall, unix_sockets
from .dns_resolver import LONGEST_WAIT, Asking, Both, learning_seconds, reloads
from .hosts_pin import Pinning
from .socket_view import Linking
from .steering import Gates, Steering
from .unix_sockets import SocketFolder
from .upstream_include import AddressFile, Including


@dataclass(frozen=True)
class Front:
    """The nginx before a project: its Compose service or ``nginx.HOST``; ``pin_only`` where nothing else is allowed."""

    engine: Engine
    project: str
    proxy: str
    pin_only: bool = False


@dataclass(frozen=True)
class Strategy:
    """How a service is steered, why so, for how long nginx may go on with what it knew (see ``Wanted``), what is missing.

    ``folder`` is where it listens at a UNIX socket.
    """

    steering: Steering
    why: str
    dns_seconds: float | None = None
    note: str = ""
    folder: SocketFolder | None = None


def way_to(
    name: str, service: Mapping[str, Any], settings: Settings, leading: Sequence[Route], front: Front
) -> Strategy:
    """How nginx is led to the containers of a service, chosen by how it names them.

    :param leading: every route to it, at least one.

    :raises BadInput: it cannot be led without losing requests; the message says what would make it possible.
    """
    missing = firewall.unavailable()
    gates = Gates(sorted(ports_of(leading, settings)), not missing)
    for route in leading:
        if route.how not in ("proxy_pass", "uwsgi_pass"):
            raise BadInput(
                f"{front.proxy} reaches {name} by {route.how}, which this version cannot steer",
                f"write proxy_pass http://{name}:PORT; or uwsgi_pass {name}:PORT; with a plain name",
            )
    if any(r.host.startswith(UNIX) for r in leading):
        return _linking(name, front, settings, leading)
    included = [r for r in leading if is_managed(r.include, front.project, name)]
    if included:
        return _including(name, front, included, leading, gates)
    pinning = Pinning(name, names_of(name, service), gates)
    asked = [r for r in leading if not r.static_name]
    if not asked:
        note = f"{name}: {missing}; other containers that call it by its name may reach a new one before it is proven"
        strategy = "pinned by name: nginx resolves it when it is loaded"
        return Strategy(pinning, strategy, note=note if missing else "")
    if front.pin_only:
        raise BadInput(
            f"proxy_mode: pin, but {front.proxy} resolves {asked[0].host} again while it runs",
            "use proxy_mode: auto",
        )
    if missing:
        raise BadInput(
            f"{front.proxy} resolves {asked[0].host} again while it runs (a variable or resolve); containers have to be "
            f"kept from it by rules in its network namespace, and {missing}",
            f"mend that, or write proxy_pass http://{name}:PORT; with a plain name",
        )
    # The one that learns last decides.
    kept = None if any(r.kept is None for r in asked) else max(r.kept or 0.0 for r in asked)
    avoided, keepalive = max(r.avoided for r in asked), max(r.keepalive for r in asked)
    patience = 86400.0 if settings.drain_policy == "wait" else settings.drain_timeout + settings.stop_timeout + 600.0
    # An upstream block hands on what it has resolved when nginx is loaded again (1.27.3), with what is left of its time.
    if keepalive and reloads(kept):
        raise BadInput(
            f"{front.proxy} goes on with the addresses of {asked[0].host} for "
            f"{f'{kept:g} s' if kept is not None else 'as long as the answer says, 600 s with Docker'}, over a reload too",
            f"write valid=5s (at most {LONGEST_WAIT:g}s) behind the address of its resolver",
        )
    mixed = len(asked) != len(leading)
    # What is pinned is told by a reload, which makes variables be asked for anew too.
    asking = Asking(name, gates, None if mixed and not keepalive else kept, keepalive, patience)
    answer = f"{kept:g} s" if kept is not None else "as long as it says"
    how = f"asked for again by nginx, which keeps an answer for {answer}: kept from it and let in by rules in its network namespace"
    return Strategy(
        Both(pinning, asking) if mixed else asking,
        f"pinned by name in one place, in another {how}" if mixed else how,
        learning_seconds(asking.kept, avoided),
    )


def _including(name: str, front: Front, included: Sequence[Route], leading: Sequence[Route], gates: Gates) -> Strategy:
    dest = included[0].include
    if len(included) != len(leading) or any((r.include, r.port) != (dest, included[0].port) for r in included):
        raise BadInput(
            f"{front.proxy} reaches {name} by {dest} in one place and in another way, or with another port, elsewhere",
            f"use one upstream block with include {dest}; everywhere",
        )
    site = HostSite(dest) if front.proxy == HOST else _container_site(front, dest)
    if not os.access(site.path, os.W_OK):
        raise BadInput(f"{dest} cannot be written to", "run with become: true")
    return Strategy(
        Including(AddressFile(front.project, name, site, included[0].port), gates),
        f"by the addresses in {dest}, which nginx includes",
    )


def _inspection_of(front: Front) -> dict[str, Any]:
    labels = {PROJECT_LABEL: front.project, SERVICE_LABEL: front.proxy}
    return next(i for i in front.engine.containers(labels) if pid_of(i))


def service_at(route: Route, nginx: Mapping[str, Any], containers: Sequence[Mapping[str, Any]]) -> str:
    """Which service listens at the UNIX socket of a route, empty where none can be told.

    :param nginx: inspection of its container; ``containers``: those of the project.
    """
    place = _place_of(route.host[len(UNIX) :], nginx)[0]
    pid = unix_sockets.listener_at(place.path) if place.path else None
    services = {
        label_of(i, SERVICE_LABEL)
        for i in containers
        if pid and pid_of(i) and pid in {p.pid for p in processes.tree(pid_of(i) or 0)}
    }
    if not services and place.source:
        # Nobody listens, or who does may not be seen: then whoever else has the folder, if that is one.
        services = {
            label_of(i, SERVICE_LABEL)
            for i in containers
            if i["Id"] != nginx["Id"] and any(m.get("Source") == place.source for m in i.get("Mounts") or [])
        }
    return services.pop() if len(services) == 1 else ""


def _place_of(seen: str, nginx: Mapping[str, Any]) -> tuple[twins.Place, str]:
    plain = unix_sockets.resolved(pid_of(nginx) or 0, seen)
    return twins.place_of(plain, nginx.get("Mounts") or []), plain


def _linking(name: str, front: Front, settings: Settings, leading: Sequence[Route]) -> Strategy:
    seen = next(r for r in leading if r.host.startswith(UNIX)).host[len(UNIX) :]
    if any(r.host != f"{UNIX}{seen}" for r in leading):
        raise BadInput(
            f"{front.proxy} reaches {name} by the socket {seen} in one place and in another way elsewhere",
            f"use one upstream block with server unix:{seen}; everywhere",
        )
    if settings.replicas > 1:
        raise BadInput(
            f"{name}: {settings.replicas} containers cannot listen at one socket, {seen}: the last one that starts has it",
            "set deploy.replicas to 1 (more workers in it do the same), or let it listen on a port",
        )
    missing = unix_sockets.unavailable()
    if missing:
        raise BadInput(
            f"{front.proxy} reaches {name} by the socket {seen}; it has to be shown another one, and {missing}",
            "mend that, or let it listen on a port",
        )
    place, plain = _place_of(seen, _inspection_of(front))
    if place.kind not in (twins.FOLDER, twins.VOLUME):
        raise BadInput(
            f"{front.proxy} reaches {name} by the socket {seen}, whose folder is not mounted into it",
            f"mount a folder or a volume at {os.path.dirname(seen)} in both, not the socket alone",
        )
    folder = SocketFolder(name, plain, place.path, place.source)
    strangers = folder.strangers()
    if strangers:
        raise BadInput(
            f"the folder of the socket {seen} holds other things too: {', '.join(strangers[:5])}; {front.proxy} would not "
            f"see them during the roll",
            "give each socket a folder of its own",
        )
    return Strategy(
        Linking(folder, any(r.keepalive for r in leading)),
        f"by the socket {seen}: {front.proxy} is shown a folder of links to it while it changes over",
        folder=folder,
    )


def _container_site(front: Front, dest: str) -> ContainerSite:
    inspection = _inspection_of(front)
    site = ContainerSite(front.engine, inspection, dest, front.project)
    try:
        site.refuse_to_install()
    except SiteFailed as error:
        raise BadInput(str(error), error.advice) from error
    return site


def ports_of(leading: Sequence[Route], settings: Settings) -> frozenset[int]:
    """Every port of a service's containers that somebody may be connected to."""
    return frozenset({r.port for r in leading} | {settings.ready_port}) - {0}
