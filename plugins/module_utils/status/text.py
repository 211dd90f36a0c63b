# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A status as lines for people: first what has to be done, then everything that was seen."""

from __future__ import annotations

from collections.abc import Iterable

from ..base.printable import printable
from ..base.truncate_list import some
from .findings import ACT, Seen, findings, in_bytes, state_of

_SHOWN = 8


def text(seen: Seen) -> list[str]:
    """The same as lines for people; what a stranger named cannot steer a terminal."""
    found = findings(seen)
    lines = [f"{seen.app} on {seen.host or 'this host'} at {seen.at}: {state_of(found, seen)}"]
    for finding in found:
        lines.append(f"{'!' if finding.level == ACT else '-'} {finding.about}: {finding.what}")
        lines += [f"    next: {finding.next}"] if finding.next else []
    parts = {
        "release": _release_lines, "hotfixes": _hotfix_lines, "services": _service_lines, "migrations": _migration_lines,
        "drift": _drift_lines,
        "way back": _rollback_target_lines, "operations": _operation_lines, "backups": _backup_lines, "host": _host_lines,
    }  # fmt: skip
    for name, lines_of in parts.items():
        lines += _named(name, lines_of(seen))
    return [printable(line) for line in lines]


def _named(name: str, lines: Iterable[str]) -> list[str]:
    return [f"{name if n == 0 else '':<11}{line}" for n, line in enumerate(lines)]


def _release_lines(seen: Seen) -> list[str]:
    release = seen.release
    if not release:
        return ["none is current"]
    name = f"{release['id']}  {release.get('version') or '?'} ({str(release.get('revision') or '')[:12]})"
    state = f"{release.get('state')} {release.get('verified_at') or ''}".strip()
    others = [f"{r['id']} ({r['state']})" for r in seen.releases if r["id"] != release["id"]]
    return [f"{name}, {state}", *([f"also: {', '.join(others)}"] if others else [])]


def _hotfix_lines(seen: Seen) -> list[str]:
    lines = []
    for one in seen.hotfixes:
        paths = [str(p) for p in one["files"]]
        at = f" ({str(one['revision'])[:12]})" if one["revision"] else ""
        lines.append(
            f"{one['name']}{at}, {', '.join(one['kinds']) or '?'}, {one['made'] or '?'}: {some(paths, _SHOWN)}"
        )
    # Most apps have none, and a line for that tells nobody anything.
    return lines


def _service_lines(seen: Seen) -> list[str]:
    lines = []
    for service in seen.services:
        if not service.containers:
            lines.append(
                f"{service.name:<14}{service.kind:<10}{'runs to its end' if service.kind == 'job' else 'nothing runs'}"
            )
        for c in service.containers:
            code = c.revision[:12] or c.image.rpartition(":")[2][:12]
            used = "" if c.memory is None else f"  {c.cpu or 0.0:.1f} % CPU, {in_bytes(c.memory)}"
            state = f"{c.state}{f', {c.health}' if c.health else ''}{f', {c.restarts} restarts' if c.restarts else ''}"
            lines.append(f"{service.name:<14}{service.kind:<10}{state} since {c.since}  {code}{used}")
    return lines or ["none is known"]


def _migration_lines(seen: Seen) -> list[str]:
    report = seen.migrations
    if not report:
        return [_not_looked(seen, "migrations")]
    open_ones = len(report.get("open") or ())
    return [
        f"{report.get('applied') or 0} applied, {report.get('pending') or 0} pending, {open_ones} operations put off"
    ]


def _not_looked(seen: Seen, part: str) -> str:
    return f"not looked at{': ' + seen.unseen[part] if part in seen.unseen else ''}"


def _drift_lines(seen: Seen) -> list[str]:
    differing = sum(len(e.get("differences") or ()) + int(e.get("more") or 0) for e in seen.edits)
    first = f"{differing} paths differ" if differing else "none"
    if "drift" in seen.unseen or "drift" not in seen.looked:
        first = _not_looked(seen, "drift")
    return [first, *(f"left: {what}" for what in seen.leftovers)]


def _rollback_target_lines(seen: Seen) -> list[str]:
    back = seen.rollback_target
    if not back.release:
        return ["none"]
    there = "; ".join([*back.missing, *back.archived]) or "all of it is here"
    there += "; its archive is being written" if back.being_archived else ""
    verdict = f"; database: {back.verdict}" if back.verdict else ""
    return [f"{back.release}  {back.version or '?'} ({back.revision[:12]}): {there}{verdict}"]


def _operation_lines(seen: Seen) -> list[str]:
    lines = []
    for record in list(seen.records)[:_SHOWN]:
        took = f" in {float(record['seconds']):.1f} s" if record.get("seconds") else ""
        reason = f": {record['reason']}" if record.get("reason") else ""
        who = f"by {record.get('who')}, {record.get('result') or 'not ended'}{took}{reason}"
        lines.append(f"{record.get('started')}  {record.get('playbook')} to {record.get('target') or '-'} {who}")
    return lines or ["none is recorded"]


def _backup_lines(seen: Seen) -> list[str]:
    lines = []
    for one in list(seen.backups)[:_SHOWN]:
        before = f", from before {', '.join(one['releases'])}" if one.get("releases") else ""
        lines.append(f"{one['name']}  {in_bytes(int(one['bytes']))}, {one['proven'] or 'not proven'}{before}")
    return lines or ["none"]


def _host_lines(seen: Seen) -> list[str]:
    total, free = int(seen.memory.get("total", 0)), int(seen.memory.get("available", 0))
    first = f"load {seen.load:.2f} on {seen.cpus} CPUs, {in_bytes(free)} of {in_bytes(total)} memory available"
    return [first, *(f"{d['path']}: {in_bytes(int(d['free']))} of {in_bytes(int(d['size']))} free" for d in seen.disks)]
