# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests wait while the database under them is exchanged: nobody's session is ended in the midst of one.

Nothing that comes to a web container is let in, what is under way ends first, and afterwards those who sent send again: TCP
does that by itself. The rules end by themselves too, so a killed run heals.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from ...base.host import processes
from ...engine.host.inspection import pid_of
from ...engine.programs import WEB
from ...operation.host.journal import Fence
from ...traffic import waiting_room
from ...traffic.host import firewall
from ...traffic.host.firewall import FirewallFailed
from .pause_workers import running_of
from .source import Source

#: Seconds for which requests under way are waited for.
PATIENCE = 10.0
# Seconds for which nothing may be asked of the database until connections that are kept count as idle.
_IDLE = 1.0
# Seconds after which a rule ends by itself: waiting, and the exchange with its attempts.
_ENDS = 30.0


class Hold:
    """The web containers of one project.

    :ivar why: why they cannot be held, empty where they can.
    """

    def __init__(self, source: Source) -> None:
        found = [(str(i["Name"]).lstrip("/"), pid_of(i) or 0) for i in running_of(source, WEB)]
        # Whoever waits beside a container that is frozen already waits on.
        self._ports = {pid: processes.listening_ports(pid) - {waiting_room.PORT} for _name, pid in found}
        self._names = [name for name, _pid in found]
        silent = [name for name, pid in found if not self._ports[pid]]
        self.why = firewall.unavailable() if found else ""
        if silent and not self.why:
            self.why = f"{' and '.join(silent)} listens on no TCP port"

    @property
    def words(self) -> str:
        """What is done with requests, before it is."""
        if not self._names:
            return "no web service of the project runs, whoever else is connected loses the session"
        names = " and ".join(self._names)
        if self.why:
            return (
                f"sessions are ended for the exchange, about a second: requests to {names} that are under way in it fail, since "
                f"they cannot be held ({self.why})"
            )
        return (
            f"requests to {names} are held for the exchange, usually 1 to 3 seconds; one that is under way longer than "
            f"{PATIENCE:g} seconds fails"
        )

    @contextlib.contextmanager
    def held(self, fence: Fence, busy: Callable[[], bool]) -> Iterator[None]:
        """Hold them while the block runs, which begins when what was under way has ended, or after :data:`PATIENCE`.

        :param busy: whether the database has something under way.
        :raises FirewallFailed: a rule could not be made; those that were are taken away.
        """
        ports = {} if self.why else self._ports
        try:
            for pid, own in ports.items():
                with fence.act("hold requests"):
                    firewall.hold(pid, own, _ENDS)
            if ports:
                self._await_quiet(busy)
            yield
        finally:
            for pid in ports:
                # It ends by itself otherwise.
                with contextlib.suppress(FirewallFailed):
                    firewall.let_in(pid)

    def _await_quiet(self, busy: Callable[[], bool]) -> None:
        """Until no request is under way: no connection is open, or those that are kept ask nothing of the database."""
        began = last = time.monotonic()
        while time.monotonic() - began < PATIENCE:
            if not any(processes.connections(pid, *ports) for pid, ports in self._ports.items()):
                return
            if busy():
                last = time.monotonic()
            elif time.monotonic() - last >= _IDLE:
                return
            time.sleep(0.05)
