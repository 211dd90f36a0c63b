# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``django_static``: publish a version's static files beside those of the version that serves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...engine.host import interpreter, staying
from ...engine.host.app_script import answer_in, as_text, has_answered
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.one_offs import ONE_OFF, sweep
from ...engine.host.project import compose_of, connect, image_name, refuse_without_django, state_dir_of
from ...engine.options import ProjectOptions
from ...operation.host.journal import working
from ...operation.options import LockOptions
from ...releases.choice import is_id
from ..inside import publish_static, published


def release_of(compose: Compose) -> str:
    """The release that a project lies in, empty where it is none."""
    name = os.path.basename(compose.project_src)
    return name if is_id(name) else ""


def living_in(folder: str) -> list[str]:
    """The releases in a folder: files of others need not be served any more. None where there is no folder."""
    return sorted(filter(is_id, os.listdir(folder))) if os.path.isdir(folder) else []


def content_of(engine: Engine, project: Mapping[str, Any], service: str, revision: str) -> str:
    """What a publication is known by: the revision, and the image too where its tag may mean other code by now."""
    if not revision or project["services"][service].get("build"):
        return revision
    image = str(engine.image(image_name(project, service)).get("Id") or "")
    return f"{revision}+{image.rpartition(':')[2][:12]}" if image else revision


@dataclass(frozen=True)
class Request:
    """Whose static files are published, or put back (``state: restored``).

    :ivar service: the one whose Django collects them.
    :ivar releases_dir: where releases are; files of those that are gone are removed.
    :ivar asked_in: a container that stays for one more script, see ``engine/host/staying.py``.
    :ivar timeout: seconds.
    """

    project: ProjectOptions
    lock: LockOptions
    service: str
    revision: str = ""
    state: str = "published"
    releases_dir: str = ""
    asked_in: str = ""
    manage_py: str = "manage.py"
    timeout: float = 600.0


def static_files(request: Request, check_mode: bool) -> dict[str, Any]:
    """Collect or put back, in a one-off container of the service with its entrypoint bypassed.

    :raises BadInput: the service is not there, or Django could not collect.
    """
    compose = compose_of(request.project)
    engine = connect(compose.project_src, request.lock)
    service, state = request.service, request.state
    try:
        project = compose.resolved()
        name = str(project["name"])
        refuse_without_django(project.get("services", {}), service)
        if check_mode:
            return {"changed": False, "files": 0, "msg": "unknown until built"}
        with (
            working(request.lock, state_dir_of(request.lock, name), f"django_static of {name}") as fence,
            fence.act(f"static files {state}"),
        ):
            sweep(engine, f"{name}-static")
            content = content_of(engine, project, service, request.revision)
            arguments = [state, content, release_of(compose), living_in(request.releases_dir)]
            script = as_text([published, publish_static], arguments)
            # One that a killed run has told to publish may still be at it.
            sweep(engine, name, staying.LABEL, request.asked_in)
            printed = staying.ask(request.asked_in, compose, service, script, has_answered, request.timeout)
            if not printed:
                sweep(engine, name, staying.LABEL)
                printed = _asked_anew(request, engine, compose, name, script)
            return fence.reported(_result_in(printed, service, state))
    except ComposeFailed as error:
        raise BadInput(f"static files of {service} could not be collected: {error}") from error


def _asked_anew(request: Request, engine: Engine, compose: Compose, name: str, script: str) -> str:
    """What a container of its own printed."""
    service = request.service
    command = ["run", "--rm", "-T", "--no-deps", "--label", f"{ONE_OFF}={name}-static"]
    command += interpreter.run_by(
        service, interpreter.those_that_run(engine, name, service), manage_py=request.manage_py
    )
    command += [request.manage_py, "shell", "-c", script]
    with compose.stepping_back(service) as same:
        return same.run_until(has_answered, *command, timeout=request.timeout)


def _result_in(printed: str, service: str, state: str) -> dict[str, Any]:
    result = answer_in(printed)
    if result is not None:
        return {**result, "msg": _sentence(result, state)}
    raise BadInput(
        f"static files of {service} could not be collected: {(printed.strip().splitlines() or ['no output'])[-1]}"
    )


def _sentence(result: Mapping[str, Any], state: str) -> str:
    if not result.get("root"):
        return "the app has no STATIC_ROOT: nothing to collect"
    verb = "put back" if state == "restored" else "published"
    gone = f", {result['removed']} of releases that are gone taken away" if result.get("removed") else ""
    return f"{result['files']} static files {verb} in {result['root']}{gone}"
