# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``compose_restart`` takes, and one call of it: what ``docker restart`` is used for, at the cost of no request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ..base.errors import BadInput
from ..base.options import read
from ..build.host import job
from ..build.host.jobs_view import Jobs, jobs_in
from ..engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, moment_of, pid_of
from ..engine.options import PROJECT_SPEC, ProjectOptions, project_options
from ..engine.programs import JOB, PROXY
from ..engine.services import ROLLED_KINDS, CommonSettings
from ..guard.host.standby import standing_by
from ..hotfix.host import hand_edits, ledger
from ..nginx.host.nginx import Nginx, loaded_at
from ..operation.host.journal import working
from ..operation.options import LOCK_SPEC, LockOptions, lock_options
from ..releases.host.store import Store
from ..rolling.host import generations
from ..rolling.host.plan import Request as Roll
from ..rolling.host.roll import roll
from ..traffic.host.nginx_chain import reload_each, why_not

_OWN: dict[str, Any] = {
    "services": {"type": "list", "elements": "str", "required": True},
    "generation": {"type": "str", "required": True},
    "drop_edits": {"type": "bool", "default": False},
    "service_options": {"type": "dict", "default": {}},
    "django_service": {"type": "str"},
    "prove": {"type": "list", "elements": "dict"},
    "timeout": {"type": "str", "default": "30m"},
}
SPEC: dict[str, Any] = {**PROJECT_SPEC, **LOCK_SPEC, **_OWN}


@dataclass(frozen=True)
class Request:
    """Which services are started anew.

    :ivar generation: a name of this wish: its first call says since when, and what has begun later is left alone.
    :ivar drop_edits: whether what somebody changed in its containers may go with them.
    :ivar prove: what a web service is asked before it serves; nothing but what stands beside it where it is not given.
    :ivar timeout: seconds that a job may take.
    """

    project: ProjectOptions
    lock: LockOptions
    services: tuple[str, ...]
    generation: str
    drop_edits: bool = False
    service_options: Mapping[str, Any] = field(default_factory=dict)
    django_service: str = ""
    prove: Sequence[Any] | None = None
    timeout: float = 1800.0


#: What it does is done by the engine: those who are served need the processors more.
STEPS_BACK = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(Request, _OWN, params, project=project_options(params), lock=lock_options(params))
    # An empty list asks nothing; where none is given, what stands beside the service counts.
    request = replace(request, prove=params.get("prove"))
    view = jobs_in(request.project, request.lock, request.services, request.service_options, request.django_service)
    since = generations.moment_of(view.state_dir, request.generation)
    kinds = {name: view.kinds[name] for name in request.services}
    for name, kind in kinds.items():
        if kind not in (*ROLLED_KINDS, PROXY, JOB):
            raise BadInput(
                f"{name} is a {kind}, whose clients would lose their connections, and nobody could take its place meanwhile",
                f"if that has to be: docker compose --project-directory {view.compose.project_src} restart {name}",
            )
    rolled = tuple(name for name, kind in kinds.items() if kind in ROLLED_KINDS)
    parts = [partial(_rolled, request, view, since, rolled)] if rolled else []
    parts += [partial(_run_again, request, view, since, name) for name, kind in kinds.items() if kind == JOB]
    parts += [partial(_reloaded, request, view, since, name) for name, kind in kinds.items() if kind == PROXY]
    # What one of them refuses, it refuses before another is touched.
    foreseen = [part(True) for part in parts] if check_mode or len(parts) > 1 else []
    return {**_together(foreseen if check_mode else _done(parts)), "kinds": kinds}


def _done(parts: Sequence[Callable[[bool], dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Do one after the other, as far as the first that fails."""
    for part in parts:
        result = part(False)
        yield result
        if result.get("failed"):
            return


def _together(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    every = list(results)
    whole: dict[str, Any] = dict(every[-1])
    whole["changed"] = any(one["changed"] for one in every)
    whole["msg"] = str(every[-1]["msg"]) if every[-1].get("failed") else "; ".join(str(one["msg"]) for one in every)
    for key in ("timeline", "notes", "logs"):
        found = [entry for one in every for entry in one.get(key) or ()]
        if found or key == "timeline":
            whole[key] = found
    return whole


def _containers(view: Jobs, name: str) -> list[dict[str, Any]]:
    found = view.engine.containers({PROJECT_LABEL: view.name, SERVICE_LABEL: name, ONE_OFF_LABEL: "False"})
    return [inspection for inspection in found if pid_of(inspection)]


def _rolled(request: Request, view: Jobs, since: float, names: tuple[str, ...], check_mode: bool) -> dict[str, Any]:
    for name in names:
        older = any(moment_of(inspection.get("Created")) < since for inspection in _containers(view, name))
        if older and not request.drop_edits:
            hand_edits.refuse_replacing(view.engine, view.name, name, view.compose.project_src, view.state_dir)
    wanted = Roll(
        request.project,
        request.lock,
        common=CommonSettings(prove=request.prove),
        services=names,
        service_options=request.service_options,
        generation=request.generation,
    )
    return roll(wanted, check_mode, standing_by)


def _reloaded(request: Request, view: Jobs, since: float, name: str, check_mode: bool) -> dict[str, Any]:
    """Have nginx start its workers anew: the old ones finish what they have."""
    masters = [Nginx(view.engine, inspection) for inspection in _containers(view, name)]
    if not masters:
        raise BadInput(
            f"{name} does not run", f"docker compose --project-directory {view.compose.project_src} up -d {name}"
        )
    due = [master for master in masters if loaded_at(master.workers()) < since]
    result: dict[str, Any] = {"changed": bool(due), "timeline": [], "msg": f"{name}: its workers are new already"}
    if not due:
        return result
    if check_mode:
        return {**result, "msg": f"{name}: its workers would start anew"}
    with working(request.lock, view.state_dir, f"compose_restart of {view.name}") as fence:
        generations.keep(view.state_dir, request.generation, since)
        result["timeline"], problem = reload_each([(name, master) for master in due], fence)
        if problem:
            return fence.reported({**result, "failed": True, "msg": why_not(problem)})
        text = f"{name}: its workers are new, old ones finish what they have; its master goes on, whose ports nobody else can have"
        return fence.reported({**result, "msg": text})


def _run_again(request: Request, view: Jobs, since: float, name: str, check_mode: bool) -> dict[str, Any]:
    if name in view.left:
        raise BadInput(
            f"{name} is a job that an update runs itself",
            "run the update again: ansible-playbook evenkeel.deploy.update -e update_version=VERSION",
        )
    root = os.path.dirname(os.path.dirname(os.path.realpath(view.compose.project_src)))
    ledger.refuse_building_over(Store(root), view.state_dir, [name])
    if not check_mode:
        generations.keep(view.state_dir, request.generation, since)
    wanted = job.Request(
        request.project,
        request.lock,
        (name,),
        service_options=request.service_options,
        django_service=request.django_service,
        timeout=request.timeout,
        since=since,
    )
    return job.run_jobs(wanted, check_mode)
