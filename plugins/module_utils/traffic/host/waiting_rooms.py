# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The waiting rooms of one project on this host; see :mod:`..waiting_room`."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ...base.host import processes
from ...engine.host import app_script
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.inspection import gateways_of, label_of, pid_of
from ...engine.host.interpreter import words_for
from .. import waiting_room
from ..inside import waiting_room as server
from . import firewall

# Seconds: until a room listens; after which requests are let in by themselves, so late that no gap is that long.
_BOOT, _ENDS = 20.0, 6 * 3600.0


class WaitingRooms:
    """See the module's text.

    :ivar beside: id of a web container → id of the room beside it.
    """

    def __init__(self, engine: Engine, project: str) -> None:
        self._engine, self._project = engine, project
        self.beside: dict[str, str] = {}
        self.look()

    def look(self) -> None:
        """See which there are; one that has ended is none."""
        found = self._engine.containers({waiting_room.LABEL: self._project})
        self.beside = {label_of(i, waiting_room.BESIDE): str(i["Id"]) for i in found if pid_of(i)}

    def open(self, inspection: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Start a room beside a web container; nobody is led there yet.

        :raises EngineFailed: it does not listen. Nothing of it is left then.
        """
        beside, name = str(inspection["Id"]), str(inspection["Name"]).lstrip("/")
        command = [*words_for(), "-I", "-c", app_script.as_text([server], [waiting_room.PORT])]
        made = self._engine.create(
            f"{name}-waiting-{time.time_ns() // 1_000_000}",
            waiting_room.room_of(inspection, self._project, command),
            (),
            {"/": _archive(told)},
            start=True,
        )
        until = time.monotonic() + _BOOT
        main = pid_of(inspection) or 0
        while not processes.listens(main, waiting_room.PORT):
            state = self._engine.inspect(made)
            if pid_of(state) is None or time.monotonic() > until:
                said = self._engine.logs(made).strip()[-300:]
                self._engine.discard(made)
                raise EngineFailed(f"nothing beside {name} could be started in which requests would wait: {said}")
            time.sleep(0.05)
        self.beside[beside] = made

    def divert(self, inspection: Mapping[str, Any], ports: Sequence[int], but_this_host: bool = False) -> None:
        """Lead new connections to these ports of a web container to the room beside it.

        :param but_this_host: this host, which asks whether the container answers, reaches the container.
        :raises firewall.FirewallFailed: nft refuses.
        """
        passing = gateways_of(inspection) if but_this_host else ()
        firewall.divert(pid_of(inspection) or 0, ports, waiting_room.PORT, _ENDS, passing)

    def is_full(self, container: str) -> bool:
        """Whether requests to a container wait in a room, or get the page, and are not passed on."""
        told = self.told(container)
        return bool(told) and not told.get("to")

    def told(self, container: str) -> dict[str, Any]:
        """What the room beside a container was told, empty where there is none."""
        if container not in self.beside:
            return {}
        with contextlib.suppress(tarfile.TarError, ValueError, KeyError, EngineFailed):
            found = self._engine.archive(self.beside[container], server.STATE)
            with tarfile.open(fileobj=io.BytesIO(found)) as archive:
                content = archive.extractfile(archive.getmembers()[0])
                result: dict[str, Any] = json.loads(content.read()) if content else {}
                return result
        return {}

    def tell(self, container: str, told: Mapping[str, Any]) -> None:
        """Tell the room beside a container something else.

        :raises EngineFailed: it is gone.
        """
        self._engine.fill(self.beside[container], "/", _archive(told))

    def lead(self, container: str, addresses: Sequence[str]) -> None:
        """Have everything that waits, and whatever else comes, passed on to these addresses."""
        self.tell(container, waiting_room.led(self.told(container), addresses))

    def hold_again(self, container: str) -> None:
        """Have what comes wait once more."""
        self.tell(container, waiting_room.again(self.told(container), time.time()))

    def connections(self, container: str, pid: int) -> int:
        """How many requests are in the room beside the container with this main process."""
        return processes.connections(pid, waiting_room.PORT) if container in self.beside else 0

    def close(self, container: str, pid: int, patience: float) -> dict[str, Any]:
        """Lead nobody to a room any more, wait until it is empty, and take it away; returns its counts.

        :param pid: of the main process of the container beside it, 0 where it does not run.
        :param patience: seconds to wait until it is empty.
        """
        room = self.beside.pop(container, "")
        if not room:
            return {}
        if pid:
            firewall.divert_none_new(pid)
            until = time.monotonic() + patience
            while processes.connections(pid, waiting_room.PORT) and time.monotonic() < until:
                time.sleep(0.05)
            firewall.divert_no_more(pid)
            # It prints what it has done at its next look.
            time.sleep(0.1)
        counts = app_script.answer_in(self._engine.logs(room)) or {}
        self._engine.discard(room)
        return counts

    def sweep(self) -> None:
        """Take away rooms that have ended, and those beside which nothing runs any more."""
        for inspection in self._engine.containers({waiting_room.LABEL: self._project}):
            beside = self._engine.inspect(label_of(inspection, waiting_room.BESIDE))
            if pid_of(inspection) is None or pid_of(beside) is None:
                self.beside.pop(label_of(inspection, waiting_room.BESIDE), None)
                self._engine.discard(str(inspection["Id"]))


def _archive(told: Mapping[str, Any]) -> bytes:
    content = json.dumps(told).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(server.STATE.lstrip("/"))
        # Whoever reads it is the app's user.
        entry.size, entry.mode, entry.mtime = len(content), 0o644, time.time()
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
