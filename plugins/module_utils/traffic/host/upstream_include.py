# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steering by a file of addresses that the user's upstream block includes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ...nginx.host.nginx import Master, NginxFailed, loaded_at
from ...nginx.host.site import Site, SiteFailed
from ...nginx.include import addresses_in, text_of
from .steering import Endpoint, Gates, Route, Unused


class AddressFile:
    """The file of addresses of one service.

    :param port: of the containers.
    """

    def __init__(self, project: str, service: str, site: Site, port: int) -> None:
        self.project = project
        self.service = service
        self.site = site
        self.port = port

    def both(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What it names, and what it named before."""
        return addresses_in((self.site.content() or b"").decode("utf-8", "replace"))

    def named(self) -> frozenset[str]:
        """The addresses in it."""
        return frozenset(self.both()[0])

    def followed(self, loaded: float) -> tuple[str, ...]:
        """What an nginx that was loaded then (UNIX seconds) sends to: what is in the file, or was in it before."""
        named, before = self.both()
        return named if loaded > self.site.changed_at() else before

    def write(self, addresses: Sequence[str], followed: Sequence[str] = ()) -> None:
        """Name exactly these addresses.

        :param followed: what nginx goes on with until it is loaded again.
        :raises NginxFailed: it cannot be written; what it held is there then.
        """
        text = text_of(self.project, self.service, addresses, self.port, followed)
        try:
            self.site.install(text.encode("utf-8"))
        except (OSError, SiteFailed) as error:
            raise NginxFailed(f"{self.site.dest} cannot be written: {error}") from error


class Including:
    """Servers in a file that the user's upstream block includes: it is written, then nginx is loaded again.

    :param file: what is in it is who gets requests, whatever reloads.
    """

    def __init__(self, file: AddressFile, gates: Gates) -> None:
        self.file = file
        self.gates = gates

    @property
    def gate(self) -> str:
        """See the protocol."""
        return self.gates.first

    def look(self, nginx: Master, endpoints: Sequence[Endpoint], loaded: float) -> Route:
        """See the protocol."""
        followed = self.file.followed(loaded)
        inside = frozenset(b.id for b in endpoints if b.address in followed and not self.gates.closed(b))
        return Route(inside, False, bool(set(followed) - {b.address for b in endpoints}))

    def hold(self, nginx: Master, addresses: Sequence[str], unused: Unused) -> None:
        """The file says already who gets requests."""

    def started(self, nginx: Master) -> None:
        """What holds does so until :meth:`unpin`."""

    def isolate(self, nginx: Master, endpoints: Sequence[Endpoint], ended: Sequence[str] = ()) -> None:
        """See the protocol."""
        self.gates.close_all_but((), endpoints)

    def rotate(self, nginx: Master, endpoints: Sequence[Endpoint], addresses: Sequence[str]) -> None:
        """See the protocol."""
        self.gates.open_those_at(addresses, endpoints)
        kept, followed = self.file.site.content(), self.file.followed(loaded_at(nginx.workers()))
        try:
            self.file.write(addresses, followed)
            nginx.reload()
        except NginxFailed as error:
            with contextlib.suppress(OSError):
                self.file.site.install(kept)
            nginx.reload_restored(error)
            raise
        self.gates.close_all_but(addresses, endpoints, nginx.addresses)

    def await_dns(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """Nothing is kept here: a reload tells all."""

    def unpin(self, nginx: Master, endpoints: Sequence[Endpoint]) -> None:
        """The file stays: it is how nginx knows the containers."""
