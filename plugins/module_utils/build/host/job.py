# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``compose_job``: run the jobs of a release, each once."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.host import known_secrets
from ...base.host.files import private_directory, write_private
from ...engine import jobs
from ...engine.host.compose import ComposeFailed
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.one_offs import ONE_OFF, sweep
from ...engine.host.project import image_name
from ...engine.options import ProjectOptions
from ...operation.host.journal import Fence, working
from ...operation.host.records import iso
from ...operation.host.timeline import entry
from ...operation.options import LockOptions
from .. import builds
from .jobs_view import Jobs, jobs_in

_LINES, _SHOWN = 2000, 15


class JobFailed(Exception):
    """A job did not end well; the text is for the user, its log included."""


@dataclass(frozen=True)
class Request:
    """Which jobs of a release are run.

    :ivar services: these alone; all where none is named.
    :ivar point: when in an update: ``before`` the roll, ``after`` it, or ``all``.
    :ivar timeout: seconds that each may take.
    :ivar since: UNIX time; a job that ended earlier runs again.
    """

    project: ProjectOptions
    lock: LockOptions
    services: tuple[str, ...] = ()
    point: str = jobs.ALL
    service_options: Mapping[str, Any] = field(default_factory=dict)
    django_service: str = ""
    timeout: float = 1800.0
    since: float = 0.0


def run_jobs(request: Request, check_mode: bool) -> dict[str, Any]:
    """Run them, each once.

    :raises BadInput: nothing was run.
    """
    try:
        view = jobs_in(request.project, request.lock, request.services, request.service_options, request.django_service)
        return _run_jobs(view, request, check_mode)
    except EngineFailed as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then run the same command again") from error


def _run_jobs(view: Jobs, request: Request, check_mode: bool) -> dict[str, Any]:
    asked, point = request.services, request.point
    for name in asked:
        if name not in view.names and name not in view.left:
            raise BadInput(
                f"{name} is no job (its kind is {view.kinds[name]}): it is not known to end by itself",
                f"write x-evenkeel: {{kind: job}} beside it, or kind: job under service_options.{name}",
            )
    wanted = [n for n in view.names if (not asked or n in asked) and point in (jobs.ALL, view.point(n))]
    volumes = view.volumes()
    since = iso(request.since)
    due = [n for n in wanted if not view.is_done(n, volumes) or str(view.record(n).get("ended") or "") < since]
    result: dict[str, Any] = {
        "changed": bool(due),
        "ran": due,
        "present": [n for n in wanted if n not in due],
        "left": view.left,
        "notes": view.notes,
        "timeline": [],
        "msg": _sentence(due, wanted, check_mode),
    }
    if check_mode or not due:
        return result
    _refuse_without_images(view, due)
    with working(request.lock, view.state_dir, f"compose_job of {view.name}") as fence:
        done: list[str] = []
        for name in due:
            began = time.time()
            try:
                container = _run(view, name, fence, request.timeout)
            except JobFailed as error:
                result["timeline"].append(entry("job", name, "", began, time.time() - began, "failed"))
                result.update(failed=True, changed=True, ran=done, msg=_failure(view, name, str(error)))
                fence.details["result"] = f"failed: {name}"
                return fence.reported(result)
            result["timeline"].append(entry("job", name, container, began, time.time() - began, "ok"))
            done.append(name)
        return fence.reported(result)


def _sentence(due: list[str], wanted: list[str], check_mode: bool) -> str:
    if not wanted:
        return "there is no job to run"
    if not due:
        return f"already run for this release: {', '.join(wanted)}"
    return f"{'would run' if check_mode else 'ran'}: {', '.join(due)}"


def _failure(view: Jobs, job: str, what: str) -> str:
    return (
        f"What: {what}\n"
        f"Now: nothing that serves was replaced, and nothing that {job} made is published\n"
        f"Next: correct it and run the same command again; by hand: docker compose --project-directory "
        f"{view.compose.project_src} run --rm {job}"
    )


def _refuse_without_images(view: Jobs, due: list[str]) -> None:
    for name in due:
        service = view.project["services"][name]
        if not view.images[name] and service.get("build"):
            raise BadInput(
                f"{name}: the image {service.get('image')} is not on this host", "build it first (compose_build)"
            )


