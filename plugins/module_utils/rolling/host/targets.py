# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service of a roll, with all that was found out about it before anything moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...base.host import processes
from ...engine.services import Settings
from ...nginx.config import Route
from ...traffic.host.steering import Steering
from ...traffic.host.strategies import ports_of
from ...traffic.host.unix_sockets import SocketFolder
from ...traffic.port_rules import Door
from ..stack import Container, Wanted, is_current, wanted_of


def main_route(leading: Sequence[Route]) -> Route | None:
    """The way most users come: encrypted where there is one, since Django may redirect all else."""
    return next((r for r in leading if r.tls), leading[0] if leading else None)


@dataclass(frozen=True)
class Target:
    """One service of the roll: its settings, identity, the way users reach it, and how that is steered.

    ``folder`` is where it listens at a UNIX socket, if nginx reaches it so; ``surge`` is its configuration hash
    with ``surge_ports`` instead of its own, if it publishes any; ``after`` are the services it depends on.

    :ivar door: where users knock, of one that has no proxy before it.
    :ivar lingers: see ``Strategy``.
    :ivar handed: whether the ports that it publishes are handed over, be it that nginx leads to it too.
    :ivar alone: see ``Strategy``; ``weighs`` too.
    :ivar canary_time: see ``Wanted``; ``canary_share`` too.
    :ivar removed: the project no longer has it: what runs of it is to go; ``listening`` are the ports it listens on.
    """

    settings: Settings
    image: str
    config_hash: str
    routes: tuple[Route, ...] = ()
    steering: Steering | None = None
    newer_than: float = 0.0
    dns_seconds: float | None = None
    folder: SocketFolder | None = None
    surge: str = ""
    surge_ports: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    after: tuple[str, ...] = ()
    removed: bool = False
    listening: frozenset[int] = frozenset()
    door: Door | None = None
    handed: bool = False
    lingers: float = 0.0
    alone: str = ""
    weighs: bool = False
    canary_time: float = 0.0
    canary_share: int = 0

    @property
    def wanted(self) -> Wanted:
        """The reconciler's view of it."""
        own = wanted_of(self.settings, self.image, self.config_hash)
        if self.removed:
            return replace(own, image="", config_hash="", replicas=0)
        return replace(
            own,
            drain_timeout=own.drain_timeout + self.lingers,
            newer_than=self.newer_than,
            dns_seconds=self.dns_seconds,
            surge=self.surge,
            after=self.after,
            routed=bool(self.routes),
            canary_time=self.canary_time,
            canary_share=self.canary_share,
        )

    def is_of(self, container: Container) -> bool:
        """Whether a container of it is of the wanted version."""
        return container.service == self.settings.name and is_current(container, self.wanted)

    @property
    def unsteered(self) -> bool:
        """Whether nginx leads to it in a way that cannot be steered."""
        return bool(self.routes) and self.steering is None

    @property
    def route(self) -> Route | None:
        """See :func:`main_route`."""
        return main_route(self.routes)

    @property
    def ports(self) -> frozenset[int]:
        """See :func:`ports_of`."""
        return ports_of(self.routes, self.settings) | self.listening

    def connections(self, nginx: int, container: int) -> int:
        """How many peers the container with this main process has, nginx with that one among them."""
        queued = self.folder.connections(nginx, container) if self.folder else 0
        return queued + processes.connections(container, *self.ports)

    def address(self, container: int, address: str) -> str:
        """Where a container is asked: its address, or the path of its socket; empty while it has none."""
        return self.folder.address_of(container) if self.folder else address
