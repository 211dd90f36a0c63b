# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real machine behind a roll: Compose, the engine, nginx and ``/proc``, as ``rolling/host/roller.Machine`` asks for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Callable

from ...base.host import freezer, processes
from ...base.host.files import FilesFailed
from ...base.host.side_by_side import all_of
from ...celery.host.nodes import CeleryNodes
from ...engine.answer import Answer
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.endings import ending_of, gone
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.inspection import (
    HASH_LABEL,
    NUMBER_LABEL,
    ONE_OFF_LABEL,
    PROJECT_LABEL,
    SERVICE_LABEL,
    health_of,
    label_of,
    moment_of,
    networks_of,
    pid_of,
    restarts_of,
    started_at,
    stop_signal_of,
)
from ...engine.host.stop_signal import signal_behind_shell
from ...engine.programs import SCHEDULER, WORKER
from ...engine.services import Probe
from ...nginx.config import request_headers
from ...nginx.host.nginx import HOST, HostNginx, Master, NginxFailed, draining, loaded_at
from ...releases.host.data_mounts import anonymous_data
from ...traffic import waiting_room
from ...traffic.host.firewall import FirewallFailed, divert_none_new
from ...traffic.host.probing import ask
from ...traffic.host.proxy_routes import master_of
from ...traffic.host.steering import Endpoint, Steering
from ...traffic.host.user_answers import UserAnswers
from ...traffic.host.waiting_rooms import WaitingRooms
from ...traffic.unused_addresses import unused_in
from ..stack import Container, Proxy, is_crashing
from ..steps import Start
from . import spares
from .creating import create, refuse_others
from .politeness import Politeness
from .proof import Proof, as_users
from .restart_policy import RestartPolicies, is_unkept
from .roller import Seen, StepFailed
from .spares import Spares
from .starting import start
from .targets import Target
from .usual_answers import UsualAnswers

#: The answer of one that cannot be asked whether it is ready.
_SILENT = Answer(True, "runs")


