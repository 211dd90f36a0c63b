# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way of steering fits how an nginx names a service; what fits none is refused, with what to write instead."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...base.errors import BadInput
from ...base.host import processes
from ...engine.host.engine import Engine
from ...engine.host.inspection import PROJECT_LABEL, SERVICE_LABEL, health_of, label_of, networks_of, pid_of
from ...engine.host.project import names_of
from ...engine.services import Settings
from ...nginx import twin as twins
from ...nginx.config import UNIX, Route, request_headers
from ...nginx.host.nginx import HOST
from ...nginx.host.site import ContainerSite, HostSite, SiteFailed
from ...nginx.include import is_managed
from ..traefik_labels import BY_FILES, BY_LABELS, THROTTLE, health_check_of
from . import firewall, unix_sockets
from .dns_resolver import LONGEST_WAIT, Asking, Both, learning_seconds, reloads
from .health_state import ByHealth
from .hosts_pin import Pinning
from .probing import ends_connections
from .socket_view import Linking
from .steering import Gates, Steering
from .unix_sockets import SocketFolder
from .upstream_include import AddressFile, Including

#: Routes of proxies that ask for a name at each connection.
_AT_EACH = ("reverse_proxy", BY_FILES)


@dataclass(frozen=True)
class Front:
    """The nginx before a project: its Compose service or ``nginx.HOST``; ``pin_only`` where nothing else is allowed.

    ``lasting`` is for how many seconds at least an old container is kept from it, which goes on running.
    """

    engine: Engine
    project: str
    proxy: str
    pin_only: bool = False
    lasting: float = 0.0


@dataclass(frozen=True)
class Strategy:
    """How a service is steered, why so, for how long nginx may go on with what it knew (see ``Wanted``), what is missing.

    ``folder`` is where it listens at a UNIX socket.

    :ivar lingers: seconds for which the proxy goes on to use connections to one that leaves, before it lets go of it.
    :ivar settings: those of the service where it is asked in another way than it says.
    :ivar alone: why one container alone can be led to, and no two be kept ready; empty where they can.
    :ivar weighs: whether some can get more of the requests than others.
    """

    steering: Steering
    why: str
    dns_seconds: float | None = None
    note: str = ""
    folder: SocketFolder | None = None
    lingers: float = 0.0
    settings: Settings | None = None
    alone: str = ""
    weighs: bool = False


def patience_of(settings: Settings, lasting: float = 0.0) -> float:
    """For how many seconds an old container is kept from a proxy: longer than it drains, and than it is wanted."""
    drained = 86400.0 if settings.drain_policy == "wait" else settings.drain_timeout + settings.stop_timeout + 600.0
    return max(drained, lasting)


