# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``publish_build``: what the jobs of a release built goes beside the files that the proxy serves."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.host.files import private_directory, read_json, write_private
from ...base.truncate_list import some
from ...engine import path_content
from ...engine.host import interpreter
from ...engine.host.app_script import answer_in, as_text
from ...engine.host.compose import ComposeFailed
from ...engine.host.engine import EngineFailed
from ...engine.host.inspection import PROJECT_LABEL, started_at
from ...engine.host.one_offs import ONE_OFF, sweep
from ...engine.host.project import image_name, refuse_without_django
from ...engine.jobs import BEFORE
from ...engine.options import ProjectOptions
from ...operation.host.journal import working
from ...operation.options import LockOptions
from .. import asset_names, builds, built_site
from ..builds import ADOPTED, BUILDS, LIVE, PUBLISHER, Output
from ..inside import publish as build_publish
from ..inside import publish_checked, published
from .adopted_builds import AdoptedBuilds, of_adopted
from .job import living_volumes
from .jobs_view import Jobs, Unrunnable, jobs_in
from .static import living_in

OFFERED, PUBLISHED, RESTORED = "offered", "published", "restored"


class NotPublished(BadInput):
    """What was built could not be put into place; whatever was replaced is kept."""

    def message(self) -> str:
        return (
            f"What: {self}\n"
            "Now: what was built was copied before the first file was replaced; what was replaced is kept and comes back with "
            "the update's undo (state: restored)\n"
            f"Next: {self.advice or 'correct that and run the same command again'}"
        )


_NOTHING = {"changed": False, "files": 0, "replaced": 0, "removed": 0, "notes": []}


@dataclass(frozen=True)
class Request:
    """What is published or put back.

    :ivar state: ``offered`` only looks, ``published`` replaces live files, ``restored`` puts them back.
    :ivar services: jobs whose files these are; all where none is named.
    :ivar refuse_broken: publish a whole site only; ``refuse_same`` also refuses one that differs in nothing.
    :ivar drop_edits: replace files that were edited by hand.
    :ivar releases_dir: where releases are; files of those that are gone are removed.
    :ivar timeout: seconds.
    """

    project: ProjectOptions
    lock: LockOptions
    django_service: str
    service_options: Mapping[str, Any] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    refuse_broken: bool = False
    refuse_same: bool = False
    drop_edits: bool = False
    releases_dir: str = ""
    state: str = PUBLISHED
    timeout: float = 600.0


def publish(request: Request, check_mode: bool) -> dict[str, Any]:
    """Publish or restore, in a one-off container that has the live files, what was built, and no network.

    :raises BadInput: nothing was replaced.
    """
    state = request.state
    if state == RESTORED and not os.path.isdir(request.project.project_src):
        return {**_NOTHING, "msg": "the release is gone, and with it what there was to put back"}
    try:
        view = jobs_in(request.project, request.lock, request.services, request.service_options, request.django_service)
    except Unrunnable:
        if state != RESTORED:
            raise
        return {**_NOTHING, "msg": "no job of this release can be run, so nothing was ever published"}
    try:
        return _publish(view, request, check_mode)
    except EngineFailed as error:
        raise BadInput(str(error)) from error


def _publish(view: Jobs, request: Request, check_mode: bool) -> dict[str, Any]:
    state, service = request.state, request.django_service
    volumes = view.volumes()
    # What a job builds that runs after the roll is not there before it.
    names = [n for n in view.names if state == RESTORED or view.point(n) == BEFORE or view.is_done(n, volumes)]
    groups = builds.by_live([output for job in names for output in view.outputs[job]])
    asked = set(request.services)
    groups = {live: group for live, group in groups.items() if not asked or asked & {o.job for o in group}}
    if not groups:
        return {**_NOTHING, "msg": "no job builds anything for the proxy"}
    refuse_without_django(view.project["services"], service)
    runs = {live: _run_of(view, group) for live, group in groups.items()}
    if check_mode:
        due = [
            live
            for live, group in groups.items()
            if state != RESTORED
            and (_known(view).get(live) != runs[live] or not all(view.is_done(o.job, volumes) for o in group))
        ]
        msg = f"would be published: {', '.join(due)}" if due else "already published"
        return {**_NOTHING, "changed": bool(due), "msg": msg}
    if state != RESTORED:
        _refuse_unbuilt(view, groups, volumes)
    living = living_in(request.releases_dir)
    before = (
        of_adopted(view, request.project, request.lock, request.releases_dir, request.service_options, service)
        if state != RESTORED
        else AdoptedBuilds(None)
    )
    result: dict[str, Any] = {**_NOTHING, "notes": list(view.notes)}
    with (
        working(request.lock, view.state_dir, f"publish_build of {view.name}") as fence,
        fence.act(f"built files {state}"),
    ):
        sweep(view.engine, f"{view.name}-publish")
        for live, group in groups.items():
            answer = _in_container(view, request, group, runs[live], volumes, living, before)
            _add(result, answer, live)
            if state == PUBLISHED or answer["changed"]:
                _write_known(view, live, runs[live] if state == PUBLISHED else "")
        if state == PUBLISHED:
            living_volumes(view.engine, view.name, [*living, view.release] if living else [])
        result["msg"] = _sentence(result, state)
        return fence.reported(result)


