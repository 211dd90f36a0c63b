# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an update is going to do, by which strategy, and why: pure, from what the other modules found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engine.programs import BROKER, DATABASE, OTHER, WEB
from ..engine.services import STOP_FIRST
from ..git import classes
from ..git.classes import NONE, RELOAD, ROLLING
from ..traffic import waiting_room

#: With a gap, which has to be allowed.
QUICK = "quick"
#: Of what users reach: one new container first; or all, and the old ones go on running.
CANARY, BLUE_GREEN = "canary", "blue_green"
LOW, MEDIUM, HIGH = "low", "medium", "high"
#: Updates whose durations say how long the next one takes.
RECENT = 5
_WORTH_A_LOOK = (
    classes.DEPENDENCY, classes.BUILD, classes.COMPOSE, classes.ENVIRONMENT, classes.UNKNOWN,
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What is known before anything is changed.

    :ivar before: the revision that runs, by the labels of its containers; empty where nothing runs.
    :ivar after: the revision that is wanted.
    :ivar containers: whether the app runs in containers; of another one files, time and risk are told.
    :ivar commits: how many lie between, in words.
    :ivar files: class → changed paths (:func:`..git.classes.classified`); None where the two cannot be compared.
    :ivar edited_migrations: migrations that are changed or gone, and may have run.
    :ivar roll: what compose_rolling returned in check mode; None where the images are not there yet.
    :ivar migrations: what django_migrate returned with ``state: planned``; None where Django was not asked.
    :ivar built: names of the images that were built for it.
    :ivar backup: whether the database is backed up first.
    :ivar strategy: the one that was asked for, empty for whichever the change needs.
    :ivar took: seconds of the last updates that ended well, the newest first.
    """

    app: str
    version: str
    before: str
    after: str
    commits: str = ""
    files: Mapping[str, Sequence[str]] | None = None
    edited_migrations: Sequence[str] = ()
    roll: Mapping[str, Any] | None = None
    migrations: Mapping[str, Any] | None = None
    built: Sequence[str] = ()
    backup: bool = False
    took: Sequence[float] = ()
    containers: bool = True
    strategy: str = ""


@dataclass(frozen=True)
class Act:
    """What becomes of one service: ``action`` is ``replace``, ``start``, ``recreate``, ``hand over`` or ``remove``."""

    service: str
    kind: str
    action: str
    why: str = ""


@dataclass(frozen=True)
class Plan:
    """What is going to be done.

    :ivar strategy: ``none``, ``reload`` (nginx alone), ``rolling``, ``canary``, ``blue_green`` or ``quick``; empty where that
        cannot be known yet, or there are no containers.
    :ivar gaps: what is without service for a moment; empty for none.
    :ivar seconds: the expected duration and its bounds; empty where no update is on record.
    :ivar reasons: why the risk is what it is.
    """

    strategy: str
    services: tuple[Act, ...]
    gaps: tuple[str, ...]
    risk: str
    reasons: tuple[str, ...]
    seconds: tuple[float, float, float] | tuple[()] = ()
    notes: tuple[str, ...] = field(default=())


def plan(seen: Seen) -> Plan:
    """Decide what an update comes to."""
    services, gaps = _acts(seen), _gaps(seen)
    risk, reasons = _risk(seen, gaps)
    return Plan(_strategy(seen, services, gaps), services, gaps, risk, reasons, _duration(seen), _notes(seen, services))


def _acts(seen: Seen) -> tuple[Act, ...]:
    if seen.roll is None:
        return ()
    kinds, rest = seen.roll.get("kinds") or {}, seen.roll.get("rest") or {}
    found = [
        Act(str(one["service"]), str(kinds.get(one["service"]) or ""), "replace", _why(one))
        for one in seen.roll.get("replaced") or ()
    ]
    for action, keys in (
        ("start", ("start", "start_last")),
        ("recreate", ("recreate", "recreate_last")),
        ("hand over", ("handed",)),
        ("remove", ("removed",)),
    ):
        found += [Act(str(n), str(kinds.get(n) or ""), action) for key in keys for n in rest.get(key) or ()]
    return tuple(found)


def _why(one: Mapping[str, Any]) -> str:
    return "; ".join([*map(str, one["reasons"]), *([str(one["strategy"])] if one.get("strategy") else [])])


def _gaps(seen: Seen) -> tuple[str, ...]:
    roll = seen.roll or {}
    users = "; ".join(waiting_room.failing(roll.get("unheld") or {})) or "requests wait"
    kinds, rest, serving = roll.get("kinds") or {}, roll.get("rest") or {}, roll.get("serving") or {}
    found = [
        f"{one['service']}: the old one is stopped before the new one is started"
        for one in roll.get("replaced") or ()
        if one["order"] == STOP_FIRST and kinds.get(one["service"]) in (WEB, OTHER) and serving.get(one["service"])
    ]
    found += [
        f"{name} ({kinds.get(name)}): is recreated{f'; {users}' if kinds.get(name) in (DATABASE, BROKER) else ''}"
        for name in (*(rest.get("recreate") or ()), *(rest.get("recreate_last") or ()))
    ]
    if seen.strategy == QUICK and roll.get("replaced"):
        found.append(f"asked for (update_strategy); {users}")
    refused = (seen.migrations or {}).get("refused") or ()
    if refused:
        number = f"{len(refused)} operation{'s' if len(refused) > 1 else ''}"
        found.append(f"migrations: {number} cannot run beside the version that serves; {users}")
    return tuple(found)


def _strategy(seen: Seen, services: Sequence[Act], gaps: Sequence[str]) -> str:
    if not seen.containers:
        return ""
    if seen.roll is None:
        # By the files alone, until the images say more.
        return classes.weakest_strategy(seen.files) if seen.files is not None else ""
    if gaps:
        return QUICK
    if any(a.kind == WEB and a.action == "replace" for a in services) and seen.strategy in (CANARY, BLUE_GREEN):
        return seen.strategy
    if services:
        return ROLLING
    return RELOAD if classes.NGINX in (seen.files or {}) else NONE


def _operations(seen: Seen) -> list[tuple[str, Mapping[str, Any]]]:
    return [
        (f"{one['app']}.{one['name']}", operation)
        for one in (seen.migrations or {}).get("plan") or ()
        for operation in one.get("operations") or ()
    ]


def _risk(seen: Seen, gaps: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """How much of it cannot be taken back, and what else is worth a look."""
    high, medium = list(gaps), []
    operations = _operations(seen)
    losing = dict.fromkeys(name for name, operation in operations if operation.get("drops_data"))
    final = dict.fromkeys(
        name
        for name, o in operations
        if o.get("action") == "now" and o.get("reversible") is False and name not in losing
    )
    high += [f"{name} drops data" for name in losing]
    high += [f"{name} cannot be reversed" for name in final]
    high += [f"{path}: a migration that may have run is changed" for path in seen.edited_migrations]
    kinds = (seen.roll or {}).get("kinds") or {}
    high += [
        f"{a.service} is a {a.kind}"
        for a in _acts(seen)
        if a.action == "replace" and kinds.get(a.service) in (DATABASE, BROKER)
    ]
    pending = len((seen.migrations or {}).get("plan") or ())
    if pending:
        medium.append(f"{pending} migration{'s' if pending > 1 else ''}")
    elif seen.migrations is None and classes.MIGRATION in (seen.files or {}):
        medium.append("migrations that Django was not asked about")
    medium += [f"{name} changed" for name in _WORTH_A_LOOK if name in (seen.files or {})]
    if seen.files is None and seen.before:
        medium.append("which files changed is not known")
    if high:
        return HIGH, tuple(dict.fromkeys([*high, *medium]))
    return (MEDIUM, tuple(medium)) if medium else (LOW, ())


def _duration(seen: Seen) -> tuple[float, float, float] | tuple[()]:
    took = list(seen.took)[:RECENT]
    return (sorted(took)[len(took) // 2], min(took), max(took)) if took else ()


def _notes(seen: Seen, services: Sequence[Act]) -> tuple[str, ...]:
    found = []
    if seen.files is not None and seen.files and not set(seen.files) - {classes.DOCS} and services:
        found.append(
            "the changed files are documentation, tests or CI alone; the images have them, so containers are replaced"
        )
    return tuple(found)
