# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steering by health checks: a proxy that follows the engine leads to whatever is healthy, and is not told otherwise.

A container that is not to have users yet, or no more, is refused its own health check. What the proxy still begins with one
that leaves is led to another one in the proxy's own network namespace, and idle connections end by themselves, since it does
not use them once the container is unhealthy.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...engine.host.inspection import health_of
from ...nginx.host.nginx import Master, NginxFailed
from ..traefik_labels import THROTTLE
from . import firewall
from .steering import GATE, Endpoint, Gates, Route, Unused


class ByHealth:
    """See the module's text.

    :param gates: who may connect besides.
    :param patience: seconds for which what is led elsewhere lasts at most.
    """

    def __init__(self, service: str, gates: Gates, patience: float) -> None:
        self.service = service
        self.gates = gates
        self.patience = patience
        self._gone: dict[str, float] = {}
        self._refused: dict[tuple[str, int], bool] = {}

    @property
    def gate(self) -> str:
        """See the protocol."""
        return firewall.unhealthy(self.gates.ports, GATE) + self.gates.first

    def look(self, nginx: Master, endpoints: Sequence[Endpoint], loaded: float) -> Route:
        """See the protocol."""
        moved = firewall.moved(nginx.pid, self.service)
        refused = [e for e in endpoints if self._is_refused(e)]
        closed = [e for e in endpoints if self.gates.closed(e)]
        inside = frozenset(e.id for e in endpoints if e not in refused and e not in closed)
        alive = {a for e in endpoints for a in e.addresses}
        return Route(inside, moved is not None or bool(refused or closed), False, bool((moved or set()) - alive))

    def _is_refused(self, endpoint: Endpoint) -> bool:
        key = (endpoint.id, endpoint.pid)
        if key not in self._refused:
            self._refused[key] = firewall.is_health_refused(endpoint.pid)
        return self._refused[key]

    def hold(self, nginx: Master, addresses: Sequence[str], unused: Unused) -> None:
        """Nobody is led to what has no health yet."""

    def started(self, nginx: Master) -> None:
        """Nothing was held."""

    def isolate(self, nginx: Master, endpoints: Sequence[Endpoint], ended: Sequence[str] = ()) -> None:
        """See the protocol."""
        for endpoint in endpoints:
            self._refuse(endpoint)
        self.gates.close_all_but((), endpoints)

    def _refuse(self, endpoint: Endpoint) -> None:
        firewall.refuse_health(endpoint.pid, self.gates.ports, GATE)
        self._refused[endpoint.id, endpoint.pid] = True

    def _allow(self, endpoint: Endpoint) -> None:
        if self._is_refused(endpoint):
            firewall.allow_health(endpoint.pid)
            self._refused[endpoint.id, endpoint.pid] = False

    def rotate(self, nginx: Master, endpoints: Sequence[Endpoint], addresses: Sequence[str]) -> None:
        """See the protocol.

        :raises NginxFailed: one that is to serve alone is not healthy, and the proxy would lead to nobody.
        """
        coming = [e for e in endpoints if e.address in addresses]
        leaving = [e for e in endpoints if e.address not in addresses and not self.gates.closed(e)]
        sick = [e for e in coming if health_of(e.inspection) not in ("", "healthy")]
        serving = [e for e in leaving if not self._is_refused(e)]
        if serving and len(sick) == len(coming) and not any(self._is_refused(e) for e in coming):
            names = ", ".join(str(e.inspection.get("Name")).lstrip("/") for e in sick)
            raise NginxFailed(f"{names}: not healthy by its own health check, so {nginx.name} would send it nothing")
        for endpoint in coming:
            self.gates.open(endpoint)
            self._allow(endpoint)
        before = firewall.moved(nginx.pid, self.service) or set()
        kept = {a for e in coming for a in e.addresses}
        away = {a for e in leaving for a in e.addresses} | before
        four = sorted(a for a in away - kept if ":" not in a)
        firewall.move(nginx.pid, self.service, four if coming else (), [e.address for e in coming], self.patience)
        for endpoint in leaving:
            self._refuse(endpoint)

    def await_dns(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """See the protocol."""
        alive = {a for e in endpoints for a in e.addresses}
        moved = firewall.moved(nginx.pid, self.service) or set()
        now = time.monotonic()
        gone = {a: self._gone.setdefault(a, now) for a in moved - alive}
        late = {a for a, since in gone.items() if now - since >= THROTTLE}
        serving = [e.address for e in endpoints if not self._is_refused(e) and not self.gates.closed(e)]
        if late and serving:
            firewall.move(nginx.pid, self.service, moved - late, serving, self.patience)

    def unpin(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """See the protocol."""
        for endpoint in endpoints:
            self.gates.open(endpoint)
            self._allow(endpoint)
        firewall.move(nginx.pid, self.service, (), ("127.0.0.1",), 1.0)
