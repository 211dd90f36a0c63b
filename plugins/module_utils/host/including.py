# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steering by a file of addresses that the user's upstream block includes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ..decide.nginx_include import addresses_in, text_of
from .nginx import Master, NginxFailed, loaded_at
from .nginx_site import Site, SiteFailed
from .steering import Box, Gates, Lead


class Including:
    """Servers in a file that the user's upstream block includes: it is written, then nginx is loaded again.

    :param site: the file; what is in it is who gets requests, whatever reloads.
    :param port: of the containers.
    """

    def __init__(self, project: str, service: str, site: Site, port: int, gates: Gates) -> None:
        self.project = project
        self.service = service
        self.site = site
        self.port = port
        self.gates = gates

    def _named(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return addresses_in((self.site.content() or b"").decode("utf-8", "replace"))

    def _followed(self, nginx: Master) -> tuple[str, ...]:
        """What nginx sends to: what is in the file, or was in it when it was loaded."""
        named, before = self._named()
        return named if loaded_at(nginx.workers()) > self.site.changed_at() else before

    def look(self, nginx: Master, boxes: Sequence[Box]) -> Lead:
        """See the protocol."""
        followed = self._followed(nginx)
        inside = frozenset(b.id for b in boxes if b.address in followed and not self.gates.closed(b))
        return Lead(inside, False, bool(set(followed) - {b.address for b in boxes}))

    def hold(self, nginx: Master, addresses: Sequence[str]) -> None:
        """The file says already who gets requests."""

    def shelter(self, nginx: Master, boxes: Sequence[Box]) -> None:
        """See the protocol."""
        for box in boxes:
            self.gates.close(box)

    def rotate(self, nginx: Master, boxes: Sequence[Box], addresses: Sequence[str]) -> None:
        """See the protocol."""
        for box in boxes:
            if box.address in addresses:
                self.gates.open(box)
        kept, followed = self.site.content(), self._followed(nginx)
        text = text_of(self.project, self.service, addresses, self.port, followed)
        try:
            self.site.install(text.encode("utf-8"))
            nginx.reload()
        except (OSError, SiteFailed, NginxFailed) as error:
            with contextlib.suppress(OSError):
                self.site.install(kept)
            raise NginxFailed(f"{self.site.dest}: {error}") from error
        for box in boxes:
            if box.address not in addresses:
                self.gates.close(box, nginx.addresses)

    def learn(self, nginx: Master, boxes: Sequence[Box]) -> None:
        """Nothing is kept here: a reload tells all."""

    def settle(self, nginx: Master, boxes: Sequence[Box]) -> None:
        """The file stays: it is how nginx knows the containers."""
