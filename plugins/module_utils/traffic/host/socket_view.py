# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steering nginx to a UNIX socket: it is shown the one of the container that is to have requests."""

from __future__ import annotations

from collections.abc import Sequence

from ...nginx.host.nginx import Master, NginxFailed
from .steering import Box, Lead, Unused
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
        """Nothing leads to it but the folder, see :meth:`shelter`."""
        return ""

    def look(self, nginx: Master, boxes: Sequence[Box], loaded: float) -> Lead:
        """See the protocol."""
        followed = self.folder.followed(nginx.pid)
        inside = frozenset(b.id for b in boxes if self.folder.listens(followed, b.pid))
        return Lead(inside, self.folder.is_prepared() or self.folder.is_covered(nginx.pid), not inside)

    def hold(self, nginx: Master, addresses: Sequence[str], unused: Unused) -> None:
        """See the protocol."""
        if not self.folder.is_covered(nginx.pid):
            self._cover(nginx, self.folder.path)

    def started(self, nginx: Master) -> None:
        """What holds does so until :meth:`settle`."""

    def shelter(self, nginx: Master, boxes: Sequence[Box], ended: Sequence[str] = ()) -> None:
        """Nothing leads to it but the folder, which nginx does not see any more."""

    def rotate(self, nginx: Master, boxes: Sequence[Box], addresses: Sequence[str]) -> None:
        """See the protocol."""
        doors = (self.folder.door_of(b.pid) for b in boxes if b.address in addresses)
        door = next(filter(None, doors), "")
        if not door:
            raise NginxFailed(f"{self.folder.service}: nobody listens at {self.folder.seen} that nginx may be led to")
        self._cover(nginx, door)
        if self.keepalive:
            nginx.reload()

    def _cover(self, nginx: Master, door: str) -> None:
        try:
            self.folder.prepare()
            self.folder.show(door)
            self.folder.cover(nginx.pid)
        except SocketFailed as error:
            raise NginxFailed(str(error)) from error

    def learn(self, nginx: Master, boxes: Sequence[Box]) -> None:
        """Nothing is kept here: each connection looks for the file anew."""

    def settle(self, nginx: Master, boxes: Sequence[Box]) -> None:
        """See the protocol."""
        try:
            self.folder.put_back(nginx.pid)
        except SocketFailed as error:
            raise NginxFailed(str(error)) from error
