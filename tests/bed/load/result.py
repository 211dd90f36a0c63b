# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a run: the JSON file as an object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .wire import AGENT

FORMAT = 1


def is_unread(failure: Mapping[str, Any], proxy_log: str) -> bool:
    """Whether a request was sent and the proxy never read it; see :meth:`Result.judged_by`."""
    return bool(failure.get("agent")) and f'{failure["agent"]}"' not in proxy_log


@dataclass(frozen=True)
class Measures:
    """Counts and latencies of a run or of one phase. Latencies and gaps are milliseconds.

    `latency_ms` runs from the moment the schedule wanted the request, `latency_from_send_ms` from the moment
    it was begun; both hold successful requests of ordinary clients only (not slow, slow12, stream, upload).
    `longest_gap_ms` is the longest time without any success, `longest_app_gap_ms` without one other than a
    static file, which a proxy serves while the application is gone; each began at `…_at` seconds.
    """

    total: int
    ok: int
    failed: int
    failed_by_kind: Mapping[str, int]
    status_codes: Mapping[str, int]
    idle_close: int
    longest_gap_ms: float
    longest_gap_at: float
    longest_app_gap_ms: float
    longest_app_gap_at: float
    latency_ms: Mapping[str, float]
    latency_from_send_ms: Mapping[str, float]


@dataclass(frozen=True)
class Phase(Measures):
    """The measures of one phase, which began at `start` and lasted `seconds` (seconds)."""

    name: str
    start: float
    seconds: float


@dataclass(frozen=True)
class Result(Measures):
    """All of a run. `raw` is the whole JSON; times in it are seconds after `started`, where not said otherwise.

    `idle_close` counts closes of idle connections that strict clients ran into, apart from failures;
    `idle_close_raced` those of them that no client could have seen coming, since close and request crossed.
    `keepalive_race` counts the same crossing where it hit a careful client: these are *in* `failed` as well.
    `overflow` counts arrivals not sent for too many in flight: these are in `failed` too.
    """

    started: str
    ended: str
    seconds: float
    ended_by: str
    idle_close_raced: int
    keepalive_race: int
    overflow: int
    abandoned: int
    rate: Mapping[str, float]
    phases: tuple[Phase, ...]
    versions: Mapping[str, Mapping[str, float]]
    failures: tuple[Mapping[str, Any], ...]
    acknowledged: int
    unknown_orders: Mapping[str, str]
    generator: Mapping[str, float]
    raw: Mapping[str, Any]

    @property
    def failed_beyond_race(self) -> int:
        """Failures that are not nginx's keep-alive race with a careful client."""
        return self.failed - self.keepalive_race

    def judged_by(self, proxy_log: str) -> Result:
        """The same result with `keepalive_race` counted from the proxy's log instead of guessed from the time it took.

        A proxy that has read a request logs it, with its User-Agent; one whose reload closes an idle connection
        at the moment that a request arrives on it logs nothing. Only failures that were kept can be excused.
        """
        if self.total and f"{AGENT}/" not in proxy_log:
            raise ValueError("the proxy's log names no request of a load: its log_format has no $http_user_agent")
        return replace(self, keepalive_race=sum(is_unread(f, proxy_log) for f in self.failures))

    @property
    def flawless(self) -> bool:
        """No failure, nothing left unsent, nothing cut off by the generator itself, and something was asked."""
        return self.total > 0 and self.failed == 0 and self.abandoned == 0

    def phase(self, name: str) -> Phase:
        """The phase of that name; raises KeyError."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise KeyError(f"no phase {name!r}; there are {', '.join(phase.name for phase in self.phases)}")

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Result:
        """The object for what the generator wrote."""
        if raw.get("format") != FORMAT:
            raise ValueError(f"a result of format {raw.get('format')!r}, this reads {FORMAT}")
        own = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        phases = tuple(Phase(**phase) for phase in raw["phases"])
        return cls(**own | {"phases": phases, "failures": tuple(raw["failures"]), "raw": raw})

    @classmethod
    def read(cls, path: Path) -> Result:
        """The result in a file."""
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
