# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``compose_restart``: what ``docker restart`` is used for, in the way that costs nobody a request."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..base.errors import BadInput
from ..build.host import job
from ..build.host.jobs_view import Jobs, jobs_in
from ..engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, moment_of, pid_of
from ..engine.options import PROJECT_SPEC, project_options
from ..engine.programs import JOB, PROXY
from ..engine.services import ROLLED_KINDS
from ..guard.host.standby import standing_by
from ..hotfix.host import hand_edits, ledger
from ..nginx.host.nginx import Nginx, loaded_at
from ..operation.host.journal import working
from ..operation.options import LOCK_SPEC, lock_options
from ..releases.host.store import Store
from ..rolling.host import generations
from ..rolling.host.roll import roll
from ..traffic.host.nginx_chain import reload_each, why_not

SPEC: dict[str, Any] = {
    **PROJECT_SPEC,
    **LOCK_SPEC,
    "service": {"type": "str", "required": True},
    "generation": {"type": "str", "required": True},
    "drop_edits": {"type": "bool", "default": False},
    "service_options": {"type": "dict", "default": {}},
    "django_service": {"type": "str"},
    "prove": {"type": "list", "elements": "dict"},
    "timeout": {"type": "float", "default": 1800.0},
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    name = str(params["service"])
    asked = (project_options(params), lock_options(params))
    view = jobs_in(*asked, [name], params.get("service_options") or {}, str(params.get("django_service") or ""))
    kind, since = view.kinds[name], generations.moment_of(view.state_dir, str(params["generation"]))
    if kind in ROLLED_KINDS:
        return {**_rolled(params, check_mode, view, name, since), "kind": kind}
    if kind == PROXY:
        return {**_reloaded(params, check_mode, view, name, since), "kind": kind}
    if kind == JOB:
        return {**_run_again(params, check_mode, view, name, since), "kind": kind}
    raise BadInput(
        f"{name} is a {kind}, whose clients would lose their connections, and nobody could take its place meanwhile",
        f"if that has to be: docker compose --project-directory {view.compose.project_src} restart {name}",
    )


def _containers(view: Jobs, name: str) -> list[dict[str, Any]]:
    found = view.engine.containers({PROJECT_LABEL: view.name, SERVICE_LABEL: name, ONE_OFF_LABEL: "False"})
    return [inspection for inspection in found if pid_of(inspection)]


def _rolled(params: Mapping[str, Any], check_mode: bool, view: Jobs, name: str, since: float) -> dict[str, Any]:
    older = any(moment_of(inspection.get("Created")) < since for inspection in _containers(view, name))
    if older and not params.get("drop_edits"):
        hand_edits.refuse_replacing(view.engine, view.name, name, view.compose.project_src, view.state_dir)
    return roll({**params, "services": [name]}, check_mode, standing_by)


def _reloaded(params: Mapping[str, Any], check_mode: bool, view: Jobs, name: str, since: float) -> dict[str, Any]:
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
    with working(lock_options(params), view.state_dir, f"compose_restart of {view.name}") as fence:
        generations.keep(view.state_dir, str(params["generation"]), since)
        result["timeline"], problem = reload_each([(name, master) for master in due], fence)
        if problem:
            return fence.told({**result, "failed": True, "msg": why_not(problem)})
        told = f"{name}: its workers are new, old ones finish what they have; its master goes on, whose ports nobody else can have"
        return fence.told({**result, "msg": told})


def _run_again(params: Mapping[str, Any], check_mode: bool, view: Jobs, name: str, since: float) -> dict[str, Any]:
    if name in view.left:
        raise BadInput(
            f"{name} is a job that an update runs itself",
            "run the update again: ansible-playbook evenkeel.deploy.update",
        )
    root = os.path.dirname(os.path.dirname(os.path.realpath(view.compose.project_src)))
    ledger.refuse_building_over(Store(root), view.state_dir, [name])
    if not check_mode:
        generations.keep(view.state_dir, str(params["generation"]), since)
    request = job.Request(
        project_options(params),
        lock_options(params),
        (name,),
        service_options=params.get("service_options") or {},
        django_service=str(params.get("django_service") or ""),
        timeout=float(params["timeout"]),
        since=since,
    )
    return job.run_jobs(request, check_mode)
