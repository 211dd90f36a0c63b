# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steering nginx to a UNIX socket: it is shown the one of the container that is to have requests."""

from __future__ import annotations

from collections.abc import Sequence

from ...nginx.host.nginx import Master, NginxFailed
from .steering import Endpoint, Route, Unused
from .unix_sockets import SocketFailed, SocketFolder


class Linking:
    """A folder of links that only nginx sees, in place of the one that it shares with the service.

    :param keepalive: whether nginx keeps connections to it, which only a reload makes it give up.
    """

    def __init__(self, folder: SocketFolder, keepalive: bool) -> None:
        self.folder = folder
        self.keepalive = keepalive

    @property
    def gate(self) -> str:
        """Nothing leads to it but the folder, see :meth:`isolate`."""
        return ""

    def look(self, nginx: Master, endpoints: Sequence[Endpoint], loaded: float) -> Route:
        """See the protocol."""
        followed = self.folder.followed(nginx.pid)
        inside = frozenset(b.id for b in endpoints if self.folder.listens(followed, b.pid))
        return Route(inside, self.folder.is_prepared() or self.folder.is_covered(nginx.pid), not inside)

    def hold(self, nginx: Master, addresses: Sequence[str], unused: Unused) -> None:
        """See the protocol."""
        if not self.folder.is_covered(nginx.pid):
            self._cover(nginx, self.folder.path)

    def started(self, nginx: Master) -> None:
        """What holds does so until :meth:`unpin`."""

    def isolate(self, nginx: Master, endpoints: Sequence[Endpoint], ended: Sequence[str] = ()) -> None:
        """Nothing leads to it but the folder, which nginx does not see any more."""

    def rotate(self, nginx: Master, endpoints: Sequence[Endpoint], addresses: Sequence[str]) -> None:
        """See the protocol."""
        doors = (self.folder.address_of(b.pid) for b in endpoints if b.address in addresses)
        address = next(filter(None, doors), "")
        if not address:
            raise NginxFailed(f"{self.folder.service}: nobody listens at {self.folder.seen} that nginx may be led to")
        self._cover(nginx, address)
        if self.keepalive:
            nginx.reload()

    def _cover(self, nginx: Master, address: str) -> None:
        try:
            self.folder.prepare()
            self.folder.show(address)
            self.folder.cover(nginx.pid)
        except SocketFailed as error:
            raise NginxFailed(str(error)) from error

    def await_dns(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """Nothing is kept here: each connection looks for the file anew."""

    def unpin(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """See the protocol."""
        try:
            self.folder.put_back(nginx.pid)
        except SocketFailed as error:
            raise NginxFailed(str(error)) from error
