# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``django_static``: publish a version's static files beside those of the version that serves."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from ..journal import working
from . import publish_static
from .call_result import BadInput
from .compose import ComposeFailed
from .engine import Engine
from .project import compose_of, connect, state_dir_of

_LABEL = "evenkeel.oneoff"


def _sweep(engine: Engine, project: str) -> None:
    """Remove what a killed run left: its client is gone, but its container may still run."""
    for inspection in engine.containers({_LABEL: f"{project}-static"}):
        engine.stop(str(inspection["Id"]), 1)
        engine.remove(str(inspection["Id"]))


def static_files(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call, in a one-off container of the service with its entrypoint bypassed.

    :raises BadInput: the service is not there, or Django could not collect.
    """
    compose = compose_of(params)
    engine = connect(compose.project_src)
    service, state, revision = str(params["service"]), str(params["state"]), str(params.get("revision") or "")
    try:
        project = compose.resolved()
        name = str(project["name"])
        if service not in project.get("services", {}):
            raise BadInput(f"there is no service {service} in the project", "set app_django_service")
        if check_mode:
            return {"changed": False, "files": 0, "msg": "unknown until built"}
        with (
            working(params, state_dir_of(params, name), f"django_static of {name}") as fence,
            fence.act(f"static files {state}"),
        ):
            _sweep(engine, name)
            # Sent as text: nothing of ours is installed in the app, and a module on a target lives in a zip file.
            script = f"{inspect.getsource(publish_static)}\nmain({state!r}, {revision!r})\n"
            label = f"{_LABEL}={name}-static"
            command = ["run", "--rm", "-T", "--no-deps", "--label", label, "--entrypoint", "python", service]
            printed = compose.run(
                *command, str(params["manage_py"]), "shell", "-c", script, timeout=float(params["timeout"])
            )
            return fence.told(_result_in(printed, service, state))
    except ComposeFailed as error:
        raise BadInput(f"static files of {service} could not be collected: {error}") from error


def _result_in(printed: str, service: str, state: str) -> dict[str, Any]:
    for line in printed.splitlines():
        if line.startswith("EVENKEEL "):
            result: dict[str, Any] = json.loads(line[len("EVENKEEL ") :])
            return {**result, "msg": _sentence(result, state)}
    raise BadInput(
        f"static files of {service} could not be collected: {(printed.strip().splitlines() or ['no output'])[-1]}"
    )


def _sentence(result: Mapping[str, Any], state: str) -> str:
    if not result.get("root"):
        return "the app has no STATIC_ROOT: nothing to collect"
    verb = "put back" if state == "restored" else "published"
    return f"{result['files']} static files {verb} in {result['root']}"
