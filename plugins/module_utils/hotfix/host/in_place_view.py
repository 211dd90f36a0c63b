# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running containers whose files are to be other ones: what is in each, and which of its processes have loaded what.

What is due is seen each time anew: the files' contents, and the processes that go on with what they loaded before.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...base.host import processes
from ...engine.host.inspection import pid_of
from ...engine.host.live_root import LiveRoot, RootFailed
from ...nginx.host.nginx import HOST
from ...rolling.host.fenced import FencedMachine
from ...rolling.host.machine import ComposeMachine
from ...rolling.host.plan import Call
from ...rolling.host.roller import Seen, StepFailed
from ...rolling.host.targets import Target
from ...rolling.stack import Container, Proxy
from ...traffic.host import firewall
from ..in_place import Copy, traces
from . import loaded_code
from .in_place_record import APPLIED, Entry, Record

# Seconds that nginx has to try to connect: a request that waits is sent again after 1, 3 and 7.
_PATIENCE = 10.0


class InPlaceView:
    """The containers of a project whose files a record names.

    :param call: what was found out, as for a roll of their services.
    :param image_of: service → the name of its image, as the record names it.
    """

    def __init__(self, call: Call, machine: ComposeMachine, record: Record, image_of: Mapping[str, str]) -> None:
        self.call, self.record = call, record
        self._machine: ComposeMachine | FencedMachine = machine
        self._raw = machine
        self._targets = {t.settings.name: t for t in call.targets}
        self._entries = {s: record.images[i] for s, i in image_of.items() if i in record.images and s in self._targets}
        self._seen = Seen((), Proxy())

    def look(self) -> list[Copy]:
        """Every container of these services, and what is due in it.

        :raises StepFailed: one cannot be looked at.
        """
        self._seen = self._machine.look()
        return [self._copy(c) for c in self._seen.containers if c.service in self._entries]

    def _copy(self, container: Container) -> Copy:
        target, inspection = self._targets[container.service], self._raw.inspection(container.id)
        main, kind = pid_of(inspection), target.settings.kind
        ended = Copy(container.id, container.name, container.service, kind, running=False, keeps=False)
        if not main:
            return ended
        try:
            written = self._is_written(main, container)
        except RootFailed as error:
            if not processes.has_ended(main):
                raise StepFailed(f"{container.name}: {error}") from error
            # It was told to end by a run that was killed, and has done so since it was inspected.
            return ended
        changed = self._moment(main, container.service) if written else float("inf")
        kept = loaded_code.keeping(main, changed, self._words(container.service))
        if processes.has_ended(main):
            # The same, since its files were looked at: in no memory is what it had loaded.
            return ended
        steered = target.steering is not None and container.service not in self.call.problems
        return Copy(
            container.id, container.name, container.service, kind, written=written, keeps=bool(kept), steered=steered,
            by_signal=bool(kept) and bool(loaded_code.master_of(kept, main)), unholdable=self._unholdable(main, target),
            in_rotation=container.in_rotation,
        )  # fmt: skip

    def _wanted(self, entry: Entry) -> bytes | None:
        return entry.after if self.record.goal == APPLIED else entry.before

    def _is_written(self, main: int, container: Container) -> bool:
        root = LiveRoot(main)
        for entry in self._entries[container.service]:
            there = root.content(entry.path)
            if not self.record.knows(entry, there):
                raise RootFailed(f"{entry.path} is another one than the image has and than the hotfix makes it")
            if there != self._wanted(entry):
                return False
        return True

    def _moment(self, main: int, service: str) -> float:
        """When the last of the files became what it is."""
        root, moments = LiveRoot(main), [0.0]
        for entry in self._entries[service]:
            # Of what is not there nothing tells; its folder changes for other reasons as well.
            at = self.record.since if self._wanted(entry) is None else root.changed(entry.path)
            moments.append(float("inf") if at is None else at)
        return max(moments)

    def _words(self, service: str) -> list[str]:
        found = [
            word
            for entry in self._entries[service]
            for word in traces(entry.path, entry.before is None and self.record.goal == APPLIED)
        ]
        return list(dict.fromkeys(found))

    def _unholdable(self, main: int, target: Target) -> str:
        hasty = min((route.patience for route in target.routes), default=_PATIENCE)
        if hasty < _PATIENCE:
            return f"nginx gives up to connect after {hasty:g} s (proxy_connect_timeout)"
        if self.call.proxy_name == HOST:
            return "requests of this host's own nginx cannot be told from questions whether it is ready"
        if not processes.listening_ports(main):
            return "it listens on no TCP port"
        return firewall.unavailable()
