# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of an image: what Django itself says of it before anything of it runs, and what its tests say."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.host import known_secrets
from ...base.host.files import private_directory, write_private
from ...django import checks as django_checks
from ...django.host.oneoff import OneOff
from ...django.inside import deployment_checks
from ...engine import definition as engine_definition
from ...engine.definition import name_on_engine
from ...engine.host import app_script
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.kinds import kinds_of
from ...engine.host.project import compose_of, connect, image_name, refuse_without_django, state_dir_of
from ...engine.options import ProjectOptions
from ...migrations.bridges import USUAL
from ...migrations.host import migrate
from ...migrations.host import request as migrations_request
from ...migrations.host.database_host import refuse_other_host
from ...migrations.host.run import noted
from ...migrations.host.running_code import Code, code_of
from ...migrations.inside import checks_and_plan
from ...operation.host.journal import Fence, working
from ...operation.host.progress import Progress, ProgressOptions
from ...operation.host.timeline import entry
from ...operation.options import LockOptions
from ...releases.release_commands import last_lines
from .. import scratch
from .scratch import Scratch, TestsFailed, output_tail, scratch_name, sweep

LOG = "django-tests.log"


@dataclass(frozen=True)
class Request:
    """What is asked of an image, and which tests are run.

    :ivar service: the Django service.
    :ivar checks: ``deploy`` is ``check --deploy``, ``migrations`` is ``makemigrations --check --dry-run``.
    :ivar plan: tell also what would be migrated.
    :ivar declared_phases: when an operation may run that cannot be judged; ``allow_data_loss``: what may drop data.
    :ivar test_command: as text or as a list of words, in the place of the image's entrypoint; None where nothing is tested.
    :ivar take_over_from: the host that the database belongs to so far (machine/project), where that is gone for good.
    :ivar timeout: seconds that the checks may take, and the tests.
    """

    project: ProjectOptions
    lock: LockOptions
    service: str
    progress: ProgressOptions = field(default_factory=ProgressOptions)
    checks: tuple[str, ...] = (django_checks.DEPLOY, django_checks.MIGRATIONS)
    plan: bool = False
    bridges: tuple[str, ...] = USUAL
    declared_phases: Mapping[str, Any] = field(default_factory=dict)
    allow_data_loss: tuple[str, ...] = ()
    test_command: Any = None
    service_options: Mapping[str, Any] = field(default_factory=dict)
    manage_py: str = "manage.py"
    take_over_from: str = ""
    timeout: float = 3600.0


