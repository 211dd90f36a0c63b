# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that is known of an app: look at everything, say what cannot be seen, and go on.  It takes no lock."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...base.errors import BadInput
from ...base.host.files import FilesFailed, read_json
from ...base.secret_values import MARK
from ...build.host.baked_images import baked_images
from ...celery.host.tasks_aside import recorded, summed
from ...drift.host.containers import ContainerDrift, Drifts, VolumeDrift, containers_of
from ...drift.host.trees import TreeDrift, of_mounts, of_release
from ...engine.definition import GENERATED, name_on_engine, with_contexts
from ...engine.host.compose import ComposeFailed
from ...engine.host.container_files import Budget
from ...engine.host.engine import Engine, EngineFailed, NotFound
from ...engine.host.inspection import SERVICE_LABEL, label_of
from ...engine.options import ProjectOptions
from ...engine.programs import BROKER, DATABASE, JOB, PROXY
from ...git.host.git import GitFailed
from ...hotfix.host.in_place_record import in_force
from ...hotfix.host.staging import tried
from ...migrations.host import request as migrations_request
from ...migrations.host.migrate import migrate
from ...operation.host.records import iso
from ...operation.options import LockOptions
from ...releases import choice
from ...releases.host.retention import has_engine
from ...releases.host.store import Store
from ...rolling.host import gap_record, spares
from ...traffic.host.smoke_test import SmokeTestOptions, questions, wrong
from .. import findings
from ..findings import RollbackTarget, Seen, Service
from ..text import text
from . import store as files
from .engine import EngineView

#: What can be left out since it takes time: seconds for migrations, use and drift.
PARTS = ("drift", "migrations", "use")
_PATIENCE = 120.0
# How many of what takes seconds are under way: a single processor is not shared by two Djangos that boot.
_AT_ONCE = 3 if len(os.sched_getaffinity(0)) > 1 else 2
# Seconds in which what is due is removed, with another operation in the way.
_OVERDUE = 120.0


@dataclass(frozen=True)
class Request:
    """Which app is looked at.

    :ivar path: the app's folder, in which releases are; ``state_dir`` and ``backups_dir`` are in it where they are not given.
    :ivar owner: whose the releases are; whoever looks where it is not given.
    :ivar look_at: of :data:`PARTS`; all else is looked at always.
    """

    path: str
    project_name: str
    smoke_test: SmokeTestOptions
    state_dir: str = ""
    backups_dir: str = ""
    owner: str = ""
    django_service: str = "api"
    manage_py: str = "manage.py"
    look_at: tuple[str, ...] = PARTS


def deploy_info(request: Request) -> dict[str, Any]:
    """Tell what is known of an app; it changes nothing.

    :raises BadInput: app_root cannot be one, or app_verify_paths are none.
    """
    root = request.path
    if not os.path.isabs(root) or ".." in root.split("/"):
        raise BadInput(f"path {root} must be absolute and without ..")
    seen = _Look(request).all()
    found = findings.findings(seen)
    lines = text(seen)
    facts = asdict(seen)
    facts["holder"] = _holder_facts(seen)
    return {
        "changed": False,
        "status": findings.state_of(found, seen),
        "next": findings.next_command(found),
        "findings": [asdict(f) for f in found],
        "info": facts,
        "text": lines,
        "msg": lines[0] + (f"; next: {findings.next_command(found)}" if findings.next_command(found) else ""),
    }


def _holder_facts(seen: Seen) -> dict[str, Any]:
    holder, lock = seen.holder, seen.holder.lock
    return {
        "held": lock.held, "number": lock.number, "operation": str(lock.operation) if lock.held else "", "who": lock.who,
        "since": iso(lock.since) if lock.held else "", "expires": iso(time.time() + holder.left) if lock.held else "",
        "alive": holder.alive, "quiet": round(holder.quiet, 1), "rebooted": holder.rebooted, "pending_undo": lock.pending_undo,
    }  # fmt: skip