class ComposeMachine:
    """See the module's text; every method may raise :class:`StepFailed` with a message for the user.

    :param proxy_name: Compose service of nginx, empty when no proxy takes part.
    :param project: the resolved project, for what is created with other ports.
    :param state_dir: where it is on record which containers were left running for a way back.
    :param keep_old: for how many seconds they are.
    :param left_alone: ids of containers that it does not see.
    """

    def __init__(
        self,
        compose: Compose,
        engine: Engine,
        project_name: str,
        targets: Sequence[Target],
        proxy_name: str = "",
        project: Mapping[str, Any] | None = None,
        state_dir: str = "",
        keep_old: float = 0.0,
        left_alone: Collection[str] = (),
    ) -> None:
        self.compose = compose
        self.engine = engine
        self.project_name = project_name
        self.targets = {t.settings.name: t for t in targets}
        self.proxy_name = proxy_name
        self.project = project or {}
        self._inspections: dict[str, dict[str, Any]] = {}
        self._nginx: Master | None = None
        self._kills: dict[str, int] = {}
        # Whom users may have left: those that were there before this began, and those that it has seen them led to.
        self._met: set[str] = set()
        self._usual = UsualAnswers(self._ask)
        self._proof = Proof(self._ask, self._usual)
        self._nodes = CeleryNodes(engine)
        self._policies = RestartPolicies(engine)
        self._rooms: WaitingRooms | None = None
        self._politeness = Politeness()
        # Of those that were frozen for a gap: who goes on, and whom of these users reach.
        self._awake: set[str] = set()
        self._admitted: set[str] = set()
        self._state_dir = state_dir
        self._keep_old = keep_old
        self._left_alone = frozenset(left_alone)
        self._spares = spares.read(state_dir) if state_dir else Spares()
        #: What users were answered, of each service of which a new container is tried.
        self.answers: dict[str, UserAnswers | None] = {}
        #: What became of the requests that waited, of each room that was closed.
        self.waited: list[Mapping[str, Any]] = []

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    @property
    def rooms(self) -> WaitingRooms:
        """Where requests wait, of an operation that has a gap; nobody else opens one while this one works."""
        self._rooms = self._rooms or WaitingRooms(self.engine, self.project_name)
        return self._rooms

    # -- looking --------------------------------------------------------------------------------------

    def look(self) -> Seen:
        try:
            labels = {PROJECT_LABEL: self.project_name, ONE_OFF_LABEL: "False"}
            every = self.engine.containers(labels, {*self.targets, self.proxy_name})
            found = [i for i in every if i["Id"] not in self._left_alone]
            self._met = self._met or {str(i["Id"]) for i in found}
            self._inspections = {i["Id"]: i for i in found}
            self._politeness.look(self._inspections)
            self._nginx, workers = self._find_nginx(found)
            return self._seen(found, workers)
        except (EngineFailed, NginxFailed, FirewallFailed) as error:
            raise StepFailed(str(error)) from error

    def _find_nginx(self, found: Sequence[Mapping[str, Any]]) -> tuple[Master | None, list[processes.Process]]:
        if self.proxy_name == HOST:
            nginx = HostNginx()
            return nginx, nginx.workers()
        if self.proxy_name and self.proxy_name not in (self.project.get("services") or {}):
            own = self.engine.inspect(self.proxy_name)
            other = master_of(self.engine, own) if own and pid_of(own) else None
            if other:
                return other, other.workers()
        for inspection in found:
            if self.proxy_name and label_of(inspection, SERVICE_LABEL) == self.proxy_name and pid_of(inspection):
                master = master_of(self.engine, inspection)
                if master:
                    return master, master.workers()
        if self.proxy_name:
            # It ran when this began. Going on without it would take away containers it may come back to.
            raise NginxFailed(gone(self.proxy_name, found))
        return None, []

    def _seen(self, found: Sequence[Mapping[str, Any]], workers: Sequence[processes.Process]) -> Seen:
        nginx, loaded = self._nginx, loaded_at(workers)
        mine = [(i, self.targets[s]) for i in found if (s := label_of(i, SERVICE_LABEL)) in self.targets]
        leads = {
            name: t.steering.look(nginx or Master(), self._endpoints(name), loaded)
            for name, t in self.targets.items()
            if t.steering and t.route and (nginx or t.door)
        }
        containers = []
        for inspection, target in mine:
            lead = leads.get(target.settings.name)
            container = self._container(inspection, target)
            # Whom an nginx that cannot be steered leads to is left as it is.
            inside = container.id in lead.inside if lead else target.unsteered and container.running
            container = replace(container, in_rotation=inside)
            if container.id in self._met and not (lead and inside):
                container = replace(container, connections=self._connections(inspection, target))
            self._met |= {container.id} if inside else set()
            containers.append(container)
        restarts = {str(i["Id"]): self._restarts(i) for i, _target in mine}
        endings = {str(i["Id"]): self._ending(i, target) for i, target in mine}
        held, stale, cooling = (
            tuple(sorted(n for n, lead in leads.items() if getattr(lead, what)))
            for what in ("held", "stale", "cooling")
        )
        led = nginx is not None or any(t.door for t in self.targets.values())
        proxy = Proxy(led, held, stale, cooling, draining(workers))
        return Seen(tuple(containers), proxy, restarts, endings)

    def _endpoints(self, service: str) -> list[Endpoint]:
        """The running containers of a service."""
        alive = [
            i
            for i in self._inspections.values()
            if label_of(i, SERVICE_LABEL) == service and pid_of(i) and self._address(i)
        ]
        return [Endpoint(str(i["Id"]), self._address(i), pid_of(i) or 0, started_at(i), i) for i in alive]

    def _container(self, inspection: Mapping[str, Any], target: Target) -> Container:
        pid = pid_of(inspection)
        state = str((inspection.get("State") or {}).get("Status") or "dead")
        age, restarts = time.time() - started_at(inspection), restarts_of(inspection)
        spare = self._spares.state_of(str(inspection["Id"]), target.settings.name, target.config_hash, target.image)
        return Container(
            id=str(inspection["Id"]),
            name=str(inspection["Name"]).lstrip("/"),
            service=target.settings.name,
            image=str(inspection["Image"]),
            config_hash=label_of(inspection, HASH_LABEL),
            state=state,
            number=int(label_of(inspection, NUMBER_LABEL) or 0),
            created=moment_of(inspection.get("Created")),
            idle=self._politeness.idle(inspection),
            age=age,
            crashes=is_crashing(
                state, restarts, age, target.settings.ready_timeout, health_of(inspection) == "healthy"
            ),
            consumes=self._nodes.consumes(inspection) if pid and target.settings.kind == WORKER else None,
            address=self._address(inspection),
            unkept=(bool(spare) or _is_new(inspection, target)) and is_unkept(inspection, self._definition(target)),
            spare=spare,
        )

    def _connections(self, inspection: Mapping[str, Any], target: Target) -> int:
        pid = pid_of(inspection)
        if not pid:
            return 0
        waiting = self.rooms.connections(str(inspection["Id"]), pid)
        return waiting + target.connections(self._nginx.pid if self._nginx else pid, pid)

    def _restarts(self, inspection: Mapping[str, Any]) -> int:
        # A process killed for its memory is a restart too, although its container's master only forked another.
        pid = pid_of(inspection)
        key = str(inspection["Id"])
        if pid:
            self._kills[key] = max(self._kills.get(key, 0), processes.kills_for_memory(pid))
        return restarts_of(inspection) + self._kills.get(key, 0)

    def _ending(self, inspection: Mapping[str, Any], target: Target) -> str:
        return ending_of(inspection, target.settings.limit, bool(self._kills.get(str(inspection["Id"]))))

    # -- acting ---------------------------------------------------------------------------------------

    def start(self, step: Start) -> None:
        try:
            fresh = self._created(step) if step.create else []
            self._each([*step.restart, *fresh], self._start_one, "could not be started")
        finally:
            for service, _addresses in step.hold:
                self._steer(service, lambda strategy, nginx: strategy.started(nginx))

    def _created(self, step: Start) -> list[str]:
        before = set(self._inspections)
        try:
            create(self.compose, self.engine, self.project_name, self.project, self.targets, step)
        except (ComposeFailed, EngineFailed) as error:
            raise StepFailed(f"{', '.join(dict(step.create))} could not be created: {error}") from error
        self.look()
        fresh = {k: i for k, i in self._inspections.items() if k not in before}
        mine = {k: s for k, i in fresh.items() if (s := label_of(i, SERVICE_LABEL)) in self.targets}
        refuse_others([(fresh[k], self.targets[s]) for k, s in mine.items()], step)
        unkept = [k for k, service in mine.items() if service in step.unkept]
        self._each(unkept, lambda i: self._policies.distrust(self._inspections[i]), "was refused its restart policy")
        # Others serve beside these; and nobody waits for a scheduler, though its old one has ended.
        schedulers = [k for k, service in mine.items() if self.targets[service].settings.kind == SCHEDULER]
        self._politeness.expect(self._timeouts([*unkept, *schedulers]))
        return list(mine)

    def keep(self, ids: Sequence[str]) -> None:
        self._each(ids, self._keep_one, "was refused its restart policy")
        # What comes back after a reboot serves. This run goes on to know that it was found good.
        self._spare_no_more(ids)

    def spare(self, ids: Sequence[str]) -> None:
        # After a reboot both would be led to, so nothing starts these again.
        self._each(ids, lambda i: self._policies.distrust(self._inspections[i]), "was refused its restart policy")
        names = {i: str(self._inspections[i]["Name"]).lstrip("/") for i in ids}
        services = {label_of(self._inspections[i], SERVICE_LABEL) for i in ids}
        beside = {s: (self.targets[s].config_hash, self.targets[s].image) for s in services}
        self._spares = Spares(names, beside, time.time() + self._keep_old)
        try:
            spares.write(self._state_dir, self._spares)
        except (OSError, FilesFailed) as error:
            raise StepFailed(f"which containers go on running cannot be written down: {error}") from error

    def _spare_no_more(self, ids: Sequence[str]) -> None:
        try:
            if not self._spares.containers.keys().isdisjoint(ids):
                spares.drop(self._state_dir, ids)
        except (OSError, FilesFailed) as error:
            raise StepFailed(f"which containers go on running cannot be written down: {error}") from error

    def _keep_one(self, container_id: str) -> None:
        inspection = self._inspections[container_id]
        definition = self._definition(self.targets[label_of(inspection, SERVICE_LABEL)])
        self._policies.trust(inspection, definition)
        self._politeness.serve([inspection])

    def _start_one(self, container_id: str) -> None:
        service = label_of(self._inspections[container_id], SERVICE_LABEL)
        strategy = self.targets[service].steering
        with self._politeness.starting(self._inspections[container_id], self._inspections.values()):
            addresses = start(self.engine, container_id, strategy.gate if strategy else "")
        self._policies.as_before(container_id)
        fresh = self.engine.inspect(container_id)
        self._politeness.started(fresh)
        if strategy and self._nginx:
            # Its name leads to it from now on; until its process listens, nobody can reach it.
            self._inspections[container_id] = fresh
            endpoints = [b for b in self._endpoints(service) if b.id == container_id]
            # One that has ended at once: nginx may have been told of its address, at which requests would hang.
            ended = [] if endpoints else addresses
            self._steer(service, lambda _strategy, nginx: strategy.isolate(nginx, endpoints, ended))

    def ready(self, ids: Sequence[str]) -> dict[str, Answer]:
        for container_id in [i for i in ids if i in self.rooms.beside and i not in self._awake]:
            self._wake(container_id)
        found = self._ask_each(ids, self._is_ready)
        # One that says nothing of itself boots on.
        booted = {i for i, answer in found.items() if answer.ok and answer != _SILENT}
        self._politeness.expect(self._timeouts(found))
        self._politeness.booted(booted)
        # Users come to others by themselves.
        self._politeness.serve(self._inspections[i] for i in booted if not self._is_led(i))
        return found

    def _is_led(self, container_id: str) -> bool:
        """Whether users come to a container only once they are led to it."""
        target = self.targets[label_of(self._inspections[container_id], SERVICE_LABEL)]
        return bool(target.steering and target.route and (self._nginx or target.door))

    def _timeouts(self, ids: Collection[str]) -> dict[str, float]:
        """In how many seconds each has to get ready."""
        services = {i: label_of(self._inspections[i], SERVICE_LABEL) for i in ids}
        return {i: self.targets[service].settings.ready_timeout for i, service in services.items()}

    def end_politeness(self) -> None:
        """Let each container have as much of the processors as its definition says."""
        self._politeness.serve(self._inspections.values())

    def _wake(self, container_id: str) -> None:
        """Let one go on that was frozen for a gap and is to serve again; users wait until whoever began the gap lets them in."""
        inspection = self._inspections[container_id]
        pid = pid_of(inspection) or 0
        try:
            ports = sorted(processes.listening_ports(pid) - {waiting_room.PORT})
            self.rooms.divert(inspection, ports, but_this_host=True)
            freezer.thaw(pid)
        except (FirewallFailed, OSError) as error:
            raise StepFailed(f"{inspection['Name']} could not be woken: {error}") from error
        self._awake.add(container_id)

    def _is_ready(self, inspection: Mapping[str, Any], target: Target) -> Answer:
        settings = target.settings
        # Between two restarts a container has no address, and an empty one would mean this host.
        if not self._address(inspection) or not (inspection.get("State") or {}).get("Running"):
            return Answer(False, self._ending(inspection, target))
        if settings.ready_path:
            return self._ask(inspection, target, Probe(settings.ready_path), any_success=True)
        if settings.ready_command:
            code, output = self.engine.run_inside(
                str(inspection["Id"]), settings.ready_command, timeout=settings.ready_command_timeout
            )
            said = (output.strip().splitlines() or ["it printed nothing"])[-1][:200]
            if code != 0:
                return Answer(False, f"its health command ended with {code}: {said}")
        elif settings.kind == WORKER and self._nodes.node(inspection):
            return self._nodes.ping(inspection)
        if target.route and (settings.ready_port or target.folder):
            return self._usual.of(inspection, target, self._old(target), healthy=bool(settings.ready_command))
        return _SILENT

    def prove(self, ids: Sequence[str], proxied: bool) -> dict[str, Answer]:
        unmet = [] if proxied else [i for i in ids if i in self._inspections and self._is_led(i)]
        result = self._ask_each(ids, partial(self._is_proven, unmet))
        if proxied:
            asked = {self.targets[label_of(self._inspections[i], SERVICE_LABEL)] for i in ids if i in self._inspections}
            for target in asked:
                # Where the proxy leads to what was woken already, nothing joins.
                self._let_in(target.settings.name)
                result[f"proxy of {target.settings.name}"] = as_users(target, self._nginx, self._proxy_networks())
        return result

    def _is_proven(self, unmet: Sequence[str], inspection: Mapping[str, Any], target: Target) -> Answer:
        if not self._address(inspection) or not (inspection.get("State") or {}).get("Running"):
            return Answer(False, self._ending(inspection, target))
        together = len(unmet) if inspection["Id"] in unmet else 0
        return self._proof.of(inspection, target, self._old(target), together)

    def answered(self, ids: Sequence[str]) -> dict[str, Answer]:
        found = {}
        for name in sorted({label_of(self._inspections[i], SERVICE_LABEL) for i in ids if i in self._inspections}):
            answers = self._answers_of(name, ids)
            problem = answers.look() if answers else ""
            found[f"users of {name}"] = Answer(not problem, f"{name}: {problem}")
        return found

    def _answers_of(self, service: str, ids: Sequence[str]) -> UserAnswers | None:
        nginx = self._nginx
        if service not in self.answers and nginx is not None and nginx.pid:
            addresses = {e.address for e in self._endpoints(service) if e.id in ids}
            self.answers[service] = None
            # Without a log that we can read, our own questions say what the new one is worth.
            with contextlib.suppress(NginxFailed):
                self.answers[service] = UserAnswers(self.engine, nginx, addresses)
        return self.answers.get(service)

    def tasks(self, ids: Sequence[str]) -> dict[str, int | None]:
        found = all_of({i: partial(self._nodes.tasks, self._inspections[i]) for i in ids if i in self._inspections})
        return {i: future.result() for i, future in found.items()}

    def quiesce(self, ids: Sequence[str]) -> list[str]:
        report = all_of({i: partial(self._nodes.quiet, self._inspections[i]) for i in ids if i in self._inspections})
        return [i for i, future in report.items() if not future.result()]

    def resume(self, ids: Sequence[str]) -> None:
        self._each(ids, self._resume_one, "could not be made to fetch tasks again")

    def _resume_one(self, container_id: str) -> None:
        inspection = self._inspections[container_id]
        if not self._nodes.resume(inspection):
            # Started anew it fetches from all its queues; its running tasks have as long as they need.
            settings = self.targets[label_of(inspection, SERVICE_LABEL)].settings
            signal_behind_shell(self.engine, inspection)
            self.engine.stop(container_id, max(settings.stop_timeout, settings.drain_timeout))
            self.engine.start(container_id)

    def hold(self, service: str, addresses: Sequence[str]) -> None:
        self._steer(service, lambda strategy, nginx: strategy.hold(nginx, addresses, partial(self._unused, nginx)))

    def rotate(self, service: str, addresses: Sequence[str]) -> None:
        endpoints = self._endpoints(service)
        self._politeness.serve(e.inspection for e in endpoints if e.address in addresses)
        self._steer(service, lambda strategy, nginx: strategy.rotate(nginx, endpoints, addresses))
        self._lead_waiting(service, addresses)

    def _lead_waiting(self, service: str, addresses: Sequence[str]) -> None:
        """Pass on who waits for the end of a gap, once others than those that were frozen for it are led to."""
        waiting = [e for e in self._endpoints(service) if e.id in self.rooms.beside]
        # Gone back to: whoever began the gap lets them in, once the database is theirs again.
        held = any(e.address in addresses and e.id not in self._awake for e in waiting)
        try:
            for endpoint in waiting:
                if held:
                    self.rooms.hold_again(endpoint.id)
                elif endpoint.address not in addresses:
                    self.rooms.lead(endpoint.id, addresses)
                    # What was under way in it may end.
                    freezer.thaw(endpoint.pid)
        except (EngineFailed, OSError) as error:
            raise StepFailed(f"{service}: requests that wait could not be passed on: {error}") from error
        self._let_in(service)

    def _let_in(self, service: str) -> None:
        """Let users reach those that were woken, past their rooms: one that is full has but the page for who comes now."""
        try:
            for endpoint in (e for e in self._endpoints(service) if e.id in self._awake - self._admitted):
                self.rooms.lead(endpoint.id, [endpoint.address])
                divert_none_new(endpoint.pid)
                self._admitted.add(endpoint.id)
        except (EngineFailed, FirewallFailed) as error:
            raise StepFailed(f"{service}: users could not be let in again: {error}") from error

    def await_dns(self, service: str) -> None:
        self._steer(service, lambda strategy, nginx: strategy.await_dns(nginx, self._endpoints(service)))

    def unpin(self, service: str) -> None:
        self._steer(service, lambda strategy, nginx: strategy.unpin(nginx, self._endpoints(service)))

    def _unused(self, nginx: Master) -> list[str]:
        """Addresses that a container may get which starts now, where nginx can reach it."""
        return [found for name in nginx.networks for found in unused_in(self.engine.network(name))]

    def _steer(self, service: str, act: Callable[[Steering, Master], None]) -> None:
        strategy = self.targets[service].steering
        if strategy is None or not (self._nginx or self.targets[service].door):
            raise StepFailed(f"{service}: {self.proxy_name} cannot be led to its containers")
        try:
            act(strategy, self._nginx or Master())
        except (NginxFailed, FirewallFailed, EngineFailed) as error:
            raise StepFailed(str(error)) from error

    def stop(self, ids: Sequence[str], idle: Collection[str] = ()) -> None:
        self._each(ids, partial(self._stop_one, idle), "could not be stopped")

    def _stop_one(self, idle: Collection[str], container_id: str) -> None:
        inspection = self._inspections[container_id]
        target = self.targets[label_of(inspection, SERVICE_LABEL)]
        settings, pid = target.settings, pid_of(inspection)
        self._empty_room(inspection, target)
        # A worker that was told to be quiet had its time already.
        quiet = settings.kind == WORKER and pid and self._nodes.consumes(inspection) is False
        processes.await_handler(pid or 0, stop_signal_of(inspection))
        signal_behind_shell(self.engine, inspection)
        self._policies.stay_down(inspection)
        timeout = settings.stop_grace_period if quiet else settings.stop_timeout
        with self._politeness.ending(inspection, timeout) if container_id in idle else contextlib.nullcontext():
            self.engine.stop(container_id, timeout)

    def _empty_room(self, inspection: Mapping[str, Any], target: Target) -> None:
        """Pass on who still waits beside a container that ends: of a service that no proxy leads to nobody has done so yet."""
        identity = str(inspection["Id"])
        if identity not in self.rooms.beside:
            return
        frozen = self.rooms.beside.keys() - self._awake | {identity}
        others = [e.address for e in self._endpoints(target.settings.name) if e.id not in frozen]
        if others and self.rooms.is_full(identity):
            self.rooms.lead(identity, others)
        counts = self.rooms.close(identity, pid_of(inspection) or 0, target.settings.drain_timeout if others else 0.0)
        self.waited.append(counts)
        freezer.thaw(pid_of(inspection) or 0)

    def remove(self, ids: Sequence[str]) -> None:
        self._each(ids, self._remove_one, "could not be removed")
        self._spare_no_more(ids)

    def _remove_one(self, container_id: str) -> None:
        # Of a service that the project no longer has, data may be wanted yet; Compose leaves it too.
        self.engine.remove(container_id, volumes=not anonymous_data(self._inspections.get(container_id, {})))

    def memory_used(self, service: str) -> int:
        """Bytes that the largest running container of a service holds, 0 when none runs."""
        pids = [pid_of(i) for i in self._inspections.values() if label_of(i, SERVICE_LABEL) == service]
        return max((processes.memory_used(pid) or 0 for pid in pids if pid), default=0)

    def inspection(self, container_id: str) -> Mapping[str, Any]:
        """What was seen of a container at the last look."""
        return self._inspections.get(container_id, {})

    def _definition(self, target: Target) -> Mapping[str, Any]:
        found: Mapping[str, Any] = (self.project.get("services") or {}).get(target.settings.name) or {}
        return found

    def _address(self, inspection: Mapping[str, Any]) -> str:
        shared = self._proxy_networks()
        networks = networks_of(inspection)
        return ([networks[n] for n in sorted(shared) if n in networks] or sorted(networks.values()) or [""])[0]

    def _proxy_networks(self) -> dict[str, str]:
        """The networks that nginx is in; this host is in all."""
        return dict(self._nginx.by_network) if self._nginx else {}

    def _old(self, target: Target) -> list[dict[str, Any]]:
        """Those of another version that run."""
        mine = [
            i for i in self._inspections.values() if label_of(i, SERVICE_LABEL) == target.settings.name and pid_of(i)
        ]
        return [i for i in mine if not _is_new(i, target)]

    def _ask(self, inspection: Mapping[str, Any], target: Target, probe: Probe, any_success: bool = False) -> Answer:
        """Ask a container what nginx would ask it."""
        route, address = target.route, target.address(pid_of(inspection) or 0, self._address(inspection))
        if not address:
            return Answer(False, "nobody in it listens at its socket yet")
        headers = request_headers(route) if route else {"Host": "localhost"}
        uwsgi = route is not None and route.how == "uwsgi_pass"
        # Before what nginx passes on to, nginx has ended TLS; what users knock at themselves, does so.
        tls_name = headers["Host"] if target.door and route and route.tls else ""
        port = target.settings.ready_port
        return ask(address, port, probe, headers, tls_name=tls_name, any_success=any_success, uwsgi=uwsgi)

    def _ask_each(
        self, ids: Sequence[str], ask_one: Callable[[Mapping[str, Any], Target], Answer]
    ) -> dict[str, Answer]:
        known = {i: self._inspections[i] for i in ids if i in self._inspections}
        asked = all_of(
            {i: partial(ask_one, found, self.targets[label_of(found, SERVICE_LABEL)]) for i, found in known.items()},
        )
        return {i: future.result() for i, future in asked.items()}

    def _each(self, ids: Sequence[str], act: Callable[[str], None], complaint: str) -> None:
        for container_id, future in all_of({i: partial(act, i) for i in ids}).items():
            try:
                future.result()
            except EngineFailed as error:
                name = str(self._inspections.get(container_id, {}).get("Name") or container_id[:12]).lstrip("/")
                raise StepFailed(f"{name} {complaint}: {error}") from error


def _is_new(inspection: Mapping[str, Any], target: Target) -> bool:
    """Whether a container is of the wanted version, be it a surge container."""
    known = (label_of(inspection, HASH_LABEL), str(inspection["Image"]))
    return known in [(wanted, target.image) for wanted in (target.config_hash, target.surge)]
