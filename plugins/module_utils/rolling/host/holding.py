# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gap in which no code of the app runs and no request fails: requests wait, and everything else is stopped or frozen.

Workers end first, while the site still answers: that is the part that takes long. Then new requests wait, those under way end,
and the web containers are frozen. Going back is to let them go on, which starts nothing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ...base.errors import BadInput
from ...base.host import freezer, processes
from ...base.host.side_by_side import all_of
from ...celery.host.nodes import CeleryNodes
from ...engine.host.compose import ComposeFailed
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.inspection import (
    ONE_OFF_LABEL,
    PROJECT_LABEL,
    SERVICE_LABEL,
    addresses_of,
    label_of,
    pid_of,
    stop_signal_of,
)
from ...engine.host.kinds import evidence_of, kinds_of
from ...engine.host.project import compose_of, connect, state_dir_of
from ...engine.host.stop_signal import signal_behind_shell
from ...engine.options import ProjectOptions
from ...engine.programs import PROXY, SCHEDULER, WEB, WORKER
from ...engine.services import BadService, CommonSettings, Probe, Settings, asked_of, settings_of
from ...nginx.host.nginx import NginxFailed
from ...operation.host.journal import Fence, working
from ...operation.host.progress import Progress, ProgressOptions
from ...operation.options import LockOptions
from ...traffic import waiting_room
from ...traffic.host import firewall
from ...traffic.host.firewall import FirewallFailed
from ...traffic.host.probing import ask
from ...traffic.host.proxy_routes import master_of
from ...traffic.host.waiting_rooms import WaitingRooms
from . import gap_record

HELD, RELEASED = "held", "released"
# Seconds: for which requests under way are waited for; after which connections that are still there count as kept open; until a
# container that goes on answers; until whoever waited has its answer.
_PATIENCE, _KEPT, _AWAKE, _EMPTY = 10.0, 1.0, 10.0, 60.0
_POLL = 0.05
_CONNECTIONS = re.compile(r"^\s*worker_connections\s+(\d+)\s*;", re.MULTILINE)
#: Bytes of a page.
_LARGEST = 256 * 1024


@dataclass(frozen=True)
class Request:
    """Whether requests wait.

    :ivar hold_timeout: seconds for which one waits; then it gets the maintenance page.
    :ivar expected: seconds that the gap is going to take, 0 where nobody knows.
    :ivar page: path of the page, relative to the project's folder or absolute; empty for ours.
    :ivar about: what is going to be done in the gap, see :mod:`.gap_record`.
    :ivar health_url: where the site says that it is well; its path is asked of what goes on.
    """

    project: ProjectOptions
    lock: LockOptions
    progress: ProgressOptions = field(default_factory=ProgressOptions)
    state: str = HELD
    service_options: Mapping[str, Any] = field(default_factory=dict)
    hold_timeout: float = 20.0
    expected: float = 0.0
    page: str = ""
    health_url: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)


def hold(request: Request, check_mode: bool) -> dict[str, Any]:
    """Bring requests into the state that is asked for.

    :returns: what the module returns.
    :raises BadInput: they cannot be; requests go where they went before.
    """
    compose = compose_of(request.project)
    engine = connect(compose.project_src, request.lock)
    page = _page(compose.project_src, request.page) if request.state == HELD else ""
    try:
        project = compose.resolved()
    except ComposeFailed as error:
        raise BadInput(
            f"the Compose project in {compose.project_src} is not valid: {error}", "docker compose config shows it"
        ) from error
    name = str(project["name"])
    found = engine.containers({PROJECT_LABEL: name, ONE_OFF_LABEL: "False"})
    evidence = evidence_of(engine, project, compose.project_src, found)
    kinds = kinds_of(engine, project, compose.project_src, request.service_options, evidence)
    try:
        patience = {
            n: settings_of(
                n, project["services"][n], evidence[n], CommonSettings(), request.service_options.get(n) or {}
            )
            for n, kind in kinds.items()
            if kind in (WORKER, SCHEDULER)
        }
    except BadService as error:
        raise BadInput(str(error)) from error
    directory = state_dir_of(request.lock, name)
    gap = Gap(request, engine, name, [i for i in found if pid_of(i)], kinds, patience, page, directory)
    if check_mode:
        return gap.foreseen()
    with working(request.lock, directory, f"requests_hold of {name}") as fence:
        gap.progress = Progress.open(directory, request.progress.progress_id)
        try:
            with _as_bad_input():
                return fence.reported(gap.begin(fence) if request.state == HELD else gap.end(fence))
        finally:
            gap.progress.close()


