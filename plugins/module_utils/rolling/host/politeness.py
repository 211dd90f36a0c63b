# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What serves nobody leaves the processors to what does: to boot takes a processor for seconds, as do first answers, and to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ...base.host import processes, processor_share
from ...engine.host.inspection import pid_of, started_at

#: The part of its ``ready_timeout`` for which one does; and as much of a processor as a boot takes at most.
_PART = 0.25
#: The part of the time in which it has to end for which one that ends does; then the engine kills it.
_ENDING = 0.5


class Politeness:
    """Of one roll; containers are named by their ids."""

    def __init__(self) -> None:
        self._booting: dict[str, float] = {}
        self._watched: dict[str, float] = {}
        self._at_work: dict[str, float] = {}
        # For how many seconds each was seen idle, and the last look if it was so then (monotonic seconds).
        self._idle: dict[str, float] = {}
        self._rests: dict[str, float] = {}
        # For which of them the engine has its usual share, which it had not.
        self._helped: set[str] = set()

    def expect(self, timeouts: Mapping[str, float]) -> None:
        """These boot, or will: id → seconds to get ready in."""
        self._booting.update(timeouts)
        self._watched.update(timeouts)

    def starting(
        self, inspection: Mapping[str, Any], others: Iterable[Mapping[str, Any]]
    ) -> AbstractContextManager[None]:
        """While one is started here, beside others that run."""
        other = next((o for o in others if pid_of(o)), None)
        if other is None or inspection["Id"] not in self._booting or _has_own_share(inspection):
            return nullcontext()
        return processor_share.lowered_at_start(inspection["Id"], other["Id"], pid_of(other) or 0)

    def started(self, inspection: Mapping[str, Any]) -> None:
        """One was started here, as it is seen since."""
        if inspection["Id"] in self._booting:
            _have_share(inspection, False)

    def look(self, inspections: Mapping[str, Mapping[str, Any]]) -> None:
        """Those that boot slowly have their usual share again.

        :param inspections: of all containers.
        """
        since = {i: started_at(inspections[i]) for i in self._booting.keys() & inspections.keys()}
        slow = {i for i, began in since.items() if began and time.time() - began > self._booting[i] * _PART}
        # What has ended is helped no more.
        self._await_no_more({i for i in self._helped if not pid_of(inspections.get(i, {}))})
        # Where processors are that short, what starts and asks it needs them too. What says nothing of itself may have booted since long.
        lately = {i for i, at in self._at_work.items() if time.monotonic() - at < self._booting.get(i, 0.0) * _PART / 2}
        starved = slow & lately
        if starved and (self._helped or processor_share.restore_engine()):
            self._helped.update(starved)
        for container_id in slow:
            _have_share(inspections[container_id], True)
            del self._booting[container_id]

    def booted(self, ids: Collection[str]) -> None:
        """They have answered; others of their processes boot on, and each answers its first questions slowly."""
        for container_id in ids:
            self._watched.pop(container_id, None)
        self._await_no_more(ids)

    def _await_no_more(self, ids: Collection[str]) -> None:
        """These boot no more, or not with less than others: the engine has less again, once none but these needed its help."""
        for container_id in ids:
            self._booting.pop(container_id, None)
        if self._helped and self._helped.issubset(ids):
            processor_share.lower_engine()
        self._helped.difference_update(ids)

    @contextmanager
    def ending(self, inspection: Mapping[str, Any], seconds: float) -> Iterator[None]:
        """While one is told to end, and has that many seconds for it; it is nobody's who waits for an answer."""
        _have_share(inspection, False)
        late = threading.Timer(seconds * _ENDING, _have_share, (inspection, True))
        late.daemon = True
        late.start()
        try:
            yield
        except Exception:
            # It may have to serve again.
            _have_share(inspection, True)
            raise
        finally:
            late.cancel()

    def serve(self, inspections: Iterable[Mapping[str, Any]]) -> None:
        """They have their usual share again, also what a killed run has started; what says nothing of itself may boot still."""
        for inspection in inspections:
            _have_share(inspection, True)
            self._await_no_more([inspection["Id"]])

    def idle(self, inspection: Mapping[str, Any]) -> float | None:
        """For how many seconds one that may boot still was seen idle so far; None of one that is not watched, or has had its time.

        Looks may be seconds apart: between two it was idle if it is at both. Where processors are short a boot takes long, so what counts
        is what it has had of them. And the engine is late to say that one has ended (a second, seen with 8 processes that wanted 2
        processors).
        """
        container_id, pid, now = str(inspection["Id"]), pid_of(inspection) or 0, time.monotonic()
        timeout = self._watched.get(container_id, 0.0)
        if time.time() - started_at(inspection) >= timeout or processes.processor_seconds(pid) >= timeout * _PART:
            return None
        busy = processes.at_work(pid) or (pid and processes.has_ended(pid))
        if busy:
            self._at_work[container_id] = now
            self._rests.pop(container_id, None)
        else:
            self._idle[container_id] = self._idle.get(container_id, 0.0) + now - self._rests.get(container_id, now)
            self._rests[container_id] = now
        return self._idle.get(container_id, 0.0)


def _has_own_share(inspection: Mapping[str, Any]) -> bool:
    """Whether its definition says how much of the processors it has, which it keeps."""
    return bool((inspection.get("HostConfig") or {}).get("CpuShares"))


def _have_share(inspection: Mapping[str, Any], usual: bool) -> None:
    if not _has_own_share(inspection):
        (processor_share.restore if usual else processor_share.lower)(pid_of(inspection) or 0)
