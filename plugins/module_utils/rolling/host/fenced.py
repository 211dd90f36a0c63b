# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine on which only the holder of the lock acts: looking is free, each act asks for the number first.

The flock is held until the act has ended, so that one who wakes up after an hour of draining cannot act beside
whoever has taken over, nor be overtaken in the middle of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...engine.answer import Answer
from ...operation.host.journal import Fence
from ..steps import Start
from .roller import Machine, Seen


class FencedMachine:
    """See the module's text; every act may raise :class:`..journal.FencedOff`."""

    def __init__(self, machine: Machine, fence: Fence) -> None:
        self._machine = machine
        self._fence = fence

    def now(self) -> float:
        return self._machine.now()

    def sleep(self, seconds: float) -> None:
        self._machine.sleep(seconds)

    def look(self) -> Seen:
        return self._machine.look()

    def ready(self, ids: Sequence[str]) -> dict[str, Answer]:
        return self._machine.ready(ids)

    def prove(self, ids: Sequence[str], proxied: bool) -> dict[str, Answer]:
        return self._machine.prove(ids, proxied)

    def answered(self, ids: Sequence[str]) -> dict[str, Answer]:
        return self._machine.answered(ids)

    def spare(self, ids: Sequence[str]) -> None:
        with self._fence.act(f"spare {_said(_short(ids))}"):
            self._machine.spare(ids)

    def start(self, step: Start) -> None:
        made = [f"{count} x {name}{' (surge)' if name in step.surges else ''}" for name, count in step.create]
        with self._fence.act(f"start {_said([*made, *_short(step.restart)])}"):
            self._machine.start(step)

    def keep(self, ids: Sequence[str]) -> None:
        with self._fence.act(f"keep {_said(_short(ids))}"):
            self._machine.keep(ids)

    def tasks(self, ids: Sequence[str]) -> dict[str, int | None]:
        return self._machine.tasks(ids)

    def quiesce(self, ids: Sequence[str]) -> list[str]:
        with self._fence.act(f"quiesce {_said(_short(ids))}"):
            return self._machine.quiesce(ids)

    def resume(self, ids: Sequence[str]) -> None:
        with self._fence.act(f"resume {_said(_short(ids))}"):
            self._machine.resume(ids)

    def hold(self, service: str, addresses: Sequence[str]) -> None:
        with self._fence.act(f"hold {service} at {_said(addresses)}"):
            self._machine.hold(service, addresses)

    def rotate(self, service: str, addresses: Sequence[str]) -> None:
        with self._fence.act(f"rotate {service} to {_said(addresses)}"):
            self._machine.rotate(service, addresses)

    def await_dns(self, service: str) -> None:
        with self._fence.act(f"await DNS of {service}"):
            self._machine.await_dns(service)

    def unpin(self, service: str) -> None:
        with self._fence.act(f"unpin {service}"):
            self._machine.unpin(service)

    def stop(self, ids: Sequence[str], idle: Collection[str] = ()) -> None:
        with self._fence.act(f"stop {_said(_short(ids))}"):
            self._machine.stop(ids, idle)

    def remove(self, ids: Sequence[str]) -> None:
        with self._fence.act(f"remove {_said(_short(ids))}"):
            self._machine.remove(ids)


def _short(ids: Sequence[str]) -> list[str]:
    return [i[:12] for i in ids]


def _said(things: Sequence[str]) -> str:
    return ", ".join(things) or "nothing"
