# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Caddy in a container: what it serves with, and how it is made to let go of connections that it keeps.

Both by its own admin API, as it listens in the container (https://caddyserver.com/docs/api).
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.parse
from collections.abc import Mapping

from ...base.host import processes
from ...nginx.config import Route
from ...nginx.host.nginx import Contained, NginxFailed
from ..caddy_config import caddy_routes
from . import firewall
from .network_namespace import connect_inside

_LARGEST = 16 * 1024 * 1024
_ADMIN = "localhost:2019"
#: Seconds for which what comes waits at most, if this process is killed.
_HOLD = 4.0


class Caddy(Contained):
    """One Caddy container, led as an nginx is that asks for names again."""

    def workers(self) -> list[processes.Process]:
        """Its process: Caddy has no workers, and goes on with what is in flight when it is loaded again."""
        caddy = [p for p in processes.tree(self.pid) if os.path.basename(p.command.split(" ", 1)[0]) == "caddy"]
        return caddy[:1]

    def routes(self) -> tuple[Route, ...]:
        """Every way of the configuration that it serves with.

        :raises NginxFailed: it cannot be asked; ``UnreadableCaddy``: it leads somewhere that cannot be told.
        """
        content, _tag = self._config()
        return caddy_routes(json.loads(content), processes.environment(self.workers()[0].pid))

    def reload(self, timeout: float = 30.0) -> None:
        """Have it load once more what it serves with, so that what it keeps open to containers is not used again.

        Each load has a listening socket of its own, and a connection that waits in the old one would be reset with it (seen
        with 2.11: 2 of 1,300 new connections). So for that moment no new one gets in: its SYN is sent again, after a second.

        :raises NginxFailed: it refuses; it goes on as before.
        """
        content, tag = self._config()
        # Only what is still the same: somebody may have loaded another configuration in between.
        headers = {"Cache-Control": "must-revalidate", "Content-Type": "application/json", "If-Match": tag}
        firewall.hold(self.pid, processes.listening_ports(self.pid), _HOLD, only_new=True)
        try:
            self._await_accepted()
            self._ask("POST", content, headers, timeout)
        finally:
            firewall.let_in(self.pid)

    def _await_accepted(self) -> None:
        """Wait until no connection waits to be accepted; a busy Caddy may take longer than there is time."""
        end = time.monotonic() + _HOLD / 4
        while time.monotonic() < end and processes.waiting_connections(self.pid):
            time.sleep(0.005)

    def _config(self) -> tuple[bytes, str]:
        return self._ask("GET", None, {}, 10.0)

    def _ask(self, method: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> tuple[bytes, str]:
        found = self.workers()
        if not found:
            raise NginxFailed(f"{self.name}: caddy does not run any more")
        # What a configuration says of it can only be read there; this is where Caddy listens unless it does.
        address = processes.environment(found[0].pid).get("CADDY_ADMIN") or _ADMIN
        host, _colon, port = address.rpartition(":")
        connection = http.client.HTTPConnection(address)
        try:
            connection.sock = connect_inside(self.pid, host or "127.0.0.1", int(port), timeout)
            connection.request(method, "/config/", body, {"Host": address, **headers})
            answer = connection.getresponse()
            content = answer.read(_LARGEST)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NginxFailed(
                f"{self.name}: its admin API cannot be asked at {address}: {getattr(error, 'strerror', None) or error}; let "
                f"admin be {_ADMIN} in the Caddyfile's global options, which is what Caddy does without a word, and run with "
                f"become: true"
            ) from error
        finally:
            connection.close()
        if answer.status != 200:
            raise NginxFailed(
                f"{self.name}: its admin API answered {method} with {answer.status}: {_complaint(content)}"
            )
        return content, urllib.parse.unquote(answer.getheader("Etag") or "")


def _complaint(content: bytes) -> str:
    """What it says, without what may be in a configuration: the first words."""
    try:
        said = str(json.loads(content).get("error") or "")
    except (ValueError, AttributeError):
        said = ""
    return said.partition(":")[0][:200] or "no reason given"
