# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``django_migrate``: ask the service's image what it would migrate, and judge it.

``manage.py shell`` and not a Python of ours: what ``manage.py`` does first (variables from a file, another loader of
settings) is part of what ``migrate`` means in that app.  Planning takes no lock, since it changes nothing: databases are
read in transactions that are read-only.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ..decide import migrations as decide
from ..decide.schema import database_of
from . import (
    app_script,
    migration_catalogue_script,
    migration_operations_script,
    migration_plan_script,
    migration_schema_script,
)
from .call_result import BadInput
from .compose import Compose, ComposeFailed
from .engine import Engine
from .project import compose_of, connect, image_name

_LABEL = "evenkeel.oneoff"
_MODULES = (
    migration_schema_script,
    migration_catalogue_script,
    migration_operations_script,
    migration_plan_script,
)
#: Milliseconds that one look at a table's rows may take.
_LOOK = 3000
_CREDENTIALS = re.compile(r"//[^/@\s]+@")
# What Compose's or Python's last words mean, with what to do about it.
_MEANINGS = (
    ("executable file not found", "the image of {service} has no python", "set service to the one that runs Django"),
    ("can't open file", "there is no {manage_py} in the image of {service}", "set manage_py to its path in the image"),
    ("import Django", "the image of {service} has no Django", "set service to the one that runs Django"),
    ("No module named 'django'", "the image of {service} has no Django", "set service to the one that runs Django"),
    (
        "did not end in",
        "the plan of {service} took longer than {timeout:g} s",
        "see whether its database answers; set timeout",
    ),
)


def migrate(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call.

    :raises BadInput: there is no plan, and why.
    """
    compose = compose_of(params)
    engine = connect(compose.project_src)
    service, declared = str(params["service"]), _declared(params.get("declared_phases") or {})
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise BadInput(f"the Compose project is not valid: {error}") from error
    if service not in project.get("services", {}):
        raise BadInput(f"there is no service {service} in the project", "set app_django_service")
    image = image_name(project, service)
    if not engine.image(image):
        if check_mode:
            return {"changed": False, "plan": [], "refused": [], "pending": 0, "msg": "unknown until built"}
        raise BadInput(f"the image {image} of {service} is not on this host", "build or pull it first")
    began, started = time.time(), time.monotonic()
    told = _told(engine, compose, params, str(project["name"]))
    result = judged(told, declared)
    result["timeline"] = [
        {
            "step": "plan",
            "service": service,
            "container": "",
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
            "seconds": round(time.monotonic() - started, 3),
            "result": "ok",
        }
    ]
    return result


def _declared(given: Mapping[str, Any]) -> dict[str, str]:
    for key, phase in given.items():
        if str(phase) not in decide.DECLARABLE:
            raise BadInput(
                f"declared_phases: {key}: {phase} is no phase that can be declared",
                f"write one of {', '.join(decide.DECLARABLE)}",
            )
    return {str(key): str(phase) for key, phase in given.items()}


def _told(engine: Engine, compose: Compose, params: Mapping[str, Any], project: str) -> dict[str, Any]:
    """What the script in a one-off container of the service has told."""
    service, timeout = str(params["service"]), float(params["timeout"])
    arguments = [list(params.get("databases") or []), True, _LOOK, str(params.get("target") or "")]
    script = app_script.as_text(_MODULES, arguments)
    # Two plans at once are two containers: each takes away its own, and what was left by a killed one.
    name = f"{project}-plan-{uuid.uuid4().hex[:12]}"
    command = ["run", "--rm", "-T", "--no-deps", "--name", name, "--label", f"{_LABEL}={name}"]
    command += ["--label", f"evenkeel.plan={project}", "--entrypoint", "python", service, str(params["manage_py"])]
    _sweep(engine, project, timeout)
    try:
        printed = compose.run(*command, "shell", "-c", script, timeout=timeout)
    except ComposeFailed as error:
        _remove(engine, {_LABEL: name})
        raise _meaning(_CREDENTIALS.sub("//…@", str(error)), params) from error
    told = app_script.answer_in(printed)
    if told is None:
        last = (printed.strip().splitlines() or ["nothing"])[-1]
        raise BadInput(f"{service} gave no plan; it printed: {_CREDENTIALS.sub('//…@', last)[:300]}")
    if told.get("error"):
        raise _refusal(told["error"], params)
    return told


def _sweep(engine: Engine, project: str, timeout: float) -> None:
    """Take away containers of plans whose client must have ended long ago."""
    for inspection in engine.containers({"evenkeel.plan": project}):
        created = str(inspection.get("Created") or "")[:19]
        oldest = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - timeout - 60))
        if created and created < oldest:
            _end(engine, str(inspection["Id"]))


def _remove(engine: Engine, labels: Mapping[str, str]) -> None:
    for inspection in engine.containers(labels):
        _end(engine, str(inspection["Id"]))


def _end(engine: Engine, container: str) -> None:
    engine.stop(container, 1)
    engine.remove(container)


def _meaning(words: str, params: Mapping[str, Any]) -> BadInput:
    """What the last words of a process mean that could not even begin."""
    for sign, what, advice in _MEANINGS:
        if sign in words:
            return BadInput(what.format(**params), advice)
    return BadInput(f"{params['service']} could not be asked for its migrations: {words}")


def _refusal(error: Mapping[str, str], params: Mapping[str, Any]) -> BadInput:
    """Why Django itself has no plan."""
    kind, words = error["kind"], _CREDENTIALS.sub("//…@", error["message"])
    manage = f"manage.py ({params['service']})"
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
            f"target is behind what has been run: {words} would be reversed", "leave target out, or name a later one"
        )
    return BadInput(f"the app's migrations could not be read: {words}")


def judged(told: Mapping[str, Any], declared: Mapping[str, str]) -> dict[str, Any]:
    """The verdict on what was told, as the module returns it."""
    plan: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    to_record: list[dict[str, str]] = []
    notes: list[str] = []
    for one in told["databases"]:
        if one.get("left_out"):
            notes.append(f"{one['alias']} is left out: {one['left_out']}")
            continue
        _hold_declarations(one["migrations"])
        database = database_of(one)
        decided = decide.as_dicts(decide.judge(database, declared))
        plan += decided["plan"]
        refused += decided["refused"]
        to_record += [{"app": a, "name": n, "database": database.alias} for a, n in database.to_record]
    return {
        "changed": False,
        "plan": plan,
        "refused": refused,
        "pending": len(plan),
        "to_record": to_record,
        "django": told["django"],
        "notes": notes,
        "msg": _sentence(plan, refused, to_record),
    }


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
