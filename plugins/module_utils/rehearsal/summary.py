# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people read of a rehearsal: what it would do, what it foretells, what went wrong in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..base.truncate_list import some


def no_room(needed: int, spare: int, free: int, disk: str, memory: int, available: int) -> str:
    """Why there is no room for it, empty where there is (bytes)."""
    if needed + needed // 4 + spare > free:
        return (
            f"{disk} has {free // 2**20} MiB free, what is restored takes about {needed // 2**20} MiB, and "
            f"{spare // 2**20} MiB are to be left"
        )
    if memory > available:
        return (
            f"{available // 2**20} MiB of memory are available, and the rehearsal's database may take {memory // 2**20}"
        )
    return ""


def foreseen(apps: Sequence[str], backups: Sequence[str], problem: str) -> str:
    """What a call would do."""
    on = ", ".join(backups) or "the backup that is made before (there is none yet)"
    text = f"would rehearse on {on}: its migrations, then {apps[-1]} with GET requests"
    return f"{text}; now there would be no room: {problem}" if problem else text


def cause(message: str) -> str:
    """What a failed migration was about, without what is true of production only."""
    return message.partition("\nNow:")[0].replace("What: ", "", 1)


def advice(given: str, withheld: Sequence[str]) -> str:
    """What to do about it."""
    text = given or "correct it, and run the same command again"
    names = some(withheld, 12)
    more = (
        f"; the rehearsal was not told these variables: {names} (update_rehearsal.environment names those it may know)"
    )
    return text + more if withheld else text


def failure(what: str, backups: Sequence[str], then: str) -> str:
    """What went wrong, and that production has nothing of it."""
    return (
        f"What: in the rehearsal on {', '.join(backups)}: {what}\n"
        f"Now: production was not touched, what was serving still is; the rehearsal is gone\nNext: {then}"
    )


def _one(entry: Mapping[str, Any]) -> str:
    return f"{entry['app']}.{entry['name']}" + (f" ({entry['operation']})" if entry.get("operation") else "")


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


def success(report: Mapping[str, Any]) -> str:
    """What it foretells."""
    steps = [
        f"{_one(m)} {_seconds(m['seconds'])}" + (f", {'; '.join(m['locks'])}" if m.get("locks") else "")
        for m in report["migrations"]
    ]
    asked = [f"GET {r['path']} {r['status']} in {_seconds(r['seconds'])}" for r in report["requests"]]
    return "; ".join(
        [
            f"rehearsed on {', '.join(report['backups'])}, restored in {report.get('restored_in', 0):g} s",
            "foretold: " + ", ".join(steps) if steps else "no migration was pending there",
            ", ".join(asked) or report.get("not_asked", ""),
        ]
    )


def comparison(both: Sequence[Mapping[str, Any]]) -> str:
    """What was foretold beside what it took."""
    known = [m for m in both if "real_seconds" in m]
    texts = [f"{_one(m)} {_seconds(m['seconds'])} foretold, {_seconds(m['real_seconds'])} taken" for m in known]
    return f"rehearsed: {'; '.join(texts)}" if texts else ""
