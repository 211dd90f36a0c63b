# SPDX-License-Identifier: GPL-3.0-or-later
"""The run itself: arrivals by the clock, whatever becomes of those before.

An open loop is what users are: nobody waits for a stranger's request to be answered before clicking. Each
latency counts from the moment the schedule wanted the request, so a stall is seen by all who came during it.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import Any

from .clients import Clients
from .control import Control
from .options import LONG, ORDINARY, Options
from .orders import OrderBook
from .record import Entry, Recorder
from .result import FORMAT, Result


def _utc() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Generator:
    """One run. `stop()` ends the arrivals, `cut()` also what is still in flight."""

    def __init__(self, options: Options) -> None:
        run = secrets.token_hex(4)
        self.options = options if options.seed else replace(options, seed=int(run, 16) or 1)
        self.recorder = Recorder()
        self.in_flight = 0
        self.peak_in_flight = 0
        self.arrivals = 0
        self.sent = 0
        self.overflow = 0
        self.abandoned = 0
        self.worst_lag = 0.0
        self._run = run
        self._orders = OrderBook(run, options.acknowledged)
        self._clients = Clients(self.options, self.recorder, self._orders, self.now, self._admit)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._cut = asyncio.Event()
        self._ended_by = ""
        self._start = 0.0

    def now(self) -> float:
        """Seconds after the start."""
        return time.monotonic() - self._start

    def stop(self, why: str = "signal") -> None:
        """End the arrivals; what is in flight comes to its end."""
        self._ended_by = self._ended_by or why
        self._stopped.set()

    def cut(self) -> None:
        """End all of it now; what was in flight is counted as abandoned."""
        self.stop()
        self._cut.set()

    def mark(self, name: str) -> None:
        """Begin a phase now."""
        self.recorder.mark(name, self.now())

    async def run(self) -> Result:
        """Run to the end, write the result file, and return the result."""
        started, cpu = _utc(), time.process_time()
        self._start = time.monotonic()
        control = Control(self.options.control, self)
        watchers = [asyncio.create_task(control.watch()), asyncio.create_task(self._report())]
        arrivals = asyncio.create_task(self._arrivals())
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait({arrivals, stopped}, return_when=asyncio.FIRST_COMPLETED)
        arrivals_ended = self.now()
        self.recorder.arrivals_end(arrivals_ended)
        self.stop("duration")
        if arrivals.done():
            arrivals.result()
        await self._drain()
        control.read()
        self._clients.close()
        for task in (*watchers, arrivals, stopped):
            task.cancel()
        await asyncio.gather(*watchers, arrivals, stopped, return_exceptions=True)
        raw = self._raw(started, arrivals_ended, time.process_time() - cpu)
        if self.options.result:
            _write(self.options.result, raw)
        return Result.from_json(raw)

    async def _arrivals(self) -> None:
        """All schedules of the mix: one for the ordinary clients together, one for each long kind."""
        mix = self.options.mix
        ordinary = {name: mix[name] for name in ORDINARY if mix.get(name)}
        schedules = [self._arrive(ordinary, 1.0 / self.options.rate)] if ordinary else []
        for name in LONG:
            if mix.get(name):
                schedules.append(self._arrive({name: 1}, self.options.durations[name] / mix[name]))
        await asyncio.gather(*schedules)

    async def _arrive(self, weights: Mapping[str, int], period: float) -> None:
        """Start one client every `period` seconds; those that are overdue start at once, none is left out."""
        names, shares, random = list(weights), list(weights.values()), Random(self.options.seed)
        number = 0
        while (due := number * period) < self.options.seconds:
            wait = due - self.now()
            if wait > 0:
                await asyncio.sleep(wait)
            if self._stopped.is_set():
                return
            client = random.choices(names, shares)[0]
            if not self._admit():
                self.stop("requests")
                return
            number += 1
            self.arrivals += 1
            now = self.now()
            self.worst_lag = max(self.worst_lag, now - due)
            if self.in_flight >= self.options.max_in_flight:
                self._overflow(client, due, now)
                continue
            self.in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
            task = asyncio.create_task(self._clients.serve(client, due))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _admit(self) -> bool:
        """Whether the bound on requests leaves room for one more."""
        self.sent += 1
        return self.sent <= self.options.max_requests

    def _overflow(self, client: str, due: float, now: float) -> None:
        """An arrival that could not be sent is a failure like any other: somebody was there and got nothing."""
        self.overflow += 1
        detail = f"not sent: {self.in_flight} requests in flight"
        self.recorder.record(Entry(client, "-", "-", due, now, now, kind="overflow", detail=detail))

    def _done(self, task: asyncio.Task[None]) -> None:
        self.in_flight -= 1
        self._tasks.discard(task)
        if task.cancelled():
            self.abandoned += 1
        elif error := task.exception():
            # A mistake of the generator's own must not look like a quiet server.
            now = self.now()
            self.recorder.record(Entry("generator", "-", "-", now, now, now, "internal_error", repr(error)))

    async def _drain(self) -> None:
        """Let what is in flight come to its end, for at most `drain` seconds; the rest is cut and counted."""
        deadline = time.monotonic() + self.options.drain
        cut = asyncio.create_task(self._cut.wait())
        while self._tasks and not cut.done() and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait({*self._tasks, cut}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        cut.cancel()
        rest = list(self._tasks)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)

    async def _report(self) -> None:
        """A line every `progress` seconds to stderr, if wanted."""
        while self.options.progress:
            await asyncio.sleep(self.options.progress)
            counts, now = self.recorder.counts, self.now()
            last = " ".join(f"{name} {number}/s" for name, number in self.recorder.last_second(now).items())
            print(
                f"load {now:6.1f} s  {counts['total']} requests, {counts['failed']} failed,"
                f" {self.in_flight} in flight; {last}",
                file=sys.stderr,
                flush=True,
            )

    def _raw(self, started: str, arrivals_ended: float, cpu: float) -> dict[str, Any]:
        measured = self.recorder.finish()
        unknown = self._orders.close()
        lasted = max(arrivals_ended, 1e-6)
        options = self.options
        return {
            "format": FORMAT,
            "run": self._run,
            "target": f"http{'s' if options.target.tls else ''}://{options.target.address}:{options.target.port}",
            "host": options.target.host,
            "mix": dict(options.mix),
            "seed": options.seed,
            "started": started,
            "ended": _utc(),
            "seconds": round(arrivals_ended, 3),
            "ended_by": self._ended_by,
            "overflow": self.overflow,
            "abandoned": self.abandoned,
            "rate": {
                "offered": options.rate,
                "arrivals": round(self.arrivals / lasted, 2),
                "requests": round(measured["total"] / lasted, 2),
                "ok": round(measured["ok"] / lasted, 2),
            },
            "acknowledged": self._orders.acknowledged,
            "unknown_orders": dict(unknown),
            "generator": {
                "cpu_seconds": round(cpu, 3),
                "cpu_share": round(cpu / max(self.now(), 1e-6), 4),
                "worst_lag_ms": round(self.worst_lag * 1000, 1),
                "peak_in_flight": self.peak_in_flight,
                "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                "reconnects": self._clients.reconnects,
            },
        } | measured


def _write(path: Path, raw: dict[str, Any]) -> None:
    """Write the file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
