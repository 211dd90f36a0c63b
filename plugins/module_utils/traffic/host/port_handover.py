# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steering by published ports: who has no proxy before it, nginx itself included, is reached by a port of this host.

Only one container can publish it. A surge container that publishes nothing to the outside stands in: new connections are led to
it while the port changes hands.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from ...base.host import processes
from ...engine.host.engine import Engine
from ...nginx.host.nginx import Master, Nginx, NginxFailed
from ..port_rules import Door, StandIn, Way
from . import firewall
from .steering import Endpoint, Route, Steering, Unused

#: Of a network of a container in ``docker inspect``: its address, the length of its subnet's prefix, its gateway.
_FOUR = ("IPAddress", "IPPrefixLen", "Gateway")
_SIX = ("GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPv6Gateway")


class HandedPorts:
    """See the module's text.

    :param key: the service, with its project.
    :param seconds: after which what leads to a surge container ends by itself.
    """

    gate = ""

    def __init__(self, engine: Engine, key: str, doors: Sequence[Door], seconds: float) -> None:
        self._engine = engine
        self._key = key
        self._doors = tuple(doors)
        self._seconds = seconds

    def look(self, nginx: Master, endpoints: Sequence[Endpoint], loaded: float) -> Route:
        """See the protocol."""
        held, address = firewall.led_to(self._key)
        if address:
            inside = frozenset(e.id for e in endpoints if address in e.addresses)
            return Route(inside, held, not inside)
        return Route(frozenset(e.id for e in endpoints if self._publishes(e)), held)

    def _publishes(self, endpoint: Endpoint) -> bool:
        """Whether a container has all of the ports now."""
        ports = (endpoint.inspection.get("NetworkSettings") or {}).get("Ports") or {}
        bound = {str(b.get("HostPort")) for bindings in ports.values() for b in bindings or ()}
        return {str(d.port) for d in self._doors} <= bound

    def hold(self, nginx: Master, addresses: Sequence[str], unused: Unused) -> None:
        """The port is where it is, whatever starts."""

    def started(self, nginx: Master) -> None:
        """Nothing was held."""

    def isolate(self, nginx: Master, endpoints: Sequence[Endpoint], ended: Sequence[str] = ()) -> None:
        """Nobody is led to a container before it is let in."""

    def rotate(self, nginx: Master, endpoints: Sequence[Endpoint], addresses: Sequence[str]) -> None:
        """See the protocol."""
        coming = [e for e in endpoints if e.address in addresses]
        if any(self._publishes(e) for e in coming) or not coming:
            firewall.lead_none_new(self._key)
        else:
            firewall.lead(self._key, self._doors, _stand_in(coming[0]), self._bridged(), self._seconds)
        for endpoint in endpoints:
            if endpoint not in coming:
                self._end_idle(endpoint)

    def _end_idle(self, endpoint: Endpoint) -> None:
        """Have nginx close the connections that are kept, since whoever keeps one goes on with it: loaded again it does."""
        nginx = Nginx(self._engine, endpoint.inspection)
        # What it cannot load any more, it goes on with; its connections have their time to end.
        with contextlib.suppress(NginxFailed):
            if nginx.workers():
                nginx.reload()

    def _bridged(self) -> list[str]:
        networks = [n for n in self._engine.networks().values() if n.get("Driver") == "bridge"]
        subnets = (str(c.get("Subnet") or "") for n in networks for c in (n.get("IPAM") or {}).get("Config") or [])
        return [s for s in subnets if s]

    def await_dns(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """Nothing is kept here."""

    def unpin(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """See the protocol."""
        firewall.lead_no_more(self._key)


class BesideNginx:
    """A service that nginx leads to and that publishes a port besides: both lead to the same container."""

    def __init__(self, led: Steering, doors: HandedPorts) -> None:
        self._led = led
        self._doors = doors

    @property
    def gate(self) -> str:
        """See the protocol."""
        return self._led.gate

    def look(self, nginx: Master, endpoints: Sequence[Endpoint], loaded: float) -> Route:
        """See the protocol."""
        led, knocked = self._led.look(nginx, endpoints, loaded), self._doors.look(nginx, endpoints, loaded)
        inside = led.inside & knocked.inside
        return Route(inside, led.held or knocked.held, led.stale or knocked.stale, led.cooling)

    def hold(self, nginx: Master, addresses: Sequence[str], unused: Unused) -> None:
        """See the protocol."""
        self._led.hold(nginx, addresses, unused)

    def started(self, nginx: Master) -> None:
        """See the protocol."""
        self._led.started(nginx)

    def isolate(self, nginx: Master, endpoints: Sequence[Endpoint], ended: Sequence[str] = ()) -> None:
        """See the protocol."""
        self._led.isolate(nginx, endpoints, ended)

    def rotate(self, nginx: Master, endpoints: Sequence[Endpoint], addresses: Sequence[str]) -> None:
        """See the protocol."""
        self._led.rotate(nginx, endpoints, addresses)
        self._doors.rotate(nginx, endpoints, addresses)

    def await_dns(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """See the protocol."""
        self._led.await_dns(nginx, endpoints)

    def unpin(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """See the protocol."""
        self._doors.unpin(nginx, endpoints)
        self._led.unpin(nginx, endpoints)


def _stand_in(endpoint: Endpoint) -> StandIn:
    return StandIn(_way(endpoint, _FOUR), _way(endpoint, _SIX))


def _way(endpoint: Endpoint, keys: tuple[str, str, str]) -> Way:
    settings: Mapping[str, Any] = endpoint.inspection.get("NetworkSettings") or {}
    own, length, gateway = keys
    local = {}
    for name, bindings in (settings.get("Ports") or {}).items():
        at = [(str(b.get("HostIp")), int(b["HostPort"])) for b in bindings or ()]
        local.update(
            {int(name.partition("/")[0]): p for h, p in at if (":" in h) == (keys == _SIX) and _is_passed_on(h, p)}
        )
    networks = [n for n in (settings.get("Networks") or {}).values() if n.get(own)]
    out = default_gateway(endpoint.pid, keys == _SIX)
    ways = [str(n[own]) for n in networks if str(n.get(gateway)) == out]
    addresses = ways or sorted(str(n[own]) for n in networks)
    if keys == _SIX:
        # Others' firewalls let nobody through to a container that the engine itself leads nobody to.
        addresses = [a for a in addresses if firewall.is_led_by_engine(a)]
    subnets = {
        str(ipaddress.ip_interface(f"{n[own]}/{n[length]}").network): str(n[own]) for n in networks if n.get(length)
    }
    return Way(addresses[0] if addresses else "", local, subnets)


def _is_passed_on(address: str, port: int) -> bool:
    """Whether a process of the engine passes on what comes to a port of this host.

    With userland-proxy: false the engine has this host's own packets routed. It listens there all the same, to keep the port,
    and answers nobody (``dummyProxy`` in its libnetwork/drivers/bridge).
    """
    wanted = (("-host-ip", address), ("-host-port", str(port)))
    every = (processes.words(p.pid) for p in processes.processes())
    return any(all(pair in zip(words, words[1:]) for pair in wanted) for words in every)


def default_gateway(pid: int, six: bool = False) -> str:
    """The address to which a process sends what is in none of its networks, empty for none (``proc_pid_net(5)``)."""
    with (
        contextlib.suppress(OSError),
        open(f"/proc/{pid}/net/{'ipv6_route' if six else 'route'}", encoding="ascii") as lines,
    ):
        for words in map(str.split, lines):
            if six and len(words) > 9 and words[1] == "00" and words[9] != "lo":
                return str(ipaddress.IPv6Address(int(words[4], 16)))
            if not six and len(words) > 7 and words[1] == "00000000" and words[7] == "00000000":
                return socket.inet_ntoa(struct.pack("<I", int(words[2], 16)))
    return ""


def is_reached_by_six() -> bool:
    """Whether this host has an IPv6 address that others may reach: one of global scope at an interface of its own."""
    with contextlib.suppress(OSError), open("/proc/net/if_inet6", encoding="ascii") as lines:
        return any(
            words[3] == "00" and not words[5].startswith(("lo", "docker", "br-", "veth"))
            for words in map(str.split, lines)
        )
    return False
