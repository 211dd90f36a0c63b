# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How requests are led to the containers of one service: what each way of steering nginx has to be able to do.

:class:`Pinning` is for names that nginx resolves when it is loaded, :class:`Asking` for those that it asks for again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from . import firewall
from .engine import addresses_of, gateways_of
from .nginx import Nginx, NginxFailed, draining, loaded_at

# The engine names a container a moment before it starts it (all at once after its own restart): in doubt we reload.
_NAMED_EARLY = 5.0
# Seconds after which a gate opens by itself: far longer than any run, and yet no gate is for ever.
_GATE = 6 * 3600.0
# Seconds more than nginx may keep an answer, since both count in whole seconds.
_MARGIN = 2.0


@dataclass(frozen=True)
class Box:
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
class Lead:
    """What the proxy does for a service now.

    :param inside: ids of the containers that get requests.
    :param held: whether something of ours is in place that has to be taken away at the end.
    :param stale: whether it sends to an address that no running container has.
    :param cooling: whether it may still know an address that is refused or gone.
    """

    inside: frozenset[str] = frozenset()
    held: bool = False
    stale: bool = False
    cooling: bool = False


class Steering(Protocol):
    """One service's way; every act may raise :class:`.nginx.NginxFailed` or :class:`.firewall.FirewallFailed`.

    ``boxes`` are the service's running containers, those that are to go included.
    """

    def look(self, nginx: Nginx, boxes: Sequence[Box]) -> Lead:
        """See how it is."""

    def hold(self, nginx: Nginx, addresses: Sequence[str]) -> None:
        """Keep the rotation to what it is, whatever starts or reloads from now on."""

    def shelter(self, nginx: Nginx, boxes: Sequence[Box]) -> None:
        """Keep everybody from containers that were just started."""

    def rotate(self, nginx: Nginx, boxes: Sequence[Box], addresses: Sequence[str]) -> None:
        """Let exactly these addresses have requests."""

    def learn(self, nginx: Nginx, boxes: Sequence[Box]) -> None:
        """Help the proxy to forget addresses that are gone."""

    def settle(self, nginx: Nginx, boxes: Sequence[Box]) -> None:
        """Take away what is ours."""


class Gates:
    """Who may connect to each container of a service, besides nginx.

    :param ports: those that are closed.
    :param able: whether there can be gates on this host; without, other containers of the project may reach a new one
        by the service's name before it is proven.
    """

    def __init__(self, ports: Sequence[int], able: bool) -> None:
        self.ports = tuple(ports)
        self.able = able and bool(ports)
        self._closed: dict[tuple[str, int], bool] = {}

    def closed(self, box: Box) -> bool:
        """Whether a container is kept from others; asked once, since only we change it."""
        key = (box.id, box.pid)
        if self.able and key not in self._closed:
            self._closed[key] = firewall.is_closed(box.pid)
        return self._closed.get(key, False)

    def close(self, box: Box, passing: Sequence[str] = ()) -> None:
        """Keep others out but this host, which probes it."""
        if self.able:
            firewall.close(box.pid, self.ports, [*gateways_of(box.inspection), *passing], _GATE)
            self._closed[(box.id, box.pid)] = True

    def open(self, box: Box) -> None:
        """Let others in."""
        if self.closed(box):
            firewall.open_again(box.pid)
            self._closed[(box.id, box.pid)] = False