def _run_of(view: Jobs, group: Sequence[Output]) -> str:
    """Which run of its jobs a build is from."""
    ended = [[o.job, view.record(o.job).get("identity"), view.record(o.job).get("ended")] for o in group]
    return hashlib.sha256(json.dumps(ended).encode()).hexdigest()


def _known_path(view: Jobs) -> str:
    return os.path.join(view.state_dir, "published.json")


def _known(view: Jobs) -> dict[str, Any]:
    """What was published last as far as this host remembers; the volumes themselves know better, but have to be mounted."""
    return read_json(_known_path(view))


def _write_known(view: Jobs, live: str, run: str) -> None:
    private_directory(view.state_dir)
    write_private(_known_path(view), json.dumps({**_known(view), live: run}, sort_keys=True) + "\n")


def _refuse_unbuilt(view: Jobs, groups: Mapping[str, Sequence[Output]], volumes: set[str]) -> None:
    for group in groups.values():
        for output in group:
            if output.staging not in volumes or not view.record(output.job):
                raise BadInput(
                    f"{output.job} has not run for {view.release}: there is nothing to publish", "run compose_job first"
                )


def _in_container(
    view: Jobs,
    request: Request,
    group: Sequence[Output],
    run: str,
    volumes: set[str],
    living: Sequence[str],
    before: AdoptedBuilds,
) -> Mapping[str, Any]:
    state, service, timeout = request.state, request.django_service, request.timeout
    # Who reads these files beside the proxy does so when it starts, which is in the roll.
    everything = state == PUBLISHED or any(output.readers for output in group)
    starting = (
        None
        if request.drop_edits
        else [path_content.starting(started_at(i)) for i in view.engine.containers({PROJECT_LABEL: view.name})]
    )
    lost = before.due(group[0].live)
    modules = [published, build_publish]
    arguments = [state, LIVE, BUILDS, view.release, run, everything, list(living), starting]
    arguments.append(f"{ADOPTED}/0" if lost else "")
    if request.refuse_broken and state != RESTORED:
        modules += [asset_names, built_site, publish_checked]
        arguments.append(request.refuse_same)
    script = as_text(modules, arguments)
    project = builds.publisher(
        view.project, image_name(view.project, service), group, view.release, volumes, lost, before.release
    )
    words = ["run", "--rm", "-T", "--no-deps", "--label", f"{ONE_OFF}={view.name}-publish"]
    words += interpreter.run_by(PUBLISHER, django=False)
    try:
        printed = view.compose.run_by(project, *words, "-c", script, timeout=timeout)
    except ComposeFailed as error:
        raise NotPublished(f"what {group[0].job} built could not be {state}: {error}") from error
    answer = answer_in(printed)
    if answer is None or "error" in answer:
        said = (answer or {}).get("error") or (printed.strip().splitlines() or ["no output"])[-1]
        raise NotPublished(f"what {group[0].job} built could not be {state}: {said}")
    if answer.get("kept"):
        before.kept(lost)
    if answer.get("edited"):
        kind = BadInput if state == OFFERED else NotPublished
        raise kind(
            f"somebody changed {some(answer['edited'], 10)} by hand in the live files since they were published, and what "
            f"{group[0].job} built would replace that",
            "put the change into the source; or run the same command again with -e app_allow_lost_edits=true, by which it goes",
        )
    if "refused" in answer:
        raise BadInput(
            f"what {' and '.join(dict.fromkeys(o.job for o in group))} built is shown to nobody: {'; '.join(answer['refused'])}",
            "correct the source and run the same command again, or build all of it anew: "
            "ansible-playbook evenkeel.deploy.update -e update_version=VERSION",
        )
    return answer


def _add(result: dict[str, Any], answer: Mapping[str, Any], live: str) -> None:
    result["changed"] = result["changed"] or bool(answer["changed"])
    for key in ("files", "replaced", "removed"):
        result[key] += int(answer.get(key) or 0)
    unhashed = list(answer.get("unhashed") or ())
    if unhashed:
        result["notes"].append(
            f"{live}: {len(unhashed)} files without a hash in their names were replaced ({', '.join(unhashed[:3])}"
            f"{', …' if len(unhashed) > 3 else ''}): a page loaded before now gets the new ones"
        )


def _sentence(result: Mapping[str, Any], state: str) -> str:
    verb = "put back" if state == RESTORED else state
    gone = f", {result['removed']} of releases that are gone taken away" if result["removed"] else ""
    return f"{result['files']} built files {verb}{gone}"