def _run(view: Jobs, job: str, fence: Fence, timeout: float) -> str:
    """Run a job to its end and write down that it did; returns its container's name.

    Not one act but two: a build may take long, and others need not wait for it.

    :raises JobFailed: it ended badly, or did not end in time.
    """
    engine, outputs = view.engine, view.outputs[job]
    container = f"{view.name}-{job}-job-{secrets.token_hex(3)}"
    with fence.act(f"run job {job}"):
        for kind in ("job", "publish"):
            sweep(engine, f"{view.name}-{kind}")
        # What a killed run has begun to write there.
        engine.remove_volumes(output.staging for output in outputs)
        used = sorted({output.staging for output in outputs} & view.volumes())
        if used:
            raise JobFailed(f"{job} needs an empty volume {used[0]}, which a container of somebody's uses")
        words = ["run", "--detach", "-T", "--no-deps", "--name", container, "--label", f"{ONE_OFF}={view.name}-job"]
        try:
            # It pulls an image that is not there, which takes as long as it takes.
            view.compose.run_by(builds.staged(view.project, job, outputs, view.release), *words, job, timeout=timeout)
        except ComposeFailed as error:
            _clear(view, container, job)
            raise JobFailed(f"{job} could not be started: {error}") from error
    state = _wait(engine, container, fence, timeout)
    with fence.act(f"note job {job}"):
        text = engine.logs(container, _LINES)
        problem = _problem(job, state, timeout)
        if problem:
            _clear(view, container, job)
            raise JobFailed(problem + _log_tail(view, container, text))
        note(view, job)
        engine.remove(container)
    return container


def _wait(engine: Engine, container: str, fence: Fence, timeout: float) -> Mapping[str, Any]:
    """The state of a container once it has ended, or as it is when the time is over."""
    began = time.monotonic()
    while True:
        state: Mapping[str, Any] = engine.inspect(container).get("State") or {}
        if state.get("Status") not in ("created", "running", "restarting", "paused"):
            return state
        if time.monotonic() - began > timeout:
            return state
        fence.check()
        time.sleep(0.1 if time.monotonic() - began < 5 else 0.5)


def _problem(job: str, state: Mapping[str, Any], timeout: float) -> str:
    """Why a job did not end well, empty when it did."""
    if not state:
        return f"the container of {job} was removed by somebody before it had ended"
    if state.get("Status") not in ("exited", "dead"):
        return f"{job} did not end in {timeout:g} s and was stopped; a job has to end by itself (or give it a longer timeout)"
    if state.get("OOMKilled"):
        return f"{job} was killed since it took more memory than it may"
    code = int(state.get("ExitCode") or 0)
    why = f" ({state['Error']})" if state.get("Error") else ""
    return f"{job} ended with {code}{why}" if code else ""


def _clear(view: Jobs, container: str, job: str) -> None:
    """Take away a job that ended badly, and what it has half made."""
    if view.engine.inspect(container):
        view.engine.stop(container, 10)
        view.engine.remove(container)
    view.engine.remove_volumes(output.staging for output in view.outputs[job])


def _log_tail(view: Jobs, container: str, text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if not lines:
        return " and said nothing"
    path = os.path.join(private_directory(os.path.join(view.state_dir, "logs")), f"{container}.log")
    write_private(path, known_secrets.masked_text(text))
    return f"\nIts last log lines (all of them are in {path}):\n  " + "\n  ".join(lines[-_SHOWN:])


def note(view: Jobs, job: str) -> None:
    """Write down that a job has run for its release, and left what it made in its volumes."""
    # It may have been pulled just now.
    view.images[job] = str(view.engine.image(image_name(view.project, job)).get("Id") or "")
    record = {
        "service": job,
        "release": view.release,
        "identity": view.identity(job),
        "image": view.images[job],
        "volumes": [output.staging for output in view.outputs[job]],
        "ended": iso(time.time()),
    }
    path = view.record_path(job)
    private_directory(os.path.dirname(path))
    write_private(path, json.dumps(record, indent=1, sort_keys=True) + "\n")


def living_volumes(engine: Engine, project: str, living: list[str]) -> None:
    """Remove what was built for releases that are gone; none known means that nobody knows."""
    if living:
        ends = tuple(f"-{release}" for release in living)
        engine.remove_labelled(f"{builds.STAGING_LABEL}={project}", lambda name: name.endswith(ends))
