# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How requests are led to the containers of one service: what each way of steering nginx has to be able to do.

The ways themselves are ``pinning`` (names resolved when nginx is loaded), ``asking`` (names asked for again) and
``including`` (a file of addresses that is ours); which fits is decided in ``strategies``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Protocol

from ...engine.host.inspection import addresses_of, gateways_of
from ...nginx.host.nginx import Master
from . import firewall

#: Seconds after which a gate opens by itself: far longer than any run, and yet no gate is for ever.
GATE = 6 * 3600.0


#: Ranges of addresses that nobody has, see :mod:`..unused_addresses`.
Unused = Callable[[], Sequence[str]]


@dataclass(frozen=True)
class Endpoint:
    """A running container as steering sees it.

    :param address: where nginx reaches it; ``pid``: the host's process id of its main process.
    :param started: UNIX time.
    """

    id: str
    address: str
    pid: int
    started: float
    inspection: Mapping[str, Any]

    @property
    def addresses(self) -> list[str]:
        """All its addresses, of both families."""
        return addresses_of(self.inspection)


@dataclass(frozen=True)
class Route:
    """What the proxy does for a service now.

    :param inside: ids of the containers that get requests.
    :param held: whether something of ours is in place that has to be taken away at the end.
    :param stale: whether it sends to an address that no running container has, or whose container is kept from it.
    :param cooling: whether it may still know an address that is refused or gone.
    """

    inside: frozenset[str] = frozenset()
    held: bool = False
    stale: bool = False
    cooling: bool = False


class Steering(Protocol):
    """One service's way; every act may raise :class:`.nginx.NginxFailed` or :class:`.firewall.FirewallFailed`.

    ``endpoints`` are the service's running containers, those that are to go included.
    """

    @property
    def gate(self) -> str:
        """Rules that keep everybody from a container from its first moment on; empty where nothing would lead to it."""

    def look(self, nginx: Master, endpoints: Sequence[Endpoint], loaded: float) -> Route:
        """See how it is; ``loaded`` is when the workers that take connections started (UNIX seconds)."""

    def hold(self, nginx: Master, addresses: Sequence[str], unused: Unused) -> None:
        """Keep the rotation to what it is, whatever starts or reloads from now on.

        :param unused: tells the ranges of addresses that nobody has, of the networks that nginx is in.
        """

    def started(self, nginx: Master) -> None:
        """End what :meth:`hold` has done for the time of a start: all that was started is isolated."""

    def isolate(self, nginx: Master, endpoints: Sequence[Endpoint], ended: Sequence[str] = ()) -> None:
        """Keep everybody from containers that were just started.

        :param ended: addresses of those that have ended since.
        """

    def rotate(self, nginx: Master, endpoints: Sequence[Endpoint], addresses: Sequence[str]) -> None:
        """Let exactly these addresses have requests."""

    def await_dns(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """Help the proxy to forget addresses that are gone."""

    def unpin(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """Take away what is ours."""


class Gates:
    """Who may connect to each container of a service, besides nginx.

    :param ports: those that are closed; ``lasting``: seconds after which they open by themselves.
    :param able: whether there can be gates on this host; without, other containers of the project may reach a new one
        by the service's name before it is proven.
    """

    def __init__(self, ports: Sequence[int], able: bool, lasting: float = GATE) -> None:
        self.ports = tuple(ports)
        self.lasting = max(lasting, GATE)
        self.able = able and bool(ports)
        self._closed: dict[tuple[str, int], bool] = {}

    @property
    def first(self) -> str:
        """Rules for a container from its first moment on, see :func:`.firewall.gate`; empty where there can be none."""
        return firewall.gate(self.ports, self.lasting) if self.able else ""

    def closed(self, endpoint: Endpoint) -> bool:
        """Whether a container is kept from others; asked once, since only we change it."""
        key = (endpoint.id, endpoint.pid)
        if self.able and key not in self._closed:
            self._closed[key] = firewall.is_closed(endpoint.pid)
        return self._closed.get(key, False)

    def close(self, endpoint: Endpoint, passing: Sequence[str] = ()) -> None:
        """Keep others out but this host, which probes it."""
        if self.able:
            firewall.close(endpoint.pid, self.ports, [*gateways_of(endpoint.inspection), *passing], self.lasting)
            self._closed[(endpoint.id, endpoint.pid)] = True

    def open(self, endpoint: Endpoint) -> None:
        """Let others in."""
        if self.closed(endpoint):
            firewall.open_again(endpoint.pid)
            self._closed[(endpoint.id, endpoint.pid)] = False

    def open_those_at(self, addresses: Sequence[str], endpoints: Sequence[Endpoint]) -> None:
        """Let others in to the containers with these addresses."""
        for endpoint in endpoints:
            if endpoint.address in addresses:
                self.open(endpoint)

    def close_all_but(
        self, addresses: Sequence[str], endpoints: Sequence[Endpoint], passing: Sequence[str] = ()
    ) -> None:
        """Keep others out of the containers without these addresses."""
        for endpoint in endpoints:
            if endpoint.address not in addresses:
                self.close(endpoint, passing)
