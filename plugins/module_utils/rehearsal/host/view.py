# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of an app before a rehearsal of it is made: its project, its web service, and which backups there are."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...backup.backups import Backup, good_enough
from ...backup.host.external_database import Wanted
from ...backup.host.source import Source, source_of
from ...backup.host.store import BackupStore
from ...base.errors import BadInput
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.kinds import kinds_of
from ...engine.host.project import compose_of, connect, image_name, refuse_without_django, state_dir_of
from ...engine.options import ProjectOptions
from ...engine.programs import BROKER, DATABASE, WEB
from ...engine.services import CommonSettings
from ...operation.host.journal import Fence
from ...operation.host.progress import Progress
from ...operation.options import LockOptions
from ...postgres import substitute_database
from ...rolling.host.plan import Request as Roll
from ...rolling.host.plan import prepare, room_of
from ...rolling.host.targets import Target
from .. import rehearsal as decide
from ..scratch import servers_of
from .app_copy import Stage
from .request import Request
from .scratch import scratch_name

# Beside what the server has for its rows it has this much for its own; without write-ahead log for others it needs less.
_SERVER = (
    "wal_level=minimal", "max_wal_senders=0", "shared_buffers=64MB", "maintenance_work_mem=64MB", "autovacuum=off",
    "max_wal_size=256MB", "max_parallel_maintenance_workers=0",
)  # fmt: skip
_OTHERWISE = (
    "set app_database_service where it is a service of the project, or leave the rehearsal out (update_rehearse: false)"
)


@dataclass(frozen=True)
class Copy:
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
class View:
    """All that is known before anything is made."""

    compose: Compose
    engine: Engine
    project: dict[str, Any]
    service: str
    web: Target | None
    copies: list[Copy]
    kinds: Mapping[str, str]
    state_dir: str

    @property
    def name(self) -> str:
        return str(self.project["name"])

    @property
    def source(self) -> Source:
        return self.copies[0].source

    @property
    def database(self) -> str:
        """The service that is the database in the rehearsal."""
        return substitute_database.SERVICE if self.source.is_external else self.source.service

    @property
    def superuser(self) -> str:
        """Whom the rehearsal's cluster belongs to."""
        return substitute_database.SUPERUSER if self.source.is_external else self.source.server.user

    @property
    def apps(self) -> list[str]:
        return list(dict.fromkeys([self.service, *([self.web.settings.name] if self.web else [])]))

    @property
    def brokers(self) -> list[str]:
        return [n for n in servers_of(self.project, self.kinds) if self.kinds[n] == BROKER]


def looked(request: Request, check_mode: bool) -> View | None:
    """All that is to be known of the app; None in check mode where its image is still to be built.

    :raises BadInput: it cannot be rehearsed, and why.
    """
    compose = compose_of(request.project)
    engine = connect(compose.project_src)
    service, options = request.service, request.service_options
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise BadInput(f"the Compose project is not valid: {error}") from error
    refuse_without_django(project.get("services", {}), service)
    image = image_name(project, service)
    if not engine.image(image):
        if check_mode:
            return None
        raise BadInput(f"the image {image} of {service} is not on this host", "build or pull it first")
    kinds = kinds_of(engine, project, compose.project_src, options)
    roll = Roll(
        ProjectOptions(compose.project_src),
        LockOptions(request.lock.state_dir),
        common=CommonSettings(prove=request.prove),
        service_options=options,
        allow_downtime=request.allow_downtime,
    )
    call = prepare(roll, True)
    webs = [t for t in call.targets if t.settings.kind == WEB and image_name(project, t.settings.name) == image]
    web = next((t for t in webs if t.settings.name == service), webs[0] if webs else None)
    copies = [_copy(request, name) for name in request.databases or [""]]
    problem = substitute_database.problem_with(
        [c.source.is_external.place for c in copies if c.source.is_external] or [substitute_database.Place()]
    )
    if problem:
        raise BadInput(problem, _OTHERWISE)
    state_dir = state_dir_of(request.lock, str(project["name"]))
    view = View(compose, engine, _stood_in(project, copies[0].source), service, web, copies, kinds, state_dir)
    kinds[view.database] = DATABASE
    return view


