# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a run as a table for people. Plain ASCII: it is read in terminals and pasted into mails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .audit import Audit, Heartbeats
from .result import Measures, Result

_SHOWN = 5


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _time(milliseconds: float) -> str:
    return f"{milliseconds:,.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:,.1f} s"


def _failures(measures: Measures) -> str:
    kinds = ", ".join(f"{kind} {_number(number)}" for kind, number in measures.failed_by_kind.items())
    codes = ", ".join(f"{code} x {number}" for code, number in measures.status_codes.items())
    return _number(measures.failed) + (f"  ({kinds}{'; ' + codes if codes else ''})" if kinds else "")


def _phases(result: Result) -> list[str]:
    lines = [["phase", "seconds", "requests", "failed", "p50", "p99", "longest", "gap"]]
    for phase in result.phases:
        counts = [f"{phase.seconds:.1f}", _number(phase.total), _number(phase.failed)]
        latency = phase.latency_ms
        times = [_time(latency[name]) for name in ("p50", "p99", "max")] if latency["count"] else ["-"] * 3
        lines.append([phase.name, *counts, *times, _time(phase.longest_app_gap_ms)])
    name_width, *widths = (max(map(len, column)) for column in zip(*lines, strict=True))
    return [
        "  ".join(["", line[0].ljust(name_width), *(c.rjust(w) for c, w in zip(line[1:], widths, strict=True))])
        for line in lines
    ]


def _facts(result: Result, audit: Audit | None, heartbeats: Heartbeats | None) -> Iterable[tuple[str, str]]:
    rate = result.rate
    yield "requests", f"{_number(result.total)}  ({rate['requests']:.0f}/s; arrivals {rate['arrivals']:.0f}/s)"
    yield "failed", _failures(result)
    if result.keepalive_race:
        yield (
            "",
            f"of these {result.keepalive_race} crossed nginx's close of an idle connection: never read, its own race at a reload",
        )
    why = f"  (nginx's own, met by strict clients; {result.idle_close_raced} crossed the request)"
    yield "idle closes", _number(result.idle_close) + (why if result.idle_close else "")
    app_gap = f"{_time(result.longest_app_gap_ms)} without an answer of the application"
    yield "longest gap", f"{app_gap}, at {result.longest_app_gap_at:.1f} s ({_time(result.longest_gap_ms)} without any)"
    for name, seen in result.versions.items():
        yield f"version {name}", f"{seen['first']:.1f} s to {seen['last']:.1f} s  ({_number(seen['answers'])} answers)"
    if audit:
        lost, double = len(audit.lost_rows), len(audit.double_rows) + len(audit.wrong_ids)
        yield "orders", f"acknowledged {audit.acknowledged:,}, found {audit.found:,}, lost {lost}, double {double}"
        yield "tasks", f"run {audit.tasks_run:,}, lost {len(audit.lost_tasks)}, double {len(audit.double_tasks)}"
        if audit.unknown:
            yield "outcome unknown", f"{audit.unknown} orders, {audit.unknown_found} of them stored"
    else:
        yield "orders", f"acknowledged {result.acknowledged:,}, outcome unknown {len(result.unknown_orders)}"
    if heartbeats:
        gap = f"longest silence {heartbeats.longest_gap:.1f} s"
        yield "heartbeats", f"{heartbeats.count:,}, double {len(heartbeats.double_slots)}, {gap}"
    if result.abandoned:
        yield "cut off", f"{result.abandoned} requests were in flight when the load was ended by force"
    lag = result.generator["worst_lag_ms"]
    if lag > 250:
        yield "beware", f"the load itself was late by up to {_time(lag)}: this machine was too busy to measure finely"


def summary_table(
    result: Result,
    audit: Audit | None = None,
    heartbeats: Heartbeats | None = None,
    extra: Sequence[tuple[str, str]] = (),
) -> str:
    """The table; `extra` are further lines of (what, figure). The first failures follow, if there are any."""
    facts = [*_facts(result, audit, heartbeats), *extra]
    width = max(len(name) for name, _text in facts)
    lines = [f"Load on {result.raw['target']} ({result.raw['host']}), {result.seconds:.1f} s from {result.started}"]
    lines += [f"  {name.ljust(width)}  {text}" for name, text in facts]
    lines += ["", *_phases(result)]
    if result.failures:
        lines += ["", f"  First failures ({min(_SHOWN, len(result.failures))} of {result.failed:,}):"]
        for failure in result.failures[:_SHOWN]:
            what = f"{failure['method']} {failure['path']} ({failure['client']})"
            lines.append(f"  {failure['at']:8.2f} s  {failure['kind']}  {what}: {failure['detail']}")
    return "\n".join(lines) + "\n"
