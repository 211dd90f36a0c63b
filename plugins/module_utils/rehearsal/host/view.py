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
from ...backup.host.external_database import Wanted, external_database_options
from ...backup.host.source import Source, source_of
from ...backup.host.store import BackupStore
from ...base.errors import BadInput
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.kinds import kinds_of
from ...engine.host.project import compose_of, connect, image_name, state_dir_of
from ...engine.options import project_options
from ...engine.programs import BROKER, DATABASE, WEB
from ...operation.host.journal import Fence
from ...operation.host.progress import Progress
from ...operation.options import lock_options
from ...postgres import substitute_database
from ...rolling.host.plan import prepare, room_of
from ...rolling.host.targets import Target
from .. import rehearsal as decide
from ..scratch import servers_of
from .app_copy import Stage
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
        return substitute_database.SERVICE if self.source.elsewhere else self.source.service

    @property
    def superuser(self) -> str:
        """Whom the rehearsal's cluster belongs to."""
        return substitute_database.SUPERUSER if self.source.elsewhere else self.source.server.user

    @property
    def apps(self) -> list[str]:
        return list(dict.fromkeys([self.service, *([self.web.settings.name] if self.web else [])]))

    @property
    def brokers(self) -> list[str]:
        return [n for n in servers_of(self.project, self.kinds) if self.kinds[n] == BROKER]


def looked(params: Mapping[str, Any], check_mode: bool) -> View | None:
    compose = compose_of(project_options(params))
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
    kinds = kinds_of(engine, project, compose.project_src, options)
    call = prepare(
        {"project_src": compose.project_src, "service_options": options, "prove": params.get("prove"),
         "allow_downtime": params.get("allow_downtime"), "state_dir": params.get("state_dir")}, True
    )  # fmt: skip
    webs = [t for t in call.targets if t.settings.kind == WEB and image_name(project, t.settings.name) == image]
    web = next((t for t in webs if t.settings.name == service), webs[0] if webs else None)
    copies = [_copy(params, str(name or "")) for name in params.get("databases") or [""]]
    problem = substitute_database.problem_with(
        [c.source.elsewhere.place for c in copies if c.source.elsewhere] or [substitute_database.Place()]
    )
    if problem:
        raise BadInput(problem, _OTHERWISE)
    state_dir = state_dir_of(lock_options(params), str(project["name"]))
    view = View(compose, engine, _stood_in(project, copies[0].source), service, web, copies, kinds, state_dir)
    kinds[view.database] = DATABASE
    return view


def _stood_in(project: dict[str, Any], source: Source) -> dict[str, Any]:
    """The project with a database in it also where its own is elsewhere."""
    other = source.elsewhere
    return substitute_database.with_stand_in(project, other.place, other.image) if other else project


def _copy(params: Mapping[str, Any], database: str) -> Copy:
    source = source_of(
        Wanted(
            project_options(params), external_database_options(params), str(params.get("database_service") or ""),
            params.get("service_options") or {}, database, str(params["service"]),
            str(params.get("manage_py") or "manage.py"), True, rehearses=True, timeout=float(params["timeout"]),
        )
    )  # fmt: skip
    if source is None:
        raise BadInput(
            "the app has no PostgreSQL database that is known, so there is nothing to rehearse on", _OTHERWISE
        )
    store = BackupStore(str(params["dest"]), (source.project, source.service, source.server.database))
    return Copy(source, store, good_enough(store.all(), 0.0))


def stage_of(
    view: View, params: Mapping[str, Any], fence: Fence, limits: decide.Limits, spare: int, progress: Progress
) -> tuple[Stage, list[str]]:
    name = scratch_name(view.name, "rehearsal")
    made, withheld = _definition(view, view.compose, view.project, view.apps, params, limits, name)
    before: dict[str, Any] = {}
    serving = str(params.get("serving_src") or "")
    if serving and os.path.isdir(serving) and os.path.realpath(serving) != os.path.realpath(view.compose.project_src):
        compose = Compose(serving)
        project = compose.resolved()
        project = _stood_in(project, view.source)
        if {view.service, view.database, *view.brokers} <= set(project["services"]):
            before, _names = _definition(view, compose, project, [view.service], params, limits, name)
    images = {n: view.engine.image(made["services"][n]["image"]).get("Config") or {} for n in made["services"]}
    if view.source.elsewhere:
        # It listens where the app expects it, and not at the image's port; that it does its health says.
        images[view.database] = {}
    stage = Stage(
        view.engine, view.name, view.state_dir, made, images, fence, progress, room_of(view.engine).disk_path, spare,
        time.monotonic() + float(params["timeout"]), before,
    )  # fmt: skip
    return stage, withheld


def _definition(
    view: View, compose: Compose, project: Mapping[str, Any], apps: Sequence[str], params: Mapping[str, Any],
    limits: decide.Limits, name: str,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    source, other = view.source, view.source.elsewhere
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
        compose.project_src, limits, [str(p) for p in params.get("environment") or ()],
        {s for s in sources if os.path.isfile(s)}, {s for s in sources if os.path.isdir(s)},
    )  # fmt: skip


def _variables(engine: Engine, image: str) -> dict[str, str]:
    entries = [str(e).partition("=") for e in (engine.image(image).get("Config") or {}).get("Env") or []]
    return {key: value for key, _is, value in entries}