def made_by_others(project: Mapping[str, Any], proxies: Collection[str]) -> set[tuple[str, str]]:
    """Proxies and the volumes that they show of what another service makes, such as a build of the front end.

    What their own image has at that place, nginx's stock page, is no measure for it.
    """
    users: dict[str, set[str]] = {}
    for name, service in (project.get("services") or {}).items():
        for volume in service.get("volumes") or []:
            if volume.get("type") == "volume" and volume.get("source"):
                users.setdefault(str(volume["source"]), set()).add(name)
    return {
        (name, name_on_engine(project, "volumes", key))
        for key, names in users.items()
        for name in names & set(proxies)
        if names - set(proxies)
    }


def of_no_job(inspections: Sequence[Mapping[str, Any]], services: Sequence[Service]) -> list[Mapping[str, Any]]:
    """The containers that are held against their images: what a job wrote beside its sources is its work, not a person's."""
    jobs = {s.name for s in services if s.kind == JOB}
    return [i for i in inspections if label_of(i, SERVICE_LABEL) not in jobs]


def _edit_facts(where: str, what: str, one: ContainerDrift | VolumeDrift | TreeDrift) -> dict[str, Any]:
    differences = [asdict(d) for d in one.differences]
    return {"where": where, "what": what, "differences": differences, "more": one.more, "unseen": one.unseen}


def _with_use(service: Service, used: Mapping[str, tuple[float, int]]) -> Service:
    """A service whose containers have the CPU and memory that was measured."""
    containers = ((c, *used.get(c.name, (None, None))) for c in service.containers)
    return replace(service, containers=tuple(replace(c, cpu=cpu, memory=memory) for c, cpu, memory in containers))