def way_to(
    name: str,
    service: Mapping[str, Any],
    settings: Settings,
    leading: Sequence[Route],
    front: Front,
    image: Mapping[str, Any],
) -> Strategy:
    """How a proxy is led to the containers of a service, chosen by how it names them.

    :param leading: every route to it, at least one.
    :param image: the configuration of its image.

    :raises BadInput: it cannot be led without losing requests; the message says what would make it possible.
    """
    missing = firewall.unavailable()
    if leading[0].how == BY_LABELS:
        return _by_health(name, service, settings, leading, front, image)
    gates = Gates(sorted(ports_of(leading, settings)), not missing, front.lasting)
    if leading[0].how == BY_FILES and leading[0].keepalive:
        leading = _without_kept(name, settings, leading, front)
    for route in leading:
        if route.how not in ("proxy_pass", "uwsgi_pass", *_AT_EACH):
            raise BadInput(
                f"{front.proxy} reaches {name} by {route.how}, which this version cannot steer",
                f"write proxy_pass http://{name}:PORT; or uwsgi_pass {name}:PORT; with a plain name (in Caddy: reverse_proxy "
                f"{name}:PORT)",
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
        return Strategy(pinning, strategy, note=note if missing else "", weighs=True)
    if front.pin_only:
        raise BadInput(
            f"proxy_mode: pin, but {front.proxy} resolves {asked[0].host} again while it runs",
            "use proxy_mode: auto",
        )
    if missing:
        nginx = asked[0].how not in _AT_EACH
        raise BadInput(
            f"{front.proxy} resolves {asked[0].host} again while it runs{' (a variable or resolve)' if nginx else ''}; containers "
            f"have to be kept from it by rules in its network namespace, and {missing}",
            f"mend that{f', or write proxy_pass http://{name}:PORT; with a plain name' if nginx else ''}",
        )
    # The one that learns last decides.
    kept = None if any(r.kept is None for r in asked) else max(r.kept or 0.0 for r in asked)
    avoided, keepalive = max(r.avoided for r in asked), max(r.keepalive for r in asked)
    patience = patience_of(settings, front.lasting)
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
    each_time = asked[0].how in _AT_EACH
    asks = (
        f"by {front.proxy} at each connection" if each_time else f"again by nginx, which keeps an answer for {answer}"
    )
    how = f"asked for {asks}: kept from it and let in by rules in its network namespace"
    return Strategy(
        Both(pinning, asking) if mixed else asking,
        f"pinned by name in one place, in another {how}" if mixed else how,
        learning_seconds(asking.kept, avoided),
    )


def _by_health(
    name: str,
    service: Mapping[str, Any],
    settings: Settings,
    leading: Sequence[Route],
    front: Front,
    image: Mapping[str, Any],
) -> Strategy:
    own, inherited = service.get("healthcheck") or {}, image.get("Healthcheck") or {}
    check = health_check_of(own, inherited, settings.ready_command)
    if check is None:
        has = "a health check that does not ask http://localhost" if settings.ready_command else "no health check"
        raise BadInput(
            f"{name}: {front.proxy} (Traefik) sends requests to a container as soon as it starts, and it has {has}, by which it "
            f"could be kept from that until it is proven",
            f"give {name} a healthcheck in the Compose file, such as test: [CMD, curl, -fsS, http://localhost:PORT/health/], "
            f"interval: 2s, retries: 2 (without curl: python -c with urllib.request); that is all it takes",
        )
    missing = firewall.unavailable()
    if missing:
        raise BadInput(
            f"{name}: {front.proxy} (Traefik) sends requests to whatever is healthy; a new container has to be kept from that by "
            f"rules in its network namespace, and {missing}",
            "mend that",
        )
    patience = patience_of(settings, front.lasting)
    ports = sorted({check.port, *ports_of(leading, settings)})
    running = front.engine.containers({PROJECT_LABEL: front.project, SERVICE_LABEL: name})
    bare = [i for i in running if pid_of(i) and not health_of(i)]
    note = (
        f"{name}: what runs now has no health check, so {front.proxy} goes on with connections that it keeps to it until it has "
        f"ended: this once, a request on one of them may fail"
    )
    return Strategy(
        ByHealth(name, Gates(ports, True, front.lasting), patience),
        f"by its health check: {front.proxy} (Traefik) sends to what is healthy; a health check is refused until a container is "
        f"proven (at most {check.up:g} s more), and to one that leaves (at most {check.down:g} s)",
        check.up,
        note if bare else "",
        None,
        check.down + THROTTLE,
        # Its own command is what is refused to it: this host asks the same from outside.
        replace(settings, ready_path=settings.ready_path or check.path, ready_port=settings.ready_port or check.port,
                ready_command=()),
    )  # fmt: skip


def _without_kept(name: str, settings: Settings, leading: Sequence[Route], front: Front) -> Sequence[Route]:
    """The same routes, where the app ends each connection after its answer, so that a Traefik has none to keep.

    :raises BadInput: it goes on with them, and Traefik would use them until the old container ends.
    """
    running = front.engine.containers({PROJECT_LABEL: front.project, SERVICE_LABEL: name})
    addresses = [a for i in running if pid_of(i) for a in sorted(networks_of(i).values())[:1]]
    port, headers = settings.ready_port or leading[0].port, request_headers(leading[0])
    if all(ends_connections(a, port, settings.ready_path or "/", headers) for a in addresses):
        return [replace(route, keepalive=0) for route in leading]
    raise BadInput(
        f"{name}: {front.proxy} (Traefik) keeps connections to it open and goes on to use them until the old container ends: the "
        f"request that is on its way then would fail",
        "add --serversTransport.maxIdleConnsPerHost=-1 to Traefik's command (in its file: serversTransport: {maxIdleConnsPerHost: "
        "-1}), or let the app end each connection (gunicorn: its sync worker does, others with --keep-alive 0)",
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
        weighs=True,
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
        alone=f"it is reached by the socket {seen}, at which one alone listens",
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
