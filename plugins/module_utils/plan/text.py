# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as a table that a person reads in ten seconds."""

from __future__ import annotations

from collections.abc import Iterable

from ..base.printable import printable
from ..base.truncate_list import some
from ..engine.preflight import mib
from ..git import classes
from .plan import Act, Plan, Seen

_SHOWN = 3
_WIDTH = 10
_LATER = "unknown until built"


def text(seen: Seen, plan: Plan) -> list[str]:
    """The lines; what a stranger named cannot steer a terminal."""
    before = seen.before[:12] or "nothing"
    commits = f", {seen.commits}" if seen.commits else ""
    lines = [f"plan of {seen.app}: {before} -> {seen.after[:12]} ({seen.version}{commits})"]
    for name, rows in (
        ("files", _files(seen)),
        ("build", seen.built),
        ("backup", ["the database, before migrations"] if seen.backup else []),
        ("migrate", _migrations(seen)),
        *((action, [_service(a) for a in plan.services if a.action == action]) for action in _ACTIONS),
        ("strategy", [_strategy(seen, plan)] if seen.containers else []),
        ("gap", (plan.gaps or ["none" if seen.roll is not None else _LATER]) if seen.containers else []),
        ("time", _time(plan)),
        ("memory", _memory(seen)),
        ("risk", [f"{plan.risk}{': ' if plan.reasons else ''}{'; '.join(plan.reasons)}"]),
    ):
        lines += _rows(name, rows)
    return [printable(line) for line in lines]


_ACTIONS = ("replace", "hand over", "start", "recreate", "remove")
_STRATEGIES = {
    "none": "none (nothing that runs is replaced)",
    "reload": "reload (nginx alone)",
    "rolling": "rolling (new containers beside old ones)",
    "canary": "canary (one new container beside the old ones first)",
    "blue_green": "blue_green (new containers beside old ones, which go on running)",
    "quick": "quick (with a gap)",
}


def _rows(name: str, rows: Iterable[str]) -> list[str]:
    return [f"  {name if number == 0 else '':<{_WIDTH}}{row}" for number, row in enumerate(rows)]


def _files(seen: Seen) -> list[str]:
    if seen.files is None:
        return ["not known: the repository does not have both revisions"] if seen.before else []
    if not seen.files:
        return ["none"] if seen.before else []
    return [f"{len(paths)} {name} ({some(list(paths), _SHOWN)})" for name, paths in seen.files.items()]


def _migrations(seen: Seen) -> list[str]:
    if seen.migrations is None:
        return ["not known: Django was not asked"] if classes.MIGRATION in (seen.files or {}) else []
    rows = []
    for one in seen.migrations.get("plan") or ():
        actions = [str(operation.get("action") or "") for operation in one.get("operations") or ()]
        counts = [
            (actions.count(a), word) for a, word in (("now", "now"), ("defer", "deferred"), ("refuse", "refused"))
        ]
        told = ", ".join(f"{count} {word}" for count, word in counts if count) or "recorded only"
        rows.append(f"{one['app']}.{one['name']} ({told})")
    return rows


def _service(act: Act) -> str:
    return f"{act.service} ({act.kind}){': ' if act.why else ''}{act.why}"


def _strategy(seen: Seen, plan: Plan) -> str:
    if not plan.strategy:
        return _LATER
    told = _STRATEGIES[plan.strategy]
    return told if seen.roll is not None else f"{told}, by the changed files; which services: {_LATER}"


def _time(plan: Plan) -> list[str]:
    if not plan.seconds:
        return []
    middle, *span = (f"{value:.0f}" for value in plan.seconds)
    return [f"about {middle} s (the last updates took {' to '.join(dict.fromkeys(span))} s)"]


def _memory(seen: Seen) -> list[str]:
    memory = (seen.roll or {}).get("memory") or {}
    if not memory.get("needed"):
        return []
    return [f"{mib(int(memory['needed']))} more for a while, of {mib(int(memory['available']))} available"]
