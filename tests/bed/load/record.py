# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured while a run goes on: counts, failures, gaps, latencies, versions, phases."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

KEPT = 20_000
"""How many failures (and idle closes) are kept in full."""

BEFORE = "before"
"""The phase a run begins in."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request that came to its end. Times are seconds after the start of the run.

    `due` is when the schedule wanted it, `begun` when it was begun (connecting included), `ended` when it was
    over. `kind` is empty for success. `idle_close` is never a success and never a failure. `race`: an idle
    connection was closed, or closing, when the request was sent; `stale`: and that could have been seen. `agent`:
    the request's User-Agent where a used connection was closed without an answer, so that the proxy's log can
    tell whether it was read at all.
    """

    client: str
    method: str
    path: str
    due: float
    begun: float
    ended: float
    kind: str = ""
    detail: str = ""
    status: int = 0
    version: str = ""
    ordinary: bool = True
    idle_close: bool = False
    race: bool = False
    stale: bool = False
    agent: str = ""


def percentile(ordered: array[float], share: float) -> float:
    """The nearest-rank percentile of an ordered array; 0 for an empty one."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def distribution(seconds: Iterable[float]) -> dict[str, float]:
    """Count and p50/p90/p99/max of latencies given in seconds, as milliseconds."""
    ordered = array("d", sorted(seconds))
    points = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "max": 1.0}
    return {"count": len(ordered)} | {
        name: round(percentile(ordered, share) * 1000, 1) for name, share in points.items()
    }


@dataclass(slots=True)
class Tally:
    """Counts and latencies of one slice: the run, a phase, or a kind of client."""

    total: int = 0
    ok: int = 0
    idle_close: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    from_due: array[float] = field(default_factory=lambda: array("d"))
    from_begun: array[float] = field(default_factory=lambda: array("d"))
    gap: float = 0.0
    gap_at: float = 0.0
    app_gap: float = 0.0
    app_gap_at: float = 0.0

    def add(self, entry: Entry) -> None:
        """Count one request."""
        self.total += 1
        if entry.idle_close:
            self.idle_close += 1
        elif entry.kind:
            self.kinds[entry.kind] += 1
            if entry.kind.startswith("status_"):
                self.statuses[str(entry.status)] += 1
        else:
            self.ok += 1
            if entry.ordinary:
                self.from_due.append(entry.ended - entry.due)
                self.from_begun.append(entry.ended - entry.begun)

    def saw_gap(self, start: float, end: float) -> None:
        """No success between these two moments (seconds)."""
        if end - start > self.gap:
            self.gap, self.gap_at = end - start, start

    def saw_app_gap(self, start: float, end: float) -> None:
        """No success that the application itself had part in between these two moments (seconds)."""
        if end - start > self.app_gap:
            self.app_gap, self.app_gap_at = end - start, start

    def counts(self) -> dict[str, Any]:
        """The counts, as JSON has them."""
        return {
            "total": self.total,
            "ok": self.ok,
            "failed": self.total - self.ok - self.idle_close,
            "failed_by_kind": dict(sorted(self.kinds.items())),
            "status_codes": dict(sorted(self.statuses.items())),
            "idle_close": self.idle_close,
        }

    def measures(self) -> dict[str, Any]:
        """Counts, latencies (milliseconds) and the longest times without a success (milliseconds)."""
        return self.counts() | {
            "latency_ms": distribution(self.from_due),
            "latency_from_send_ms": distribution(self.from_begun),
            "longest_gap_ms": round(self.gap * 1000, 1),
            "longest_gap_at": round(self.gap_at, 3),
            "longest_app_gap_ms": round(self.app_gap * 1000, 1),
            "longest_app_gap_at": round(self.app_gap_at, 3),
        }


@dataclass(slots=True)
class _Phase:
    name: str
    start: float
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class _Seen:
    first: float
    last: float
    answers: int = 0


class Recorder:
    """Takes every entry once, in the order in which requests end, and every mark."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._all = Tally()
        self._clients: dict[str, Tally] = {}
        self._phases = [_Phase(BEFORE, 0.0)]
        self._marks: list[dict[str, Any]] = []
        self._versions: dict[str, _Seen] = {}
        self._seconds: dict[int, Counter[str]] = {}
        self._failures: list[dict[str, Any]] = []
        self._idle: list[dict[str, Any]] = []
        self._raced: array[float] = array("d")
        self._keepalive_race = 0
        self._last_ok = 0.0
        self._last_app_ok = 0.0
        self._arrivals_ended: float | None = None

    @property
    def counts(self) -> dict[str, Any]:
        """The counts so far."""
        return self._all.counts()

    def last_second(self, now: float) -> dict[str, int]:
        """What was counted in the last full second before `now` (seconds)."""
        return dict(self._seconds.get(int(now) - 1, {}))

    def mark(self, name: str, at: float) -> None:
        """A phase begins: `X-start` begins phase `X`, `X-end` begins `after-X`, any other begins its own name.

        A phase that was there before gets a number, so that two updates in one run stay two.
        """
        self._marks.append({"name": name, "at": round(at, 3)})
        if name.endswith("-start"):
            phase = name.removesuffix("-start")
        elif name.endswith("-end"):
            phase = f"after-{name.removesuffix('-end')}"
        else:
            phase = name
        same = sum(1 for other in self._phases if other.name.partition("#")[0] == phase)
        self._phases.append(_Phase(f"{phase}#{same + 1}" if same else phase, at))

    def record(self, entry: Entry) -> None:
        """Count one request that came to its end. It belongs to the phase in which it ended."""
        phase = self._phases[-1].tally
        for tally in (self._all, phase, self._clients.setdefault(entry.client, Tally())):
            tally.add(entry)
        second = self._seconds.setdefault(int(entry.ended), Counter())
        if entry.version:
            seen = self._versions.setdefault(entry.version, _Seen(entry.ended, entry.ended))
            seen.last = entry.ended
            seen.answers += 1
            second[entry.version] += 1
        if entry.idle_close:
            if not entry.stale:
                self._raced.append(entry.ended - entry.begun)
            self._keep(self._idle, entry)
            second["idle_close"] += 1
        elif entry.kind:
            self._keepalive_race += entry.race
            self._keep(self._failures, entry)
            second["failed"] += 1
        else:
            second["ok"] += 1
            # A proxy goes on serving static files while the application is gone: that must not hide its gap.
            app = not entry.path.startswith("/static/")
            self._saw_gap(entry.ended, app)
            self._last_ok = entry.ended
            self._last_app_ok = entry.ended if app else self._last_app_ok

    def arrivals_end(self, at: float) -> None:
        """Nobody comes any more from `at` on: that no one is answered after this is no gap."""
        self._saw_gap(at)
        self._arrivals_ended = at

    def _saw_gap(self, end: float, app: bool = True) -> None:
        if self._arrivals_ended is not None:
            return
        for tally in (self._all, self._phases[-1].tally):
            tally.saw_gap(self._last_ok, end)
            if app:
                tally.saw_app_gap(self._last_app_ok, end)

    def _keep(self, kept: list[dict[str, Any]], entry: Entry) -> None:
        if len(kept) < self._kept:
            kept.append(
                {
                    "at": round(entry.ended, 3),
                    "begun": round(entry.begun, 3),
                    "kind": entry.kind,
                    "client": entry.client,
                    "method": entry.method,
                    "path": entry.path,
                    "version": entry.version,
                    "detail": entry.detail,
                    "agent": entry.agent,
                }
            )

    def finish(self) -> dict[str, Any]:
        """Everything, as JSON has it, after `arrivals_end`. The last phase lasts until then."""
        ends = [phase.start for phase in self._phases[1:]] + [max(self._arrivals_ended or 0, self._phases[-1].start)]
        return self._all.measures() | {
            "idle_close_raced": len(self._raced),
            "idle_close_raced_ms": distribution(self._raced),
            "keepalive_race": self._keepalive_race,
            "by_client": {name: tally.counts() for name, tally in sorted(self._clients.items())},
            "phases": [
                {"name": phase.name, "start": round(phase.start, 3), "seconds": round(end - phase.start, 3)}
                | phase.tally.measures()
                for phase, end in zip(self._phases, ends, strict=True)
            ],
            "marks": self._marks,
            "versions": {
                name: {"first": round(seen.first, 3), "last": round(seen.last, 3), "answers": seen.answers}
                for name, seen in self._versions.items()
            },
            "timeline": [{"second": second} | dict(counts) for second, counts in sorted(self._seconds.items())],
            "failures": self._failures,
            "idle_closes": self._idle,
        }