class _Look:
    """What one call sees; each part that cannot be seen is named in ``unseen``."""

    def __init__(self, request: Request) -> None:
        self.app = request.project_name
        self.store = Store(request.path, request.owner)
        self.state_dir = self.store.state_dir(LockOptions(request.state_dir))
        self.backups = request.backups_dir or os.path.join(request.path, "backups")
        self.django = request.django_service
        self.manage_py = request.manage_py or "manage.py"
        self.parts: Collection[str] = set(request.look_at)
        self.unseen: dict[str, str] = {}
        self.health_url, self.questions = request.smoke_test.health_url, questions(request.smoke_test.prove)

    @contextmanager
    def _part(self, *names: str) -> Iterator[None]:
        """Go on where a part cannot be seen."""
        try:
            yield
        except NotFound:
            self._hide(names, "a container went away meanwhile; ask again")
        except (files.Unseen, EngineFailed, ComposeFailed, GitFailed, FilesFailed, BadInput) as error:
            self._hide(names, str(error))
        except OSError as error:
            self._hide(names, f"{error.filename or 'a file'}: {error.strerror or error}")
        except (KeyError, TypeError, ValueError) as error:
            # A record that somebody has written into, or another version of ours.
            self._hide(names, f"what is recorded of it cannot be read ({type(error).__name__}: {error})")

    def _hide(self, names: Sequence[str], why: str) -> None:
        for name in names:
            self.unseen.setdefault(name, why)

    def all(self) -> Seen:
        """Look at everything."""
        seen = self._files(Seen(self.app, os.uname().nodename, time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())))
        current = str(seen.release.get("id") or "")
        source = self.store.path_of(current) if current else ""
        generated = read_json(os.path.join(source, GENERATED)) if current else {}
        project = with_contexts(generated) if MARK in generated else {}
        if project or (not current and has_engine()):
            seen = self._engine(seen, project, source)
        elif current and "drift" in self.parts:
            seen = replace(seen, edits=self._trees(seen, []), rollback_target=self._rollback_target(None))
        if current:
            seen = replace(
                seen, wrong=wrong(self.health_url, self.questions, tries=1, project=self.app if project else "")
            )
        return replace(seen, looked=sorted(self.parts), unseen=dict(self.unseen))

    def _files(self, seen: Seen) -> Seen:
        with self._part("releases"):
            every = files.releases_of(self.store)
            current = self.store.current()
            release = next((r for r in every if r["id"] == current), {})
            seen = replace(seen, releases=every, release=release)
        with self._part("hotfixes"):
            seen = replace(seen, hotfixes=files.hotfixes_of(self.store, self.state_dir))
            seen = replace(seen, tried=tried(self.store, self.state_dir))
        with self._part("lock"):
            holder = files.holder_of(self.state_dir)
            seen = replace(seen, holder=holder, pending_undo=files.pending_undo_of(self.state_dir, holder.lock))
        with self._part("operations"):
            seen = replace(seen, records=files.records_of(self.state_dir))
            seen = replace(seen, aside=summed(recorded(self.state_dir)))
            seen = replace(seen, gap=gap_record.read(self.state_dir))
        with self._part("backups"):
            seen = replace(seen, backups=files.backups_of(self.backups, self.app))
        with self._part("room"):
            disks = files.disks_of(["/", self.store.root, self.backups, "/var/lib/docker"])
            memory = files.memory_of_host()
            seen = replace(seen, disks=disks, memory=memory, cpus=os.cpu_count() or 0, load=os.getloadavg()[0])
        return seen

    def _engine(self, seen: Seen, project: Mapping[str, Any], source: str) -> Seen:
        # What is waited for longest is begun first: what containers use takes a second, and Django boots, of two releases.
        with self._part("services", "leftovers", "way back"), ThreadPoolExecutor(_AT_ONCE) as beside:
            # The engine may hang rather than be away.
            engine = Engine(timeout=60)
            since = os.lstat(self.store.layout.link()).st_mtime if source else 0.0
            view = EngineView(engine, self.app, project, source, self.state_dir, since)
            used = beside.submit(view.use) if "use" in self.parts else None
            asks = "migrations" in self.parts and bool(project) and self.django in project.get("services", {})
            asked = beside.submit(self._asked, source) if asks else None
            with self._part("way back"):
                seen = replace(seen, rollback_target=self._rollback_target(engine))
            back = seen.rollback_target
            there = back.release and not back.missing and not back.archived
            asked_back = beside.submit(self._asked, self.store.path_of(back.release)) if asked and there else None
            seen = self._with_spares(replace(seen, services=view.services(), others=view.others()))
            with self._part("leftovers"):
                seen = replace(seen, leftovers=view.leftovers())
            self.unseen.update(view.unseen)
            with self._part("secrets in images"):
                seen = replace(seen, baked=baked_images(self.store, engine, self.app))
            if "drift" in self.parts:
                with self._part("drift"):
                    lacking: list[str] = []
                    made = made_by_others(project, {s.name for s in seen.services if s.kind == PROXY})
                    edits = [*self._edits(engine, seen.services, lacking, made), *self._trees(seen, view.inspections)]
                    placed = [{**h, "lacking": lacking} if h.get("seal") else h for h in seen.hotfixes]
                    seen = replace(seen, edits=edits, hotfixes=placed)
            if asked:
                seen = self._migrations(seen, asked, asked_back)
            if used:
                seen = replace(seen, services=[_with_use(s, used.result()) for s in seen.services])
        if "services" in self.unseen:
            for part in set(self.parts) & {"drift", "migrations"}:
                self._hide([part], self.unseen["services"])
        return seen

    def _with_spares(self, seen: Seen) -> Seen:
        record = spares.read(self.state_dir)
        there = {c.name: c.state for s in seen.services for c in s.containers}
        names = sorted(there.keys() & set(record.containers.values()))
        # Such that have ended are of no use any more, and nothing starts them again.
        overdue = time.time() > record.until + _OVERDUE or any(there[name] != "running" for name in names)
        return replace(seen, spares=names, spared_until=record.ends, overdue=overdue) if names else seen

    # -- what somebody changed ------------------------------------------------------------------------

    def _edits(
        self, engine: Engine, services: Sequence[Service], lacking: list[str], made: Collection[tuple[str, str]] = ()
    ) -> list[dict[str, Any]]:
        """Hand edits in containers; ``lacking`` gets the names of those that have not what was put into all of their image.

        :param made: see :func:`made_by_others`.
        """
        # What databases and brokers have in their volumes is data.
        data = {s.name for s in services if s.kind in (DATABASE, BROKER)}
        found, known = [], set()
        record = in_force(self.store, self.state_dir)
        with Drifts(engine, self.app) as drifts:
            every = of_no_job(containers_of(engine, self.app), services)
            for inspection, one in zip(every, drifts.of_each(every)):
                if record and not one.unseen:
                    here = record.there(str((inspection.get("Config") or {}).get("Image") or ""), one.differences)
                    lacking += [] if here.all else [one.name]
                    one = replace(one, differences=here.others)
                report = _edit_facts(one.name, "container", one)
                found.append({**report, "service": one.service})
                for volume in drifts.of_volumes(inspection) if one.service not in data else ():
                    # One that several services mount is told once.
                    if volume.name not in known and (one.service, volume.name) not in made:
                        known.add(volume.name)
                        found.append(_edit_facts(f"volume {volume.name}", "volume", volume))
        return [f for f in found if f["differences"] or f["unseen"]]

    def _trees(self, seen: Seen, inspections: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        current = str(seen.release.get("id") or "")
        if not current:
            return []
        trees = []
        with self._part("drift of the release"):
            trees.append(of_release(self.store, current))
        with self._part("drift of mounts"):
            trees += of_mounts(self.store, inspections, Budget())
        return [_edit_facts(one.path, one.what, one) for one in trees if one.differences or one.unseen]

    # -- the way back, and the database ------------------------------------------------------------------

    def _rollback_target(self, engine: Engine | None) -> RollbackTarget:
        """The release to go back to, and what is missing of it."""
        back = choice.rollback_target(self.store.all(), self.store.current())
        if not back:
            return RollbackTarget()
        manifest, tree = self.store.manifest(back), self.store.path_of(back)
        project = read_json(os.path.join(tree, GENERATED))
        missing = [] if engine is None or MARK in project else [f"{os.path.join(tree, GENERATED)} is gone"]
        archived: list[str] = []
        in_archive: Collection[str] | None = None
        for name, service in (project.get("services") or {}).items() if MARK in project else ():
            image = str(service.get("image") or "")
            if engine and image and not engine.image(image):
                in_archive = files.archived_of(tree) if in_archive is None else in_archive
                if image in in_archive:
                    archived.append(f"{name}: the image {image} is in the archive of the release alone")
                else:
                    missing.append(f"{name}: the image {image} is not on this host any more")
            mounted = (str(v.get("source")) for v in service.get("volumes") or [] if v.get("type") == "bind")
            missing += [f"{name}: {path} is gone" for path in mounted if not os.path.lexists(path)]
        revision, version = str(manifest.get("revision") or ""), str(manifest.get("version") or "")
        writing = files.is_being_archived(self.store, self.state_dir, back)
        gone = tuple(dict.fromkeys(missing))
        return RollbackTarget(back, revision, version, gone, archived=tuple(archived), being_archived=writing)

    def _migrations(self, seen: Seen, asked: Future[dict[str, Any]], asked_back: Future[dict[str, Any]] | None) -> Seen:
        """What Django says of the database, of the release that serves and of the one to go back to."""
        with self._part("migrations"):
            report = asked.result()
            kept = {key: report.get(key) for key in ("applied", "pending", "open", "refused", "msg", "django", "notes")}
            seen = replace(seen, migrations=kept)
        if seen.migrations and asked_back:
            with self._part("database of the way back"):
                verdict = str(asked_back.result().get("schema_compatibility") or "")
                seen = replace(seen, rollback_target=replace(seen.rollback_target, verdict=verdict))
        return seen

    def _asked(self, source: str) -> dict[str, Any]:
        asked = migrations_request.Request(
            ProjectOptions(source), LockOptions(), self.django, migrations_request.PLANNED,
            manage_py=self.manage_py, timeout=_PATIENCE,
        )  # fmt: skip
        return migrate(asked, False)
