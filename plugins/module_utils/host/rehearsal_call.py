# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``update_rehearsal``: an update on the rows of a backup, or how long it took beside what was foretold."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..decide import rehearsal as decide
from ..decide import rehearsal_words as words
from ..decide.backups import Backup, good_enough
from ..decide.masking import without_secrets
from ..decide.nginx_config import request_headers
from ..decide.releases import is_id
from ..decide.scratch import names_in, out_of_reach, servers_of
from ..decide.services import BROKER, DATABASE, BadService, Probe, chosen_kind
from ..decide.stack import WEB
from ..decide.values import size as size_of
from ..journal import Fence, working
from . import app_script, django_check_script
from .backup_source import Source, source_of
from .backup_store import BackupStore
from .call_result import BadInput
from .code_that_runs import code_of
from .compose import Compose, ComposeFailed
from .django_oneoff import OneOff
from .engine import Engine, EngineFailed
from .files import private_directory, write_private
from .migrate_call import migrate
from .postgres import PostgresFailed
from .progress import Progress
from .project import compose_of, connect, image_name, state_dir_of
from .records import iso
from .rehearsal import Rehearsed, Stage, clear, disk_device, timed
from .release_store import Store
from .rolling_plan import prepare, room_of
from .scratch import TestsFailed, ended_by_signals, scratch_name, told_of
from .static_call import static_files
from .targets import Target

LOG = "rehearsal.log"
_BACK_UP = "ansible-playbook evenkeel.deploy.backup makes one; then the same command again"
# Beside what the server has for its rows it has this much for its own; without write-ahead log for others it needs less.
_SERVER = (
    "wal_level=minimal", "max_wal_senders=0", "shared_buffers=64MB", "maintenance_work_mem=64MB", "autovacuum=off",
    "max_wal_size=256MB", "max_parallel_maintenance_workers=0",
)  # fmt: skip


@dataclass(frozen=True)
class _Copy:
    """One database that is restored."""

    source: Source
    store: BackupStore
    backup: Backup | None

    @property
    def manifest(self) -> dict[str, Any]:
        return self.store.manifest(self.backup.name) if self.backup else {}

    @property
    def size(self) -> int:
        """Bytes that it takes once it is restored."""
        return int(self.manifest.get("database_size") or 0)


@dataclass(frozen=True)
class _View:
    """All that is known before anything is made."""

    compose: Compose
    engine: Engine
    project: dict[str, Any]
    service: str
    web: Target | None
    copies: list[_Copy]
    kinds: Mapping[str, str]
    state_dir: str

    @property
    def name(self) -> str:
        return str(self.project["name"])

    @property
    def source(self) -> Source:
        return self.copies[0].source

    @property
    def apps(self) -> list[str]:
        return list(dict.fromkeys([self.service, *([self.web.settings.name] if self.web else [])]))

    @property
    def brokers(self) -> list[str]:
        return [n for n in servers_of(self.project, self.kinds) if self.kinds[n] == BROKER]


