# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steering by refusals: names that nginx asks for again lead to every container, and it is refused those it must not use."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from ...nginx.host.nginx import Master, accepting, draining
from . import firewall
from .hosts_pin import Pinning
from .steering import Endpoint, Gates, Route, Unused

# Seconds more than nginx may keep an answer, since both count in whole seconds.
_MARGIN = 2.0
# How long unused addresses are refused at most, where a run is killed while it starts containers (seconds).
_STARTS = 60.0
#: Answers that are kept for longer are not waited for (seconds).
LONGEST_WAIT = 30.0


class Asking:
    """Names that nginx asks for again while it runs: it meets every container, and is refused those it shall not use.

    :param kept: seconds for which it goes on with an answer, None for as long as the answer says.
    :param keepalive: idle connections that it keeps to a server; they end only with the worker.
    :param patience: seconds for which a refusal has to last while something still drains.
    """

    def __init__(self, service: str, gates: Gates, kept: float | None, keepalive: int, patience: float) -> None:
        self.service = service
        self.gates = gates
        self.kept = kept
        self.keepalive = keepalive
        self.patience = patience
        self._seen: dict[str, float] = {}
        self._forgetting: dict[str, tuple[float, frozenset[int]]] = {}
        # Several containers are started at the same time, and each adds to the same refusals.
        self._writing = threading.Lock()

    @property
    def gate(self) -> str:
        """See the protocol."""
        return self.gates.first

    def look(self, nginx: Master, endpoints: Sequence[Endpoint], loaded: float) -> Route:
        """See the protocol."""
        refused = firewall.refused(nginx.pid, self.service)
        now = time.monotonic()
        alive = {a for endpoint in endpoints for a in endpoint.addresses}
        self._seen.update(dict.fromkeys(alive, now))
        barred = set(refused or {})
        inside = frozenset(b.id for b in endpoints if not self.gates.closed(b) and not barred & set(b.addresses))
        # One that ended by itself: nginx may know its address for as long as it keeps answers.
        known_for = (600.0 if self.kept is None else self.kept) + _MARGIN
        recent = {a for a, seen in self._seen.items() if now - seen < known_for}
        return Route(inside, refused is not None, bool(recent - alive - barred), bool(barred - alive))

    def hold(self, nginx: Master, addresses: Sequence[str], unused: Unused) -> None:
        """Refuse whatever address a container may get that starts now: it can have ended before :meth:`isolate` sees it."""
        firewall.refuse_unused(nginx.pid, self.service, unused(), _STARTS)

    def started(self, nginx: Master) -> None:
        """See the protocol."""
        firewall.refuse_unused(nginx.pid, self.service, (), _STARTS)

    def isolate(self, nginx: Master, endpoints: Sequence[Endpoint], ended: Sequence[str] = ()) -> None:
        """See the protocol."""
        self.gates.close_all_but((), endpoints)
        started = [a for endpoint in endpoints for a in endpoint.addresses]
        self._refuse(nginx, dict.fromkeys([*started, *ended], self.patience))

    def rotate(self, nginx: Master, endpoints: Sequence[Endpoint], addresses: Sequence[str]) -> None:
        """See the protocol."""
        self.admit(nginx, endpoints, addresses)
        leaving = any(endpoint.address not in addresses for endpoint in endpoints)
        # A worker goes on with the connections that it keeps open; they end with it.
        if reloads(self.kept) or (leaving and self.keepalive):
            nginx.reload()

    def admit(self, nginx: Master, endpoints: Sequence[Endpoint], addresses: Sequence[str]) -> None:
        """Let these addresses in, and refuse all others."""
        # A run that was killed while it started containers has left addresses refused that these have now.
        self.started(nginx)
        kept = {a for b in endpoints if b.address in addresses for a in b.addresses}
        leaving = {a for b in endpoints if b.address not in addresses for a in b.addresses}
        self.gates.open_those_at(addresses, endpoints)
        gone = [a for a in self._seen if a not in kept]
        self._refuse(nginx, dict.fromkeys([*gone, *leaving], self.patience), kept)
        self.gates.close_all_but(addresses, endpoints)

    def _refuse(self, nginx: Master, more: Mapping[str, float], fewer: set[str] | frozenset[str] = frozenset()) -> None:
        with self._writing:
            before = firewall.refused(nginx.pid, self.service) or {}
            wanted = {a: seconds for a, seconds in {**before, **more}.items() if a not in fewer}
            firewall.refuse(nginx.pid, self.service, wanted)

    def await_dns(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """See the protocol."""
        alive = {a for endpoint in endpoints for a in endpoint.addresses}
        refused = firewall.refused(nginx.pid, self.service) or {}
        workers = nginx.workers()
        taking = frozenset(w.pid for w in accepting(workers))
        # Not by when they started: somebody may set this machine's clock in between.
        gone = {a: self._forgetting.setdefault(a, (time.monotonic(), taking)) for a in refused if a not in alive}
        if not gone:
            return
        if not reloads(self.kept):
            left = {a: since + (self.kept or 0.0) + _MARGIN - time.monotonic() for a, (since, _w) in gone.items()}
            self._refuse(nginx, {a: max(1.0, seconds) for a, seconds in left.items()})
        elif any(taking & known for _since, known in gone.values()):
            nginx.reload()
        elif not draining(workers):
            # No worker is left that may have been told of them.
            self._seen = {a: seen for a, seen in self._seen.items() if a in alive}
            self._refuse(nginx, {}, set(gone))

    def unpin(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """See the protocol."""
        for endpoint in endpoints:
            self.gates.open(endpoint)
        firewall.refuse_nobody(nginx.pid, self.service)


class Both:
    """A service that nginx names in both ways: pinned where it is resolved at load, refused where it is asked for again.

    Old and new overlap in the pins too, so whoever is refused an address knows another.
    """

    def __init__(self, pinning: Pinning, asking: Asking) -> None:
        self.pinning = pinning
        self.asking = asking

    @property
    def gate(self) -> str:
        """See the protocol."""
        return self.asking.gate

    def look(self, nginx: Master, endpoints: Sequence[Endpoint], loaded: float) -> Route:
        """See the protocol."""
        pinned, asked = self.pinning.look(nginx, endpoints, loaded), self.asking.look(nginx, endpoints, loaded)
        inside = pinned.inside & asked.inside
        return Route(inside, pinned.held or asked.held, pinned.stale or asked.stale, asked.cooling)

    def hold(self, nginx: Master, addresses: Sequence[str], unused: Unused) -> None:
        """See the protocol."""
        self.pinning.hold(nginx, addresses, unused)
        self.asking.hold(nginx, addresses, unused)

    def started(self, nginx: Master) -> None:
        """See the protocol."""
        self.asking.started(nginx)

    def isolate(self, nginx: Master, endpoints: Sequence[Endpoint], ended: Sequence[str] = ()) -> None:
        """See the protocol."""
        self.asking.isolate(nginx, endpoints, ended)

    def rotate(self, nginx: Master, endpoints: Sequence[Endpoint], addresses: Sequence[str]) -> None:
        """See the protocol; the pins' own reload is the one."""
        self.asking.admit(nginx, endpoints, addresses)
        self.pinning.rotate(nginx, endpoints, addresses)

    def await_dns(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """See the protocol."""
        self.asking.await_dns(nginx, endpoints)

    def unpin(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """See the protocol."""
        self.asking.unpin(nginx, endpoints)
        self.pinning.unpin(nginx, endpoints)


def reloads(kept: float | None) -> bool:
    """Whether nginx has to be loaded again to learn of a change: what it keeps for long would have to be waited for."""
    return kept is None or kept > LONGEST_WAIT


def learning_seconds(kept: float | None, avoided: float) -> float:
    """For how long nginx may go on with what it knew after a container was let in (seconds)."""
    return max(0.0 if reloads(kept) else kept or 0.0, avoided) + _MARGIN