@dataclass(frozen=True)
class _View:
    """The project and what of it is asked."""

    compose: Compose
    engine: Engine
    project: dict[str, Any]
    service: str
    words: tuple[str, ...]
    checks: tuple[str, ...]
    servers: list[str]

    @property
    def name(self) -> str:
        return str(self.project["name"])

    @property
    def definition(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.project["services"][self.service]
        return found


def check(request: Request, check_mode: bool) -> dict[str, Any]:
    """Ask the image, and run the tests where there are some.

    :raises BadInput: nothing could be asked, and why.
    """
    try:
        view = _looked(request)
        if not view.engine.image(image_name(view.project, view.service)) and not check_mode:
            image = image_name(view.project, view.service)
            raise BadInput(f"the image {image} of {view.service} is not on this host", "build or pull it first")
        if check_mode and not _could_be_asked(view):
            return _result(django_checks.Verdict(), "unknown until built")
        return _checked(view, request, check_mode)
    except EngineFailed as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then run the same command again") from error


def _looked(request: Request) -> _View:
    try:
        words = scratch.command_of(request.test_command)
    except scratch.BadCommand as error:
        raise BadInput(f"test_command: {error}", 'write "manage.py test --noinput", or its words as a list') from error
    compose = compose_of(request.project)
    engine = connect(compose.project_src, request.lock)
    service = request.service
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise BadInput(f"the Compose project is not valid: {error}") from error
    services = project.get("services") or {}
    refuse_without_django(services, service)
    servers: list[str] = []
    if words:
        servers = scratch.servers_of(project, kinds_of(engine, project, compose.project_src, request.service_options))
    return _View(compose, engine, project, service, words, request.checks, servers)


def _could_be_asked(view: _View) -> bool:
    """Whether a one-off container would leave nothing behind: Compose makes networks and volumes that are not there."""
    if not view.engine.image(image_name(view.project, view.service)):
        return False
    volumes = view.project.get("volumes") or {}
    attached = view.definition.get("networks") or {}
    wanted = {name_on_engine(view.project, "networks", n) for n in attached}
    mounted = [str(v.get("source")) for v in view.definition.get("volumes") or [] if v.get("type") == "volume"]
    own = [n for n in mounted if n in volumes and not (volumes[n] or {}).get("external")]
    needed = {name_on_engine(view.project, "volumes", n) for n in own}
    there = view.engine.volumes(f"com.docker.compose.project={view.name}")
    return wanted <= set(view.engine.networks()) and needed <= there


def _checked(view: _View, request: Request, check_mode: bool) -> dict[str, Any]:
    state_dir = state_dir_of(request.lock, view.name)
    locked = not check_mode and (view.words or request.lock.lock_token)
    lock = working(request.lock, state_dir, f"django_check of {view.name}") if locked else contextlib.nullcontext()
    with lock as fence:
        if fence:
            with fence.act("sweep scratch copies"):
                sweep(view.engine, view.name)
        began, started = time.time(), time.monotonic()
        code = code_of(view.engine, view.project, view.service, view.compose.project_src) if request.plan else None
        report, planned = _report(view, request, code, fence)
        verdict = django_checks.verdict_of(report)
        result = _result(verdict, verdict.sentence(view.checks))
        result["planned"] = planned
        result["django"] = str(report["django"])
        ended = "failed" if verdict.stops else "ok"
        result["timeline"].append(entry("check", view.service, "", began, time.monotonic() - started, ended))
        if verdict.stops:
            return _failed(result, *verdict.refusal(view.service, request.manage_py))
        if not view.words:
            return result
        names = {n for s in view.servers for n in engine_definition.names_in(view.project, view.service, s)}
        problem = scratch.out_of_reach(report["databases"], names, view.words)
        if problem:
            raise BadInput(
                f"test_command: {problem}, so its tests would have none",
                "let the project have that database as a service (of kind database), give the command settings of its own "
                "(--settings), or leave it out",
            )
        if not fence:
            result["msg"] += f"; would run {_command(view)}"
            return result
        return _tested(view, request, fence, state_dir, result)


def _report(
    view: _View, request: Request, code: Code | None, fence: Fence | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the script in a one-off container of the service has told, and the plan where one was asked for.

    :param fence: of the operation that this is part of; what this code is to be known for is noted in the same turn.
    """
    oneoff = OneOff(view.engine, view.compose, view.name, view.service, request.manage_py, request.timeout, "checks")
    if code is None:
        script = app_script.as_text((deployment_checks,), [list(view.checks)])
        return _clean(view, request.manage_py, oneoff.ask(script)), {}
    modules = migrate.TALK if fence else migrate.MODULES
    asked = [list(view.checks), migrate.question(code.running), fence is not None]
    script = app_script.as_text((*modules, deployment_checks, checks_and_plan), asked)
    with oneoff.talk(script) if fence else contextlib.nullcontext() as talk:
        report = talk.asked() if talk else oneoff.ask(script)
        plan = report.pop("plan", None) or {}
        report = _clean(view, request.manage_py, report)
        planned = _planned(view, plan, request, code)
        if talk and fence and planned and not django_checks.verdict_of(report).stops:
            planned = noted(
                _migrations(request), talk, code, plan, planned, lambda: fence.act("note what this code knows")
            )
    return report, planned


def _migrations(request: Request) -> migrations_request.Request:
    """What the checks' plan is of, as whoever migrates asks for it."""
    return migrations_request.Request(
        request.project, request.lock, request.service, migrations_request.PLANNED, allow_data_loss=request.allow_data_loss
    )  # fmt: skip


def _clean(view: _View, manage_py: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """What was told.

    :raises BadInput: it broke off.
    """
    if report.get("error"):
        step, words = report["error"]["step"], report["error"]["message"]
        raise BadInput(
            f"{view.service} breaks off in {step}: {words}", f"{manage_py} {step} says the same; correct that"
        )
    return dict(report)


def _planned(view: _View, plan: Mapping[str, Any], request: Request, code: Code | None) -> dict[str, Any]:
    """What ``django_migrate`` would say of a plan, empty where there is none: then that says why, when it is its turn.

    :raises BadInput: the database belongs to another host.
    """
    if code is None or not plan or plan.get("error"):
        return {}
    # Before tests run for minutes.
    refuse_other_host(view.engine, code.host, migrate.claims_in(plan), request.take_over_from)
    try:
        declared = migrate.declared_in(request.declared_phases)
        return migrate.judged(plan, declared, code, request.allow_data_loss, allowed_bridges=request.bridges)
    except BadInput:
        return {}


def _result(verdict: django_checks.Verdict, sentence: str) -> dict[str, Any]:
    return {"changed": False, **verdict.result(), "planned": {}, "tests": {}, "timeline": [], "msg": sentence}


def _failed(result: dict[str, Any], what: str, then: str) -> dict[str, Any]:
    message = f"What: {what}\nNow: nothing was touched, what was serving still is\nNext: {then}"
    return {**result, "failed": True, "msg": message}


def _command(view: _View) -> str:
    return shlex.join(view.words)


def _plain_files(project: Mapping[str, Any], services: Sequence[str]) -> set[str]:
    """The sources of mounts that are regular files."""
    mounts = [v for s in services for v in project["services"][s].get("volumes") or [] if v.get("type") == "bind"]
    return {str(v["source"]) for v in mounts if os.path.isfile(str(v.get("source")))}


def _tested(view: _View, request: Request, fence: Fence, state_dir: str, result: dict[str, Any]) -> dict[str, Any]:
    used = [*view.servers, view.service]
    images = {n: image_name(view.project, n) for n in used}
    definition = scratch.scratch_project(
        view.project, view.service, view.servers, images, view.words, scratch_name(view.name),
        view.compose.project_src, _plain_files(view.project, used),
    )  # fmt: skip
    progress = Progress.open(state_dir, request.progress.progress_id)
    configs = {n: view.engine.image(image).get("Config") or {} for n, image in images.items()}
    copy = Scratch(view.engine, view.compose, definition, configs, fence, progress)
    path = os.path.join(private_directory(os.path.join(state_dir, "logs")), LOG)
    began, started = time.time(), time.monotonic()
    progress.say(f"tests: {_command(view)} in a scratch copy of {', '.join(view.servers) or 'nothing'}", "test")
    try:
        output = copy.run(request.timeout)
    except TestsFailed as error:
        result["timeline"].append(entry("test", view.service, "", began, time.monotonic() - started, "failed"))
        fence.details["result"] = "failed: tests"
        what = str(error)
        if error.output:
            write_private(path, known_secrets.masked_text(error.output))
            what = what if "\n" in what else f"{what}{output_tail(error.output)}"
            what += f"\n  (all of it is in {path} on this host)"
        return _failed(
            result,
            f"{_command(view)} ({view.service}): {what}",
            "correct it and run the same command again; the tests had no more than a scratch copy, which is gone. To go on "
            "without them leave out test_command (update_test_command in a playbook)",
        )
    finally:
        progress.close()
    write_private(path, known_secrets.masked_text(output))
    seconds = round(time.monotonic() - started, 1)
    result["timeline"].append(entry("test", view.service, "", began, time.monotonic() - started, "ok"))
    result["tests"] = {
        "command": _command(view),
        "seconds": seconds,
        "last_lines": last_lines(output, 5),
        "log": path,
    }
    result["msg"] += f"; {_command(view)} passed in a scratch copy after {seconds:g} s"
    return result