def rehearse(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call.

    :raises BadInput: it cannot be rehearsed, or went wrong there, and why.
    """
    if params["state"] == "compared":
        return _compared(params, check_mode)
    try:
        memory, rate, spare = (size_of(params[key]) for key in ("memory", "io_rate", "min_free"))
    except ValueError as error:
        raise BadInput(f"memory, io_rate or min_free: {error}") from error
    try:
        view = _looked(params, check_mode)
        if view is None:
            return _result("unknown until built")
        room = room_of(view.engine)
        problem = words.no_room(
            sum(c.size for c in view.copies), spare, room.disk_free, room.disk_path, memory, room.memory_available
        )
        missing = next((c for c in view.copies if c.backup is None), None)
        if check_mode:
            return _result(words.foreseen(view.apps, [c.backup.name for c in view.copies if c.backup], problem))
        if missing:
            database = missing.source.server.database
            raise BadInput(
                f"there is no proven backup of {database} in {missing.store.folder} to rehearse on", _BACK_UP
            )
        if problem:
            raise BadInput(
                problem, "make room, see memory and min_free (update_rehearse_memory), or leave the rehearsal out"
            )
        with working(params, view.state_dir, f"update_rehearsal of {view.name}") as fence:
            return fence.told(
                _rehearsed(view, params, fence, decide.Limits(memory, rate, _device(rate, room.disk_path)), spare)
            )
    except EngineFailed as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then run the same command again") from error


def _device(rate: int, disk: str) -> str:
    return disk_device(disk) if rate else ""


def _result(message: str) -> dict[str, Any]:
    return {"changed": False, "rehearsal": {}, "timeline": [], "msg": message}


# -- what there is -----------------------------------------------------------------------------------------------


def _looked(params: Mapping[str, Any], check_mode: bool) -> _View | None:
    compose = compose_of(params)
    engine = connect(compose.project_src)
    service, options = str(params["service"]), params.get("service_options") or {}
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise BadInput(f"the Compose project is not valid: {error}") from error
    if service not in project.get("services", {}):
        raise BadInput(f"there is no service {service} in the project", "set app_django_service")
    image = image_name(project, service)
    if not engine.image(image):
        if check_mode:
            return None
        raise BadInput(f"the image {image} of {service} is not on this host", "build or pull it first")
    try:
        configs = {n: engine.image(image_name(project, n)).get("Config") or {} for n in project["services"]}
        kinds = {n: chosen_kind(n, s, configs[n], options.get(n) or {}) for n, s in project["services"].items()}
    except BadService as error:
        raise BadInput(str(error)) from error
    call = prepare(
        {"project_src": compose.project_src, "service_options": options, "prove": params.get("prove"),
         "allow_downtime": params.get("allow_downtime"), "state_dir": params.get("state_dir")}, True
    )  # fmt: skip
    webs = [t for t in call.targets if t.settings.kind == WEB and image_name(project, t.settings.name) == image]
    web = next((t for t in webs if t.settings.name == service), webs[0] if webs else None)
    copies = [_copy(params, str(name or "")) for name in params.get("databases") or [""]]
    state_dir = state_dir_of(params, str(project["name"]))
    kinds[copies[0].source.service] = DATABASE
    return _View(compose, engine, project, service, web, copies, kinds, state_dir)


def _copy(params: Mapping[str, Any], database: str) -> _Copy:
    asked = {**params, "service": params.get("database_service") or "", "database": database, "optional": False}
    source = source_of(asked)
    if source is None:
        raise BadInput("the project has no PostgreSQL service, so there is nothing to rehearse on")
    store = BackupStore(str(params["dest"]), (source.project, source.service, source.server.database))
    return _Copy(source, store, good_enough(store.all(), 0.0))


# -- the rehearsal -----------------------------------------------------------------------------------------------


def _rehearsed(
    view: _View, params: Mapping[str, Any], fence: Fence, limits: decide.Limits, spare: int
) -> dict[str, Any]:
    with fence.act("sweep rehearsals"):
        clear(view.engine, view.name, view.state_dir)
    progress = Progress.open(view.state_dir, str(params.get("progress_id") or ""))
    timeline: list[dict[str, Any]] = []
    told: dict[str, Any] = {
        "backups": [c.backup.name for c in view.copies if c.backup],
        "migrations": [],
        "requests": [],
    }
    result = {"changed": False, "rehearsal": told, "timeline": timeline}
    began = time.monotonic()
    stage, withheld = _stage(view, params, fence, limits, spare, progress)
    told["withheld"] = withheld
    try:
        with ended_by_signals("the rehearsal was"), stage.set_up():
            _play(view, stage, params, told, timeline)
    except (Rehearsed, TestsFailed, PostgresFailed, BadInput) as error:
        fence.details["result"] = "failed: rehearsal"
        path = os.path.join(private_directory(os.path.join(view.state_dir, "logs")), LOG)
        output = getattr(error, "output", "")
        what = without_secrets(str(error), view.project["services"][view.service])
        if output:
            write_private(path, without_secrets(output, view.project["services"][view.service]))
            what += f"{told_of(output, 5)}\n  (all of it is in {path} on this host)"
        advice = words.advice(getattr(error, "advice", ""), withheld)
        return {**result, "failed": True, "msg": words.failure(what, told["backups"], advice)}
    finally:
        progress.close()
    told["seconds"] = round(time.monotonic() - began, 1)
    fence.details["rehearsal"] = {"backups": told["backups"], "migrations": told["migrations"]}
    _note(view.compose.project_src, rehearsal=told)
    return {**result, "msg": words.success(told)}


def _note(project_src: str, **news: Any) -> None:
    """Write it into the release's manifest, where the folder is a release."""
    folder, release = os.path.split(os.path.normpath(project_src))
    if is_id(release) and os.path.basename(folder) == "releases":
        Store(os.path.dirname(folder)).note(release, **news)


def _stage(
    view: _View, params: Mapping[str, Any], fence: Fence, limits: decide.Limits, spare: int, progress: Progress
) -> tuple[Stage, list[str]]:
    name = scratch_name(view.name, "rehearsal")
    made, withheld = _definition(view, view.compose, view.project, view.apps, params, limits, name)
    before: dict[str, Any] = {}
    serving = str(params.get("serving_src") or "")
    if serving and os.path.isdir(serving) and os.path.realpath(serving) != os.path.realpath(view.compose.project_src):
        compose = Compose(serving)
        project = compose.resolved()
        if {view.service, view.source.service, *view.brokers} <= set(project["services"]):
            before, _names = _definition(view, compose, project, [view.service], params, limits, name)
    images = {n: view.engine.image(made["services"][n]["image"]).get("Config") or {} for n in made["services"]}
    stage = Stage(
        view.engine, view.name, view.state_dir, made, images, fence, progress, room_of(view.engine).disk_path, spare,
        time.monotonic() + float(params["timeout"]), before,
    )  # fmt: skip
    return stage, withheld


def _definition(
    view: _View, compose: Compose, project: Mapping[str, Any], apps: Sequence[str], params: Mapping[str, Any],
    limits: decide.Limits, name: str,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    source = view.source
    images = {
        n: (image_name(project, n), _variables(view.engine, image_name(project, n))) for n in [*apps, *view.brokers]
    }
    # Whatever the definition says by now: rows were dumped by this one, and by it they are restored.
    images[source.service] = (str(source.inspection["Image"]), {})
    preload = next((str(c.manifest["preload"]) for c in view.copies if c.manifest.get("preload")), "")
    given = [str(e) for e in (source.inspection.get("Config") or {}).get("Env") or []]
    initdb = next((e.partition("=")[2] for e in given if e.startswith("POSTGRES_INITDB_ARGS=")), "")
    settings = (*_SERVER, *([f"shared_preload_libraries={preload}"] if preload else []))
    mounts = [v for n in images for v in project["services"][n].get("volumes") or [] if v.get("type") == "bind"]
    sources = {str(v.get("source") or "") for v in mounts}
    return decide.rehearsal_project(
        project, apps, view.brokers, decide.Database(source.service, source.server.user, settings, initdb), images, name,
        compose.project_src, limits, [str(p) for p in params.get("environment") or ()],
        {s for s in sources if os.path.isfile(s)}, {s for s in sources if os.path.isdir(s)},
    )  # fmt: skip


def _variables(engine: Engine, image: str) -> dict[str, str]:
    entries = [str(e).partition("=") for e in (engine.image(image).get("Config") or {}).get("Env") or []]
    return {key: value for key, _is, value in entries}


def _play(
    view: _View, stage: Stage, params: Mapping[str, Any], told: dict[str, Any], timeline: list[dict[str, Any]]
) -> None:
    """Restore, migrate and ask."""
    step = timed(timeline, lambda: iso(time.time()))
    source = view.source
    with step("restore", source.service):
        stage.serve([source.service, *view.brokers])
        for copy in view.copies:
            if copy.backup is not None:
                stage.progress.say(f"rehearsal: {copy.backup.name} is being restored", "rehearse", source.service)
                took = stage.restore(
                    source.service, source.server.user, copy.store.path(copy.backup.name), copy.manifest
                )
                told["restored_in"] = round(told.get("restored_in", 0.0) + took, 1)
    stage.fence.check()
    with step("look", view.service):
        _reachable(view, stage, str(params["manage_py"]))
    with step("migrate", view.service):
        _migrated(view, stage, params, told)
    with step("start", view.service):
        _asked(view, stage, params, told)


def _reachable(view: _View, stage: Stage, manage_py: str) -> None:
    """:raises Rehearsed: the app's databases are none that the rehearsal has."""
    oneoff = OneOff(stage.engine, stage.compose(), stage.name, view.service, manage_py, stage.left(), "settings")
    found = oneoff.ask(app_script.as_text((django_check_script,), [[]]))
    names = names_in(view.project, view.service, view.source.service)
    problem = out_of_reach(found["databases"], names, ())
    if problem:
        raise Rehearsed(problem, "only databases that are restored from a backup can be rehearsed on")


def _migrated(view: _View, stage: Stage, params: Mapping[str, Any], told: dict[str, Any]) -> None:
    """What the update does with the database, in its order, and what waits for later as well.

    :raises Rehearsed: a migration failed.
    """
    running = code_of(view.engine, view.project, view.service, view.compose.project_src).running
    own = {
        "service": view.service, "manage_py": params["manage_py"], "timeout": stage.left(), "project_src": stage.folder,
        "databases": [], "lock_timeout": 2.0, "retries": 3, "wait": 30.0, "interrupted": {},
        "declared_phases": params.get("declared_phases") or {}, "allow_data_loss": params.get("allow_data_loss") or [],
        "release": params.get("release") or "", "state_dir": os.path.join(stage.folder, ".evenkeel"),
    }  # fmt: skip

    def call(state: str, code: Sequence[Mapping[str, str]], **more: Any) -> dict[str, Any]:
        stage.fence.check()
        stage.progress.say(f"rehearsal: migrations {state}", "rehearse", view.service)
        done = migrate({**own, "state": state, **more}, False, code)
        told["migrations"] += decide.measured(done, plan)
        if done.get("failed") and not done.get("waits"):
            raise Rehearsed(words.cause(str(done["msg"])))
        return done

    plan: list[dict[str, Any]] = []
    planned = call("planned", running)
    plan = planned["plan"]
    if stage.before and params.get("contract") == "next" and any(not o["waits_for"] for o in planned["open"]):
        # Who comes next finishes first what earlier ones have put off, with the code that serves.
        only = [f"{o['app']}.{o['name']}" for o in planned["open"] if o["known"]]
        call("contracted", running, project_src=stage.folder_before, only=only, release="")
        plan = call("planned", running)["plan"]
    state = "migrated" if params.get("allow_downtime") and planned["refused"] else "expanded"
    done = call(state, running, additive_only=bool(params.get("additive_only")))
    if done["open"]:
        # As if nobody ran the code from before any more.
        call("contracted", [])


def _asked(view: _View, stage: Stage, params: Mapping[str, Any], told: dict[str, Any]) -> None:
    """Start the web service there and ask it what a new container is asked before anyone meets it.

    :raises Rehearsed: it does not answer as it should.
    """
    web = view.web
    if (
        web is None
        or web.folder is not None
        or not web.settings.ready_port
        or (web.route and web.route.how == "uwsgi_pass")
    ):
        why = "no web service" if web is None else f"{web.settings.name} listens at no port that is known"
        told["not_asked"] = f"nothing was asked by HTTP: {why}"
        return
    settings = web.settings
    static_files(
        {"project_src": stage.folder, "service": view.service, "state": "published", "manage_py": params["manage_py"],
         "timeout": stage.left(), "state_dir": os.path.join(stage.folder, ".evenkeel")}, False
    )  # fmt: skip
    stage.progress.say(f"rehearsal: starts {settings.name} and asks it", "rehearse", settings.name)
    stage.start(settings.name)
    asked = [p for p in (Probe(settings.ready_path or "/", 0), *settings.prove) if p.method == "GET"]
    requests = [{"path": p.path, "method": "GET", "status": p.status, "contains": p.contains} for p in asked]
    headers = request_headers(web.route) if web.route else {"Host": "localhost"}
    answer = stage.ask(
        settings.name, settings.ready_port, requests[0], requests[1:], headers, settings.ready_timeout, 30.0
    )
    if answer["ready"]["problem"]:
        raise Rehearsed(
            f"{settings.name} never became ready: GET {answer['ready']['path']} {answer['ready']['problem']}, for "
            f"{answer['ready']['after']:g} s", "", stage.said(settings.name),
        )  # fmt: skip
    told["requests"] = [answer["ready"], *answer["requests"]]
    wrong = next((r for r in answer["requests"] if r["problem"]), None)
    if wrong:
        raise Rehearsed(f"{settings.name}: GET {wrong['path']} {wrong['problem']}", "", stage.said(settings.name))


# -- afterwards --------------------------------------------------------------------------------------------------


def _compared(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """What was foretold beside what it took, for people and in the release's manifest."""
    source = str(params["project_src"])
    folder, release = os.path.split(os.path.normpath(source))
    known = Store(os.path.dirname(folder)).manifest(release).get("rehearsal") or {} if is_id(release) else {}
    done = decide.measured(params.get("ran") or {}, [])
    both = decide.beside(known.get("migrations") or [], done)
    if any("real_seconds" in one for one in both) and not check_mode:
        _note(source, rehearsal={**known, "migrations": both})
    return {**_result(words.comparison(both)), "rehearsal": {**known, "migrations": both}}