def _stood_in(project: dict[str, Any], source: Source) -> dict[str, Any]:
    """The project with a database in it also where its own is elsewhere."""
    other = source.is_external
    return substitute_database.with_substitute(project, other.place, other.image) if other else project


def _copy(request: Request, database: str) -> Copy:
    source = source_of(
        Wanted(
            request.project, request.external, request.database_service, request.service_options, database,
            request.service, request.manage_py, True, rehearses=True, timeout=request.timeout,
        )
    )  # fmt: skip
    if source is None:
        raise BadInput(
            "the app has no PostgreSQL database that is known, so there is nothing to rehearse on", _OTHERWISE
        )
    store = BackupStore(request.dest, (source.project, source.service, source.server.database))
    return Copy(source, store, good_enough(store.all(), 0.0))


def stage_of(
    view: View, request: Request, fence: Fence, limits: decide.Limits, spare: int, progress: Progress
) -> tuple[Stage, list[str]]:
    """Where it is rehearsed, not set up yet, and the variables that are withheld from the app there."""
    name = scratch_name(view.name, "rehearsal")
    made, withheld = _definition(view, view.compose, view.project, view.apps, request.environment, limits, name)
    before: dict[str, Any] = {}
    serving = request.serving_src
    if serving and os.path.isdir(serving) and os.path.realpath(serving) != os.path.realpath(view.compose.project_src):
        compose = Compose(serving)
        project = compose.resolved()
        project = _stood_in(project, view.source)
        if {view.service, view.database, *view.brokers} <= set(project["services"]):
            before, _names = _definition(view, compose, project, [view.service], request.environment, limits, name)
    images = {n: view.engine.image(made["services"][n]["image"]).get("Config") or {} for n in made["services"]}
    if view.source.is_external:
        # It listens where the app expects it, and not at the image's port; that it does its health says.
        images[view.database] = {}
    stage = Stage(
        view.engine, view.name, view.state_dir, made, images, fence, progress, room_of(view.engine).disk_path, spare,
        time.monotonic() + request.timeout, before,
    )  # fmt: skip
    return stage, withheld


def _definition(
    view: View, compose: Compose, project: Mapping[str, Any], apps: Sequence[str], environment: Sequence[str],
    limits: decide.Limits, name: str,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    source, other = view.source, view.source.is_external
    images = {
        n: (image_name(project, n), _variables(view.engine, image_name(project, n))) for n in [*apps, *view.brokers]
    }
    # Whatever the definition says by now: rows were dumped by this one, and by it they are restored.
    images[view.database] = (other.fetch(view.engine) if other else str(source.inspection["Image"]), {})
    # What a provider preloads no other image has.
    preload = "" if other else next((str(c.manifest["preload"]) for c in view.copies if c.manifest.get("preload")), "")
    given = [str(e) for e in (source.inspection.get("Config") or {}).get("Env") or []]
    initdb = next((e.partition("=")[2] for e in given if e.startswith("POSTGRES_INITDB_ARGS=")), "")
    settings = (*_SERVER, *([f"shared_preload_libraries={preload}"] if preload else []))
    mounts = [v for n in images for v in project["services"][n].get("volumes") or [] if v.get("type") == "bind"]
    sources = {str(v.get("source") or "") for v in mounts}
    port = other.place.ports[0] if other and other.place.port else ""
    return decide.rehearsal_project(
        project, apps, view.brokers, decide.Database(view.database, view.superuser, settings, initdb, port), images, name,
        compose.project_src, limits, environment,
        {s for s in sources if os.path.isfile(s)}, {s for s in sources if os.path.isdir(s)},
    )  # fmt: skip


def _variables(engine: Engine, image: str) -> dict[str, str]:
    entries = [str(e).partition("=") for e in (engine.image(image).get("Config") or {}).get("Env") or []]
    return {key: value for key, _is, value in entries}
