# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations of a service: its image is asked what it would migrate, which is judged, and carried out where that is asked for.

``manage.py shell`` and not a Python of ours: what ``manage.py`` does first (variables from a file, another loader of
settings) is part of what ``migrate`` means in that app.  Planning takes no lock, since it changes nothing: databases are
read in transactions that are read-only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from types import ModuleType
from typing import Any

from ...base.errors import BadInput
from ...django.host.oneoff import OneOff
from ...engine.host import app_script, staying
from ...engine.host.compose import ComposeFailed
from ...engine.host.project import compose_of, connect, image_name, refuse_without_django
from .. import bridges, column_types, database_host, expansion, schema_compatibility
from .. import phases as decide
from ..inside import bridges as inside_bridges
from ..inside import catalogue, column_defaults, ledger, operations, schema, upserts
from ..inside import plan as migrations_plan
from ..inside import talk as migrations_talk
from ..schema import database_of
from .database_host import refuse_other_host
from .request import PLANNED, REVERSED, Request
from .run import MODULES as RUN_MODULES
from .run import carry_out, foresee
from .running_code import Code, code_of

#: What asks for a plan, in the order in which one needs another.
MODULES = (
    column_types,
    expansion,
    schema,
    catalogue,
    column_defaults,
    inside_bridges,
    ledger,
    upserts,
    operations,
    migrations_plan,
)
#: What also carries out what is decided of the plan.
TALK = tuple(dict.fromkeys((*MODULES, *RUN_MODULES, migrations_talk)))
#: Milliseconds that one look at a table's rows may take.
_LOOK = 3000


def migrate(request: Request, check_mode: bool, running: Sequence[Mapping[str, str]] | None = None) -> dict[str, Any]:
    """Plan, and bring the databases into the state that is asked for.

    :param running: the code that is to be taken for the one that runs, where it is none of this project's.
    :raises BadInput: there is no plan, and why.
    """
    compose = compose_of(request.project)
    engine = connect(compose.project_src, request.lock)
    service, declared = request.service, declared_in(request.declared_phases)
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise BadInput(f"the Compose project is not valid: {error}") from error
    refuse_without_django(project.get("services", {}), service)
    image = image_name(project, service)
    if not engine.image(image):
        if check_mode:
            return {"changed": False, "plan": [], "refused": [], "pending": 0, "msg": "unknown until built"}
        raise BadInput(f"the image {image} of {service} is not on this host", "build or pull it first")
    code = code_of(engine, project, service, compose.project_src)
    if running is not None:
        code = replace(code, running=[dict(one) for one in running])
    state = request.state
    asks = state == PLANNED or (check_mode and state != REVERSED)
    oneoff = OneOff(
        engine, compose, str(project["name"]), service, request.manage_py, request.timeout, hurried=not asks
    )
    if asks:
        script = _script(MODULES, request, code, staying.PATIENCE if request.stays else 0.0)
        report, result = _looked(oneoff, lambda: oneoff.ask(script, request.stays), request, declared, code)
        if request.stays:
            result["asked_in"] = report["asked_in"]
        return result if state == PLANNED else foresee(request, None, code, report, result)
    done: dict[str, Any] = {"again": True}
    for _attempt in range(2):
        if done.pop("again", False):
            with oneoff.talk(_script(TALK, request, code)) as talk:
                report, result = _looked(oneoff, talk.asked, request, declared, code)
                if check_mode:
                    return foresee(request, talk, code, report, result)
                done = carry_out(request, talk, code, report, result)
    done.pop("again", None)
    return done


def _script(modules: Sequence[ModuleType], request: Request, code: Code, patience: float = 0.0) -> str:
    # What is to be taken back is behind what has been run: that is looked at where it is done.
    target = "" if request.state == REVERSED else request.target
    return app_script.as_text(modules, question(code.running, request.databases, target), patience)


