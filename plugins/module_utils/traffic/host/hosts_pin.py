# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steering by pins: names that nginx resolves when it is loaded are written into its /etc/hosts."""

from __future__ import annotations

from collections.abc import Sequence

from ...nginx.host.nginx import NOWHERE, Master, NginxFailed
from .steering import Endpoint, Gates, Route, Unused

# The engine names a container a moment before it starts it (all at once after its own restart): in doubt we reload.
_NAMED_EARLY = 5.0


class Pinning:
    """Names that nginx resolves when it is loaded: pinned in its /etc/hosts, then it is loaded again.

    :param names: what nginx knows the service by.
    """

    def __init__(self, service: str, names: Sequence[str], gates: Gates) -> None:
        self.service = service
        self.names = tuple(names)
        self.gates = gates

    @property
    def gate(self) -> str:
        """See the protocol."""
        return self.gates.first

    def look(self, nginx: Master, endpoints: Sequence[Endpoint], loaded: float) -> Route:
        """See the protocol."""
        pin = nginx.pins().get(self.service)
        followed = pin if pin and loaded > pin.written else None
        inside = frozenset(
            endpoint.id
            for endpoint in endpoints
            if not self.gates.closed(endpoint)
            # nginx resolved its names when these workers started; what started later is unknown to it.
            and (endpoint.address in followed.addresses if followed else endpoint.started < loaded + _NAMED_EARLY)
        )
        if followed:
            stale = bool(set(followed.addresses) - {b.address for b in endpoints})
        else:
            # nginx was started anew without its pins: the engine's own answer had those too that are kept from it.
            stale = any(self.gates.closed(endpoint) and endpoint.started < loaded for endpoint in endpoints)
        return Route(inside, pin is not None, stale)

    def hold(self, nginx: Master, addresses: Sequence[str], unused: Unused) -> None:
        """See the protocol."""
        known = nginx.pins().get(self.service)
        # Writing the same pin again would make it look younger than the workers that already follow it.
        if known is None or set(known.addresses) != set(addresses):
            nginx.pin(self.service, self.names, addresses)

    def started(self, nginx: Master) -> None:
        """What holds does so until :meth:`unpin`."""

    def isolate(self, nginx: Master, endpoints: Sequence[Endpoint], ended: Sequence[str] = ()) -> None:
        """See the protocol."""
        self.gates.close_all_but((), endpoints)

    def rotate(self, nginx: Master, endpoints: Sequence[Endpoint], addresses: Sequence[str]) -> None:
        """See the protocol."""
        self.gates.open_those_at(addresses, endpoints)
        before = nginx.pins().get(self.service)
        try:
            nginx.pin(self.service, self.names, addresses)
            self._reload(nginx, addresses)
        except NginxFailed as error:
            nginx.pin(self.service, self.names, before.addresses if before else ())
            nginx.reload_restored(error)
            raise
        # Workers of before may connect to those for what they have begun.
        self.gates.close_all_but(addresses, endpoints, nginx.addresses)

    def _reload(self, nginx: Master, addresses: Sequence[str]) -> None:
        try:
            nginx.reload()
        except NginxFailed:
            if addresses:
                raise
            # What is left crashes all the time and has no address: others behind this nginx are led on all the same.
            nginx.pin(self.service, self.names, [NOWHERE])
            nginx.reload()

    def await_dns(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """Nothing is kept here: a reload tells all."""

    def unpin(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """See the protocol."""
        for endpoint in endpoints:
            self.gates.open(endpoint)
        nginx.pin(self.service, (), ())