@contextlib.contextmanager
def _as_bad_input() -> Iterator[None]:
    try:
        yield
    except (EngineFailed, FirewallFailed, NginxFailed, OSError) as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then the same command again") from error


def _page(source: str, path: str) -> str:
    """The text of a page.

    :raises BadInput: it cannot be read, or is no text, or too long.
    """
    if not path:
        return ""
    whole = path if path.startswith("/") else os.path.join(source, path)
    outside = os.path.relpath(os.path.realpath(whole), os.path.realpath(source)).startswith("..")
    if outside and not path.startswith("/"):
        raise BadInput(f"page {path} leads out of the release", "set app_maintenance_page to a path in the repository")
    try:
        with open(whole, encoding="utf-8") as stream:
            text = stream.read(_LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the maintenance page {whole} cannot be read: {error}", "set app_maintenance_page") from error
    if len(text.encode()) > _LARGEST:
        raise BadInput(
            f"the maintenance page {whole} has more than {_LARGEST // 1024} KiB", "put its pictures elsewhere"
        )
    return text


class Gap:
    """The containers of a project when none of its code is to run.

    :param running: inspections of all that run.
    :param kinds: of each service; ``settings`` of workers and schedulers.
    """

    def __init__(
        self,
        request: Request,
        engine: Engine,
        project: str,
        running: Sequence[Mapping[str, Any]],
        kinds: Mapping[str, str],
        settings: Mapping[str, Settings],
        page: str,
        directory: str,
    ) -> None:
        self._request, self._engine, self._page, self._directory = request, engine, page, directory
        self._settings = settings
        self._by_kind = {kind: [i for i in running if kinds.get(label_of(i, SERVICE_LABEL)) == kind] for kind in
                         (WEB, WORKER, SCHEDULER, PROXY)}  # fmt: skip
        self.rooms = WaitingRooms(engine, project)
        self.progress: Progress | None = None
        self._notes: list[str] = []
        self._timeline: list[dict[str, Any]] = []
        self._ports = {str(i["Id"]): _ports_of(i) for i in self.web}
        self.unheld = unheld_of(self.web)

    @property
    def web(self) -> list[Mapping[str, Any]]:
        """The web containers that run."""
        return self._by_kind[WEB]

    @property
    def _holdable(self) -> list[Mapping[str, Any]]:
        return [i for i in self.web if label_of(i, SERVICE_LABEL) not in self.unheld]

    @property
    def _unbroken(self) -> bool:
        """Whether nobody has been answered by any of them since a hold began."""
        return bool(self.web) and all(
            self.rooms.is_full(str(i["Id"])) and freezer.is_frozen(pid_of(i) or 0) for i in self.web
        )

    def foreseen(self) -> dict[str, Any]:
        """What would be done."""
        if self._request.state == RELEASED:
            due = [i for i in self.web if str(i["Id"]) in self.rooms.beside]
            return self._result(bool(due), f"requests to {_names(due)} would be let in" if due else "no request waits")
        text = f"requests to {_names(self._holdable)} would wait, {self._request.hold_timeout:g} s at most"
        return self._result(not self._unbroken, "; ".join([text, *self._unheld_words()]), unbroken=self._unbroken)

    def begin(self, fence: Fence) -> dict[str, Any]:
        """Have requests wait, and stop everything else.

        :raises EngineFailed, FirewallFailed: not all of it could be done; requests are let in again.
        """
        unbroken = self._unbroken
        if self._request.about or not gap_record.read(self._directory):
            with fence.act("remember what is done in the gap"):
                gap_record.add(self._directory, self._request.about)
        workers = [*self._by_kind[SCHEDULER], *self._by_kind[WORKER]]
        if unbroken and not workers:
            return self._result(False, "requests wait already", unbroken=True)
        with fence.act("take away waiting rooms that have ended"):
            self.rooms.sweep()
        missing = [i for i in self._holdable if str(i["Id"]) not in self.rooms.beside]
        if missing:
            with self._step("open waiting rooms", missing), fence.act(f"open waiting rooms beside {_names(missing)}"):
                opened = all_of({str(i["Id"]): partial(self.rooms.open, i, self._told()) for i in missing})
            for inspection in missing:
                try:
                    opened[str(inspection["Id"])].result()
                except EngineFailed as error:
                    # Such as an image without a shell or Python.
                    self.unheld[label_of(inspection, SERVICE_LABEL)] = str(error)
        self._end_workers(fence, workers)
        try:
            self._hold(fence, [str(i["Id"]) for i in missing])
        except BaseException:
            self.end(fence)
            raise
        text = f"requests to {_names(self._holdable)} wait" if self._holdable else "no request can wait"
        return self._result(True, "; ".join([text, *self._unheld_words()]), unbroken=unbroken)

    @functools.cached_property
    def _most(self) -> int:
        """How many requests may wait beside each container, by what the project's nginx can hold."""
        found = []
        for inspection in self._by_kind[PROXY]:
            master = master_of(self._engine, inspection)
            with contextlib.suppress(NginxFailed):
                if master:
                    said = _CONNECTIONS.search(master.dump())
                    found.append((len(master.workers()), int(said[1]) if said else waiting_room.CONNECTIONS))
        return waiting_room.most_of(found, len(self._holdable))

    def _told(self) -> dict[str, Any]:
        """What a room is told when the hold begins now."""
        request = self._request
        return waiting_room.waiting(time.time(), request.hold_timeout, request.expected, self._page, self._most)

    def _end_workers(self, fence: Fence, workers: Sequence[Mapping[str, Any]]) -> None:
        """Have schedulers and workers end by themselves, as long as their tasks need."""
        if not workers:
            return
        nodes = CeleryNodes(self._engine)
        with self._step("stop workers", workers):
            with fence.act(f"have {_names(workers)} fetch nothing more"):
                quiet = all_of({str(i["Id"]): partial(nodes.quiet, i) for i in self._by_kind[WORKER]})
            asked = [i for i in self._by_kind[WORKER] if quiet[str(i["Id"])].result()]
            for inspection in asked:
                until = time.monotonic() + self._settings[label_of(inspection, SERVICE_LABEL)].drain_timeout
                while nodes.tasks(inspection) and time.monotonic() < until:
                    time.sleep(_POLL)
            with fence.act(f"stop {_names(workers)}"):
                for future in all_of({str(i["Id"]): partial(self._stop, i, i in asked) for i in workers}).values():
                    future.result()

    def _stop(self, inspection: Mapping[str, Any], quiet: bool) -> None:
        settings = self._settings[label_of(inspection, SERVICE_LABEL)]
        processes.await_handler(pid_of(inspection) or 0, stop_signal_of(inspection))
        signal_behind_shell(self._engine, inspection)
        self._engine.stop(str(inspection["Id"]), settings.stop_grace_period if quiet else settings.stop_timeout)

    def _hold(self, fence: Fence, fresh: Sequence[str]) -> None:
        """:param fresh: containers beside which a room was opened just now, so that waiting begins now."""
        with self._step("hold requests", self._holdable):
            for inspection in self._holdable:
                identity = str(inspection["Id"])
                with fence.act(f"hold requests to {_name(inspection)}"):
                    if identity in fresh or not self.rooms.is_full(identity):
                        self.rooms.tell(identity, self._told())
                    self.rooms.divert(inspection, sorted(self._ports[identity]))
            self._await_quiet(fence)
        with self._step("freeze", self._holdable):
            for inspection in self._holdable:
                with fence.act(f"freeze {_name(inspection)}"):
                    freezer.freeze(pid_of(inspection) or 0)

    def _await_quiet(self, fence: Fence) -> None:
        """Until no request is under way; a connection that is only kept is ended by its nginx, which is loaded again."""
        began, reloaded = time.monotonic(), False
        while time.monotonic() - began < _PATIENCE:
            left = [i for i in self._holdable if self._connected(i)]
            if not left:
                return
            if not reloaded and time.monotonic() - began >= _KEPT:
                reloaded = True
                self._reload(fence)
            time.sleep(_POLL)
        self._notes.append(
            f"{_names(left)}: requests that were under way for more than {_PATIENCE:g} s are frozen with it, and end afterwards"
        )

    def _connected(self, inspection: Mapping[str, Any]) -> int:
        return processes.connections(pid_of(inspection) or 0, *self._ports[str(inspection["Id"])])

    def _reload(self, fence: Fence) -> None:
        for inspection in self._by_kind[PROXY]:
            master = master_of(self._engine, inspection)
            # What it cannot load any more it goes on with, and its connections are ended with what they lead to.
            with contextlib.suppress(NginxFailed):
                if master:
                    with fence.act(f"reload {_name(inspection)}"):
                        master.reload()

    def end(self, fence: Fence) -> dict[str, Any]:
        """Let the containers go on, and everything that waits in."""
        with fence.act("take away waiting rooms that have ended"):
            self.rooms.sweep()
        due = [i for i in self.web if str(i["Id"]) in self.rooms.beside]
        counts = []
        for inspection in due:
            identity, main = str(inspection["Id"]), pid_of(inspection) or 0
            with self._step("release requests", [inspection]):
                with fence.act(f"let {_name(inspection)} go on"):
                    self.rooms.divert(inspection, sorted(self._ports[identity]), but_this_host=True)
                    freezer.thaw(main)
                self._await_awake(inspection)
                with fence.act(f"let requests to {_name(inspection)} in"):
                    self.rooms.lead(identity, addresses_of(inspection)[:1])
                    counts.append(self.rooms.close(identity, main, _EMPTY))
        with fence.act("forget the gap"):
            gap_record.forget(self._directory)
        said = waiting_room.sentence(waiting_room.summed(counts))
        self._notes += [said] if said else []
        text = f"requests to {_names(due)} are let in" if due else "no request waits"
        return self._result(bool(due), text)

    def _await_awake(self, inspection: Mapping[str, Any]) -> None:
        """Until it answers: a server that was frozen for long may begin with starting its processes anew."""
        ports = sorted(self._ports[str(inspection["Id"])])
        address = (addresses_of(inspection) or [""])[0]
        until = time.monotonic() + _AWAKE
        answers = 0
        while answers < 2 and time.monotonic() < until:
            # Whatever it answers, somebody does.
            answer = ask(address, ports[0], Probe(asked_of(self._request.health_url)), {"Host": "localhost"})
            answers = answers + 1 if answer.status else 0
            time.sleep(_POLL * 4)

    # -- telling --------------------------------------------------------------------------------------

    def _unheld_words(self) -> list[str]:
        return waiting_room.failing(self.unheld)

    @contextlib.contextmanager
    def _step(self, step: str, about: Sequence[Mapping[str, Any]]) -> Iterator[None]:
        began, started = time.time(), time.monotonic()
        entry = {"step": step, "service": ", ".join(sorted({label_of(i, SERVICE_LABEL) for i in about})),
                 "container": "", "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)), "result": "failed"}  # fmt: skip
        try:
            yield
            entry["result"] = "ok"
        finally:
            took = round(time.monotonic() - started, 3)
            self._timeline.append({**entry, "seconds": took})
            if self.progress:
                self.progress.say(f"{step}: {_names(about)}", step, str(entry["service"]), "", took)

    def _result(self, changed: bool, msg: str, unbroken: bool = False) -> dict[str, Any]:
        return {
            "changed": changed,
            "held": sorted({label_of(i, SERVICE_LABEL) for i in self._holdable}),
            "unheld": dict(self.unheld),
            "unbroken": unbroken,
            "about": gap_record.read(self._directory),
            "timeline": self._timeline,
            "notes": self._notes,
            "diff": {},
            "msg": msg,
        }


def unheld_of(web: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Services to which requests cannot wait, and why.

    :param web: inspections of their containers, as far as these run.
    """
    no_rules = firewall.unavailable()
    found = {label_of(i, SERVICE_LABEL): no_rules or _why_not(i, _ports_of(i)) for i in web}
    return {service: why for service, why in found.items() if why}


def _ports_of(inspection: Mapping[str, Any]) -> frozenset[int]:
    return processes.listening_ports(pid_of(inspection) or 0) - {waiting_room.PORT}


def _why_not(inspection: Mapping[str, Any], ports: frozenset[int]) -> str:
    """Why requests to a container cannot wait, empty where they can."""
    mode = str((inspection.get("HostConfig") or {}).get("NetworkMode") or "")
    if mode == "host" or mode.startswith("container:"):
        return f"it has no network of its own (network_mode: {mode})"
    if not ports:
        return "it listens at no TCP port"
    if not freezer.is_able(pid_of(inspection) or 0):
        return "its processes cannot be frozen here (that needs the control group of its container)"
    return ""


def _name(inspection: Mapping[str, Any]) -> str:
    return str(inspection.get("Name") or "").lstrip("/")


def _names(inspections: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(map(_name, inspections)) or "nothing"