class Pinning:
    """Names that nginx resolves when it is loaded: pinned in its /etc/hosts, then it is loaded again.

    :param names: what nginx knows the service by.
    """

    def __init__(self, service: str, names: Sequence[str], gates: Gates) -> None:
        self.service = service
        self.names = tuple(names)
        self.gates = gates

    def look(self, nginx: Nginx, boxes: Sequence[Box]) -> Lead:
        """See the protocol."""
        loaded = loaded_at(nginx.workers())
        pin = nginx.pins().get(self.service)
        followed = pin if pin and loaded > pin.written else None
        inside = frozenset(
            box.id
            for box in boxes
            if not self.gates.closed(box)
            # nginx resolved its names when these workers started; what started later is unknown to it.
            and (box.address in followed.addresses if followed else box.started < loaded + _NAMED_EARLY)
        )
        stale = followed is not None and bool(set(followed.addresses) - {b.address for b in boxes})
        return Lead(inside, pin is not None, stale)

    def hold(self, nginx: Nginx, addresses: Sequence[str]) -> None:
        """See the protocol."""
        known = nginx.pins().get(self.service)
        # Writing the same pin again would make it look younger than the workers that already follow it.
        if known is None or set(known.addresses) != set(addresses):
            nginx.pin(self.service, self.names, addresses)

    def shelter(self, nginx: Nginx, boxes: Sequence[Box]) -> None:
        """See the protocol."""
        for box in boxes:
            self.gates.close(box)

    def rotate(self, nginx: Nginx, boxes: Sequence[Box], addresses: Sequence[str]) -> None:
        """See the protocol."""
        for box in boxes:
            if box.address in addresses:
                self.gates.open(box)
        before = nginx.pins().get(self.service)
        try:
            nginx.pin(self.service, self.names, addresses)
            nginx.reload()
        except NginxFailed:
            nginx.pin(self.service, self.names, before.addresses if before else ())
            raise
        for box in boxes:
            if box.address not in addresses:
                # Workers of before may connect to it for what they have begun.
                self.gates.close(box, nginx.addresses)

    def learn(self, nginx: Nginx, boxes: Sequence[Box]) -> None:
        """Nothing is kept here: a reload tells all."""

    def settle(self, nginx: Nginx, boxes: Sequence[Box]) -> None:
        """See the protocol."""
        for box in boxes:
            self.gates.open(box)
        nginx.pin(self.service, (), ())


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
        self.reloads = reloads(kept, keepalive)
        self.patience = patience
        self._seen: dict[str, float] = {}
        self._forgetting: dict[str, float] = {}
        # Several containers are started at the same time, and each adds to the same refusals.
        self._writing = threading.Lock()

    def look(self, nginx: Nginx, boxes: Sequence[Box]) -> Lead:
        """See the protocol."""
        refused = firewall.refused(nginx.pid, self.service)
        now = time.time()
        alive = {a for box in boxes for a in box.addresses}
        self._seen.update(dict.fromkeys(alive, now))
        barred = set(refused or {})
        inside = frozenset(b.id for b in boxes if not self.gates.closed(b) and not barred & set(b.addresses))
        # One that ended by itself: nginx may know its address for as long as it keeps answers.
        recent = {a for a, seen in self._seen.items() if now - seen < (self.kept or 600.0) + _MARGIN}
        return Lead(inside, refused is not None, bool(recent - alive - barred), bool(barred - alive))

    def hold(self, nginx: Nginx, addresses: Sequence[str]) -> None:
        """What starts is kept out by :meth:`shelter`."""

    def shelter(self, nginx: Nginx, boxes: Sequence[Box]) -> None:
        """See the protocol."""
        for box in boxes:
            self.gates.close(box)
        self._refuse(nginx, {a: self.patience for box in boxes for a in box.addresses})

    def rotate(self, nginx: Nginx, boxes: Sequence[Box], addresses: Sequence[str]) -> None:
        """See the protocol."""
        staying = [b for b in boxes if b.address in addresses]
        leaving = [b for b in boxes if b.address not in addresses]
        kept = {a for b in staying for a in b.addresses}
        for box in staying:
            self.gates.open(box)
        gone = [a for a in self._seen if a not in kept]
        self._refuse(nginx, dict.fromkeys([*gone, *(a for b in leaving for a in b.addresses)], self.patience), kept)
        for box in leaving:
            self.gates.close(box)
        if self.reloads:
            nginx.reload()

    def _refuse(self, nginx: Nginx, more: Mapping[str, float], fewer: set[str] | frozenset[str] = frozenset()) -> None:
        with self._writing:
            before = firewall.refused(nginx.pid, self.service) or {}
            wanted = {a: seconds for a, seconds in {**before, **more}.items() if a not in fewer}
            firewall.refuse(nginx.pid, self.service, wanted)

    def learn(self, nginx: Nginx, boxes: Sequence[Box]) -> None:
        """See the protocol."""
        alive = {a for box in boxes for a in box.addresses}
        refused = firewall.refused(nginx.pid, self.service) or {}
        gone = {a: self._forgetting.setdefault(a, time.time()) for a in refused if a not in alive}
        if not gone:
            return
        if not self.reloads:
            left = {a: since + (self.kept or 0.0) + _MARGIN - time.time() for a, since in gone.items()}
            self._refuse(nginx, {a: max(1.0, seconds) for a, seconds in left.items()})
        elif loaded_at(nginx.workers()) < max(gone.values()):
            nginx.reload()
        elif not draining(nginx.workers()):
            self._refuse(nginx, {}, set(gone))

    def settle(self, nginx: Nginx, boxes: Sequence[Box]) -> None:
        """See the protocol."""
        for box in boxes:
            self.gates.open(box)
        firewall.refuse_nobody(nginx.pid, self.service)


def reloads(kept: float | None, keepalive: int) -> bool:
    """Whether nginx has to be loaded again to learn of a change: what it keeps for long would have to be waited for."""
    return kept is None or kept > 30.0 or keepalive > 0


def learning_seconds(kept: float | None, avoided: float, keepalive: int) -> float:
    """For how long nginx may go on with what it knew after a container was let in (seconds)."""
    return max(0.0 if reloads(kept, keepalive) else kept or 0.0, avoided) + _MARGIN