def _looked(
    oneoff: OneOff,
    ask: Callable[[], dict[str, Any]],
    request: Request,
    declared: Mapping[str, str],
    code: Code,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the app told, and the verdict on it."""
    began, started = time.time(), time.monotonic()
    report = ask()
    if report.get("error"):
        raise planning_error(report["error"], request.service)
    refuse_other_host(oneoff.engine, code.host, claims_in(report), request.take_over_from)
    first = request.state == PLANNED
    result = judged(report, declared, code, request.allow_data_loss, request.only, request.bridges, first)
    result["timeline"] = [
        {
            "step": "plan",
            "service": oneoff.service,
            "container": "",
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
            "seconds": round(time.monotonic() - started, 3),
            "result": "ok",
        }
    ]
    return report, result


def claims_in(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """What each database has told of the host that changes it."""
    return [one["claim"] for one in report["databases"] if one.get("claim")]


def declared_in(given: Mapping[str, Any]) -> dict[str, str]:
    """The phases that are declared by whoever calls, as text.

    :raises BadInput: one is none.
    """
    for key, phase in given.items():
        if str(phase) not in decide.DECLARABLE:
            raise BadInput(
                f"declared_phases: {key}: {phase} is no phase that can be declared",
                f"write one of {', '.join(decide.DECLARABLE)}",
            )
    return {str(key): str(phase) for key, phase in given.items()}


def question(running: Sequence[Mapping[str, Any]], databases: Sequence[str] = (), target: str = "") -> list[Any]:
    """What ``migration_plan_script`` is asked.

    :param databases: aliases; all where none is named.
    """
    return [list(databases), True, _LOOK, target, list(running)]


def planning_error(error: Mapping[str, str], service: str) -> BadInput:
    """The error for users where Django itself has no plan.

    :param error: ``kind`` and ``message``, as ``migration_plan_script`` tells them.
    """
    kind, words = error["kind"], error["message"]
    manage = f"manage.py ({service})"
    if kind == "conflict":
        return BadInput(
            f"two migrations follow the same one: {words}",
            f"{manage} makemigrations --merge, commit what it writes, then the same command again",
        )
    if kind == "history":
        return BadInput(
            f"the database has recorded migrations in an order that cannot be: {words}",
            f"{manage} showmigrations shows it; the database may be another app's, or a migration was recorded by hand",
        )
    if kind == "graph":
        return BadInput(f"the app's migrations do not fit together: {words}", "correct the migration that it names")
    if kind == "database":
        wrong = any(sign in words for sign in ("authentication failed", "does not exist", "no password supplied"))
        advice = (
            "see user, password and name of the database in the app's settings"
            if wrong
            else "see that the database runs"
        )
        what = "refused the app" if wrong else "could not be asked"
        return BadInput(f"the database {what}: {words}", advice)
    if kind == "alias":
        return BadInput(f"databases: the app has no database {words}")
    if kind == "target":
        return BadInput(f"target: {words}")
    if kind == "backwards":
        return BadInput(
            f"target is behind what has been run: {words} would be reversed",
            "leave target out, or name a later one; state: reversed takes it back",
        )
    return BadInput(f"the app's migrations could not be read: {words}")


def judged(
    report: Mapping[str, Any],
    declared: Mapping[str, str],
    code: Code | None = None,
    allowed: Sequence[str] = (),
    only: Sequence[str] | None = None,
    allowed_bridges: Sequence[str] = bridges.USUAL,
    contracts_first: bool = True,
) -> dict[str, Any]:
    """The verdict on what was told, as the module returns it.

    :param contracts_first: what of earlier releases waits for nothing will be contracted before this is run.
    """
    code = code or Code()
    waiting: list[expansion.Open] = []
    due, changes, applied = False, False, 0
    plan: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    to_record: list[dict[str, str]] = []
    notes: list[str] = []
    behind: list[schema_compatibility.Behind] = []
    for one in report["databases"]:
        if one.get("left_out"):
            notes.append(f"{one['alias']} is left out: {one['left_out']}")
            continue
        _hold_declarations(one["migrations"])
        applied += int(one.get("applied") or 0)
        database = database_of(one)
        rows, recorded = one.get("ledger") or [], [m for m in one["migrations"] if m.get("recorded")]
        kept = expansion.made(rows, {(m["app"], m["name"]): len(m["operations"]) for m in recorded})
        still = expansion.open_operations(
            rows, database.alias, one.get("known") or {}, code.running, allowed, code.inactive, only,
            one.get("taken_back") or (),
        )  # fmt: skip
        gone = {(o.app, o.name, o.index) for o in still if contracts_first and not o.waits_for}
        standing = bridges.touched(
            [r for r in rows if r["state"] in expansion.OPEN and (r["app"], r["name"], r["index"]) not in gone]
        )
        verdict = decide.judge(database, declared, made=kept, bridges=allowed_bridges, standing=standing)
        decided = decide.as_dicts(verdict)
        waiting += still
        behind += schema_compatibility.behind(one.get("unknown") or [], one.get("history") or [], database.alias)
        whole = {(m["app"], m["name"]): bool(m.get("atomic", True)) for m in one["migrations"]}
        plan += [{**m, "atomic": whole.get((m["app"], m["name"]), True)} for m in decided["plan"]]
        refused += decided["refused"]
        changes = changes or bool(decided["plan"] or database.to_record) or expansion.unfinished(rows, "", "")
        due = due or changes or expansion.unfinished(rows, code.revision, code.image)
        claim = one.get("claim") or {}
        due = due or bool(code.host and claim.get("may") and database_host.is_due(claim, code.host))
        to_record += [{"app": a, "name": n, "database": database.alias} for a, n in database.to_record]
    return {
        "changed": False,
        "plan": plan,
        "refused": refused,
        "pending": len(plan),
        "applied": applied,
        "to_record": to_record,
        "django": report["django"],
        "notes": notes,
        "open": [asdict(o) for o in waiting],
        "behind": [asdict(b) for b in behind],
        "schema_compatibility": schema_compatibility.overall(behind),
        "comes_back": schema_compatibility.overall(behind) not in schema_compatibility.REFUSED,
        "due": due,
        "changes": changes,
        "msg": _sentence(plan, refused, to_record)
        + _still_open(waiting)
        + (f"; {schema_compatibility.sentence(behind)}" if behind else ""),
    }


def _still_open(waiting: Sequence[expansion.Open]) -> str:
    if not waiting:
        return ""
    first = next((o for o in waiting if o.waits_for), None)
    text = f"; {len(waiting)} operations of earlier releases are still to be contracted"
    return f"{text} ({first.app}.{first.name}: {first.waits_for})" if first else text


def _hold_declarations(migrations: Sequence[Mapping[str, Any]]) -> None:
    for one in migrations:
        if one["declared"] and one["declared"] not in decide.DECLARABLE:
            raise BadInput(
                f"{one['app']}.{one['name']} declares evenkeel_phase = {one['declared']!r}",
                f"write one of {', '.join(decide.DECLARABLE)}",
            )


def _sentence(plan: Sequence[Mapping[str, Any]], refused: Sequence[Mapping[str, Any]], to_record: Sequence[Any]) -> str:
    if refused:
        first = refused[0]
        text = f"{first['app']}.{first['name']}, {first['operation']}: {first['reason']}; {first['safe_way']}"
        return f"{len(refused)} of the pending operations cannot run beside the code that serves: {text}"
    recorded = f", {len(to_record)} squashed to be recorded" if to_record else ""
    if not plan:
        return f"no migration is pending{recorded}"
    later = sum(o["action"] == decide.DEFER for m in plan for o in m["operations"])
    return f"{len(plan)} migrations can run beside the code that serves, {later} of their operations after it{recorded}"
