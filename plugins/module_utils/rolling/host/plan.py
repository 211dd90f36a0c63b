# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything a roll has to know before it starts, found out without touching anything."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...base.errors import BadInput
from ...base.host import processes
from ...base.secret_values import MARK
from ...celery.command_line import fetches_tasks
from ...engine import preflight
from ...engine.dependencies import in_order, needed_by
from ...engine.host.compose import Compose
from ...engine.host.configurations import keys_that_differ, makes_the_same
from ...engine.host.engine import Engine
from ...engine.host.inspection import SERVICE_LABEL, label_of, pid_of
from ...engine.host.project import compose_of, image_name, state_dir_of
from ...engine.jobs import is_off
from ...engine.kinds import Evidence, judge
from ...engine.options import ProjectOptions
from ...engine.programs import DATABASE, OTHER, PROXY, SCHEDULER, WEB
from ...engine.services import (
    ROLLED_KINDS,
    STOP_FIRST,
    BadService,
    CommonSettings,
    chosen_kind,
    longest_gap_note,
    replicas_of,
    settings_of,
    words_in,
)
from ...nginx.config import Route, named
from ...operation.host.progress import ProgressOptions
from ...operation.options import LockOptions
from ...releases.adopted import ADOPTED
from ...releases.host import adopted
from ...traffic.host.port_handover import is_reached_by_six
from ...traffic.host.proxy_routes import Proxied, proxy_of, routes_to
from ...traffic.host.strategies import Front, way_to
from ...traffic.port_rules import beside
from ...traffic.unroutable import Around, leading_perhaps, why_unled
from .. import published_ports
from ..rest_of_stack import (
    Present,
    Rest,
    changed_networks,
    gap_of,
    left_behind,
    moved_data,
    notes_on,
    other_major,
    rest_of,
)
from ..scalability import alone, objections
from ..stack import Policy, Stack, view_of
from . import chosen_strategy, gap_record, generations
from .chosen_strategy import BLUE_GREEN, CANARY, ROLLING
from .doors import main_door, obstacle, route_by, with_ports
from .holding import unheld_of
from .machine import ComposeMachine
from .project_look import ProjectLook, look_at
from .rest_of_stack import files_of, present_of, removed_targets
from .targets import Target, main_route

# Seconds.
_PROOF_IN_A_GAP = 2.0


@dataclass(frozen=True)
class Request:
    """Which services are replaced, and how.

    :ivar services: these alone; all that can be rolled where none is named.
    :ivar only: ``workers`` are those of them that fetch tasks, ``others`` all but these; ``proxies`` the nginx whose ports
        can be handed over, which no other call replaces.
    :ivar leave_workers: whether workers are left as they are, outdated or not.
    :ivar backward: whether it goes back to an older version, which turns the order of services round.
    :ivar log_lines: how many lines of what new containers write are told.
    :ivar proxy_service: the nginx that is led; the one that leads to most services where none is named.
    :ivar proxy_mode: ``none`` leads no nginx, ``pin`` leads it by pins alone.
    :ivar generation: a name of this wish to have all containers new, those as wanted too; its first call says since when.
    :ivar images: service → ids of images that its name is to mean again, before anything is compared.
    :ivar strategy: how what users reach is changed over: see :mod:`.chosen_strategy`.
    :ivar canary_time: for how many seconds one new container is tried by users; ``canary_share``: by how many in a hundred
        requests, 0 for as many as each of the others.
    :ivar keep_old: for how many seconds old containers go on running for a quick way back.
    :ivar spares: ids of containers that were left running: where others are by now, nothing is done.
    """

    project: ProjectOptions
    lock: LockOptions
    progress: ProgressOptions = field(default_factory=ProgressOptions)
    common: CommonSettings = field(default_factory=CommonSettings)
    services: tuple[str, ...] = ()
    service_options: Mapping[str, Any] = field(default_factory=dict)
    only: str = ""
    leave_workers: bool = False
    backward: bool = False
    log_lines: int = 0
    proxy_service: str = ""
    proxy_mode: str = "auto"
    generation: str = ""
    images: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    allow_downtime: bool = False
    remove_orphans: bool = False
    strategy: str = ROLLING
    canary_time: float = 300.0
    canary_share: int = 0
    keep_old: float = 900.0
    spares: frozenset[str] = frozenset()


@dataclass
class Call:
    """Everything one call has found out before it starts.

    ``problems`` are why a service cannot change hands here: they matter only where it has to. ``memory`` has the bytes that
    are ``needed`` beside what runs, and those that are ``available``. ``gap`` is what an open gap is about. ``rest`` is what is to be
    done about those that this does not replace, ``settled`` the services of which a container has the wanted definition,
    ``unheld`` of a plan those to which requests could not wait, and why.
    """

    compose: Compose
    engine: Engine
    project: dict[str, Any]
    hashes: dict[str, str]
    targets: list[Target]
    proxy_name: str
    state_dir: str
    allow_downtime: bool
    together: bool = True
    newer_than: float = 0.0
    kinds: dict[str, str] = field(default_factory=dict)
    strategies: dict[str, str] = field(default_factory=dict)
    around: Around = field(default_factory=Around)
    problems: dict[str, BadInput] = field(default_factory=dict)
    rest: Rest = field(default_factory=Rest)
    settled: tuple[str, ...] = ()
    left: frozenset[str] = frozenset()
    backward: bool = False
    gap: Mapping[str, Any] = field(default_factory=dict)
    log_lines: int = 0
    notes: list[str] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    strategy: str = ROLLING
    unheld: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.project["name"])

    def policy(self) -> Policy:
        action = "pause" if any(t.settings.failure_action == "pause" for t in self.targets) else "rollback"
        return Policy(
            tuple(t.wanted for t in self.targets),
            action,
            self.together,
            self.left,
            self.backward,
            bool(self.gap),
            self.strategy == BLUE_GREEN,
        )


def prepare(request: Request, planning: bool = False, look: ProjectLook | None = None) -> Call:
    """Find out all that a roll needs, touching nothing.

    :param planning: nothing is to be done yet: nginx may still lead to what is to be removed.
    :param look: what was seen of the project a moment ago; it is looked at where nothing is given.
    :raises BadInput: anything that would make the roll fail or lose a request.
    """
    chosen_strategy.refuse_values(request.strategy, request.canary_share, request.keep_old)
    look = look or look_at(compose_of(request.project), request.lock)
    engine, project, found, evidence = look.engine, look.project, look.found, look.evidence
    services = project.get("services") or {}
    images = {n: engine.image(image_name(project, n)) for n in services}
    asked, options, common = list(request.services), request.service_options, request.common
    canary = [common.canary_service] if common.canary and common.canary_service else []
    for name in [*asked, *options, *canary]:
        if name not in services:
            raise BadInput(f"there is no service {name} in the project; it has {', '.join(sorted(services))}")
    present = [present_of(i) for i in found]
    try:
        proxied = Proxied()
        if request.proxy_mode != "none":
            proxied = proxy_of(engine, project, found, evidence, options, request.proxy_service)
        every, listeners = proxied.routes, proxied.listeners
        strategies = {n: routes_to(look.name, n, s, every, listeners) for n, s in services.items()}
        looks = {n: chosen_kind(n, s, evidence[n], options.get(n) or {}) for n, s in services.items()}
        strategies.update(
            dict.fromkeys(leading_perhaps(looks, {n for n in strategies if strategies[n]}, proxied.down), ())
        )
        kinds = {
            n: chosen_kind(n, s, evidence[n], options.get(n) or {}, len(strategies[n])) for n, s in services.items()
        }
    except BadService as error:
        raise BadInput(str(error)) from error
    names = asked or [n for n, s in services.items() if kinds[n] in ROLLED_KINDS and not is_off(s)]
    obstacles = {
        n: obstacle(n, s, images[n].get("Config") or {})
        for n, s in services.items()
        if kinds[n] == PROXY and not is_off(s) and judge(s, evidence[n]).front
    }
    if request.only == "proxies":
        names = asked = [n for n, why in obstacles.items() if not why]
        # Those in front are what is replaced: nobody else leads to them.
        proxied = replace(proxied, name="")
    runs = {n for n in names if fetches_tasks(kinds[n], words_in(services[n], evidence[n].image))}
    if request.only in ("workers", "others"):
        names = [n for n in names if (n in runs) == (request.only == "workers")]
    call = Call(
        look.compose,
        engine,
        project,
        look.hashes(),
        [],
        proxied.name,
        state_dir_of(request.lock, look.name),
        request.allow_downtime,
        kinds=kinds,
        left=frozenset(runs if request.leave_workers else ()),
        backward=request.backward,
    )
    if planning:
        call.unheld = unheld_of([i for i in found if pid_of(i) and kinds.get(label_of(i, SERVICE_LABEL)) == WEB])
    call.gap = gap_record.read(call.state_dir)
    # The old code could not serve on what was changed in a gap, and what is gone back to was found good.
    call.strategy = ROLLING if call.gap or request.backward else request.strategy
    call.around = proxied.around(look.name)
    call.log_lines = request.log_lines
    call.newer_than = generations.moment_of(call.state_dir, request.generation)
    try:
        ordered = in_order(names, kinds)
        running = {p.service for p in present if p.running}
        call.targets = [
            _target(n, call, images[n], evidence[n], request, strategies[n], n in running, proxied.routes)
            for n in ordered
        ]
        for container in (p for p in present if p.service in ordered and p.anonymous):
            # Over all else that speaks against it: no order of steps and no allowed gap keeps this data.
            call.problems[container.service] = BadInput(left_behind(container, min(container.anonymous)))
        for name in (n for n in ordered if n in proxied.beside and strategies[n]):
            call.problems[name] = BadInput(
                f"{name}: both {proxied.name} and {proxied.beside[name]} lead to it, and only one nginx is led from the old "
                f"containers to the new ones: the other would go on to those that are gone",
                f"let {proxied.beside[name]} lead to {proxied.name} instead, which leads on to {name}; of an nginx with several "
                f"replicas run one",
            )
        _see_to_the_rest(call, asked, images, present, obstacles)
        _refuse_another_major(call, images, found)
        if request.remove_orphans:
            call.targets = [
                *removed_targets(
                    call.rest.removed,
                    found,
                    lambda n, s: routes_to(call.name, n, s, () if planning else every, listeners),
                ),
                *call.targets,
            ]
    except BadService as error:
        raise BadInput(str(error)) from error
    _refuse_what_cannot_be(call, images, found, request.proxy_mode)
    if common.canary and not any(t.route for t in call.targets if t.settings.name in (canary or names)):
        raise BadInput(
            f"canary: nginx leads to no container of {' or '.join(canary or names)}, so nobody could be asked",
            "name the service that answers it (canary_service, app_django_service), or leave it out",
        )
    return call


def _see_to_the_rest(
    call: Call,
    asked: Sequence[str],
    images: Mapping[str, Mapping[str, Any]],
    present: Sequence[Present],
    obstacles: Mapping[str, str],
) -> None:
    """Look what becomes of the services that this call does not replace.

    :param asked: the services that were named; none where all are meant.
    :param obstacles: each nginx → why its ports cannot be handed over, empty where they can.
    :raises BadInput: data would not be where it was, a network cannot be as it is defined, or a gap was not allowed.
    """
    mine = [p for p in present if not asked or p.service in asked]
    for problem in (
        *moved_data(call.project, call.kinds, mine),
        *changed_networks(call.project, call.engine.networks()),
    ):
        raise BadInput(problem, "nothing was touched; correct it and run the same command again")
    wanted = {n: k for n, k in call.kinds.items() if not is_off(call.project["services"][n])}
    ids = {n: str(images[n].get("Id") or "") for n in wanted}
    # What was started by hand, and taken over, is ours as well.
    sources = files_of(call.compose) | adopted.files(call.state_dir)
    alike = _alike(call, present)
    rest = rest_of(wanted, call.hashes, ids, present, sources)
    call.notes += [
        f"{name}: Compose takes its definition for another one (depends_on), though the container is the same: a plain docker "
        f"compose up --detach would create it anew, and what depends on it"
        for name in [*rest.recreate, *rest.recreate_last]
        if name in alike
    ]
    rest = rest_of(wanted, {**call.hashes, **alike}, ids, present, sources)
    differing = [*rest.recreate, *rest.recreate_last]
    call.settled = tuple(p.service for p in present if p.config_hash == call.hashes.get(p.service))
    if asked:
        note = "runs with another definition than this project has; a plain docker compose up -d recreates it"
        call.notes += [f"{name}: {note}" for name in differing if name not in asked]
        return
    handed = [n for n in rest.recreate_last if obstacles.get(n) == ""]
    for name in (n for n in differing if n not in handed and not call.allow_downtime):
        keys = _differing_keys(call, name, present)
        raise BadInput(gap_of(name, call.kinds[name], keys, obstacles.get(name, "")), "")
    last = tuple(n for n in rest.recreate_last if n not in handed)
    call.rest = replace(rest, recreate_last=last, handed=tuple(handed))
    call.notes += notes_on(present, wanted, sources)


def _refuse_another_major(
    call: Call, images: Mapping[str, Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> None:
    """:raises BadInput: a database would be created anew with a version that does not read its files, whatever is allowed."""
    for name in (n for n in call.rest.recreate if call.kinds[n] == DATABASE):
        wanted = (images[name].get("Config") or {}).get("Env") or ()
        for inspection in (i for i in found if label_of(i, SERVICE_LABEL) == name and pid_of(i)):
            problem = other_major(name, (inspection.get("Config") or {}).get("Env") or (), wanted)
            if problem:
                raise BadInput(
                    problem,
                    "keep its image in this update; a newer major version needs pg_upgrade, or a dump of it (playbook backup) that is "
                    "restored into a new volume",
                )


def _alike(call: Call, present: Sequence[Present]) -> dict[str, str]:
    """Service → the hash it runs with, where Compose has another for its definition that makes the same container of it."""
    return {
        p.service: p.config_hash
        for p in present
        if p.config_hash != call.hashes.get(p.service, p.config_hash)
        and makes_the_same(call.state_dir, p.service, p.config_hash, call.project["services"][p.service])
    }


def _differing_keys(call: Call, name: str, present: Sequence[Present]) -> list[str]:
    """What differs in a service's definition from the one it runs with, as far as that was recorded."""
    found: list[str] = []
    for container in present:
        if container.service == name:
            found += keys_that_differ(call.state_dir, name, container.config_hash, call.project["services"][name]) or []
    return found


def _target(
    name: str,
    call: Call,
    image: Mapping[str, Any],
    evidence: Evidence,
    request: Request,
    leading: tuple[Route, ...],
    serves: bool,
    every: Sequence[Route],
) -> Target:
    service, options = call.project["services"][name], request.service_options.get(name) or {}
    door, url = None, request.common.health_url or ""
    if _is_knocked_at(name, call, image, leading):
        door = main_door(service, url)
        leading = (route_by(name, door, every if call.kinds[name] == PROXY else (), url),)
        options = {**options, "kind": WEB}
    leading = named(leading, url)
    first = main_route(leading)
    settings = settings_of(
        name,
        service,
        evidence,
        request.common,
        options,
        first.port if first else 0,
        proxied=bool(leading),
        backward=request.backward,
    )
    if settings.kind not in ROLLED_KINDS:
        raise BadService(
            f"{name} is a {settings.kind}, which is not replaced by this module; set kind under service_options if that is "
            f"wrong, or leave it out of services"
        )
    if call.gap:
        # Who waits for it waits no longer than has to be.
        settings = replace(settings, prove_seconds=min(settings.prove_seconds, _PROOF_IN_A_GAP))
    if settings.kind == OTHER:
        settings, problem = alone(service, settings, evidence, _chosen_order(service, options), serves)
        if problem and not call.allow_downtime:
            call.problems[name] = BadInput(problem)
    # Only who comes through nginx can be led to a surge container.
    ports = published_ports.published(service) if leading and settings.order != STOP_FIRST else []
    handed = bool(ports) and (door is not None or _can_be_handed(name, service, image))
    if ports and not handed:
        call.notes.append(published_ports.note(name, ports))
    instead = tuple(beside(service, is_reached_by_six())) if handed else ()
    lasting = chosen_strategy.AWAY if call.strategy == BLUE_GREEN else 0.0
    front = Front(call.engine, call.name, call.proxy_name, request.proxy_mode == "pin", lasting)
    strategy = None
    try:
        config = image.get("Config") or {}
        strategy = way_to(name, service, settings, leading, front, config) if leading and not door else None
    except BadInput as error:
        call.problems[name] = error
    if handed:
        strategy = with_ports(strategy, call.engine, call.name, service, settings)
    if strategy:
        settings = strategy.settings or settings
        call.strategies[name] = strategy.why
        call.notes += [strategy.note] if strategy.note else []
    return Target(
        settings,
        str(image.get("Id") or ""),
        call.hashes.get(name, ""),
        leading,
        strategy.steering if strategy else None,
        call.newer_than,
        strategy.dns_seconds if strategy else None,
        strategy.folder if strategy else None,
        call.compose.hashes(published_ports.with_other_ports(call.project, {name: instead}))[name] if ports else "",
        instead,
        needed_by(call.project["services"], name),
        door=door,
        handed=handed,
        lingers=strategy.lingers if strategy else 0.0,
        alone=strategy.alone if strategy else "",
        weighs=bool(strategy and strategy.weighs),
        canary_time=request.canary_time if call.strategy == CANARY else 0.0,
        canary_share=request.canary_share if call.strategy == CANARY else 0,
    )


def _can_be_handed(name: str, service: Mapping[str, Any], image: Mapping[str, Any]) -> bool:
    return str(replicas_of(service)) == "1" and not obstacle(name, service, image.get("Config") or {})


def _is_knocked_at(name: str, call: Call, image: Mapping[str, Any], leading: Sequence[Route]) -> bool:
    """Whether users reach a service by its port, and that can be handed over: nothing else leads to it."""
    service, around = call.project["services"][name], call.around
    if leading or call.kinds[name] not in (WEB, PROXY):
        return False
    # Who comes by another proxy is led by that.
    if call.kinds[name] == WEB and (around.strangers or around.down or name in around.beside):
        return False
    return _can_be_handed(name, service, image)


def _chosen_order(service: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    update = (service.get("deploy") or {}).get("update_config") or {}
    return any(source.get("order") for source in (update, service.get("x-evenkeel") or {}, options))


def _refuse_what_cannot_be(
    call: Call, images: Mapping[str, Mapping[str, Any]], found: Sequence[Mapping[str, Any]], proxy_mode: str
) -> None:
    for target in (t for t in call.targets if not t.removed):
        settings, name = target.settings, target.settings.name
        if not target.image:
            raise BadInput(
                f"{name}: the image {image_name(call.project, name)} is not on this host",
                "let compose_build build or pull it; where pull_policy is never, load it (docker load)",
            )
        service = call.project["services"][name]
        # What was taken over as it runs is only ever gone back to while it runs: nothing is started beside it.
        as_found = ADOPTED in (call.project.get(MARK) or {})
        complaints = [] if as_found else objections(name, service, settings, images[name].get("Config") or {})
        serving = [i for i in found if label_of(i, SERVICE_LABEL) == name and pid_of(i)]
        if serving and settings.order != STOP_FIRST:
            ports = published_ports.published(service)
            steered = target.route is not None
            problem = published_ports.objection(name, ports, settings.replicas, steered, call.allow_downtime)
            if problem and not target.handed:
                call.problems.setdefault(name, BadInput(problem))
        if complaints and serving:
            call.problems.setdefault(name, BadInput(complaints[0]))
        elif complaints and settings.kind != OTHER:
            raise BadInput(complaints[0])
        if settings.kind == SCHEDULER and serving and target.route and not call.allow_downtime:
            gap = (
                f"{name}: {call.proxy_name} leads to it, and it is a scheduler too, which never runs twice: the old one is taken "
                f"away before the new one is ready, a gap of its boot time"
            )
            hint = "run the scheduler as a service of its own, or allow it with allow_downtime: true (update_allow_downtime)"
            call.problems.setdefault(name, BadInput(gap, hint))
        if settings.kind != WEB:
            continue
        if serving and target.route is None and proxy_mode != "none":
            why, hint = why_unled(name, call.around)
            report = BadInput(f"{name}: {why}, so requests could not be moved to the new container", hint)
            call.problems.setdefault(name, report)
        if settings.order == STOP_FIRST and serving and not call.allow_downtime:
            raise BadInput(
                f"{name}: order stop-first takes the old one away before the new one is ready: a gap of its boot time",
                "use order: start-first, or allow it with allow_downtime: true (update_allow_downtime in a playbook)",
            )
        note = longest_gap_note(settings)
        if note:
            call.notes.append(note)


def refuse_what_cannot_change_hands(call: Call, stack: Stack) -> None:
    """Look whether each service that has to be replaced can be.

    What is as wanted may be so behind any nginx: a first deployment has nothing to lead from one to the other.

    :raises BadInput: one cannot.
    """
    for target in call.targets:
        problem = call.problems.get(target.settings.name) or chosen_strategy.objection(
            call.strategy, target, call.proxy_name
        )
        view = view_of(stack, target.wanted)
        if problem and view.changing and (target.settings.name in call.problems or any(c.running for c in view.old)):
            raise problem


def room_of(engine: Engine) -> preflight.Room:
    """The memory of this machine, and the disk that the engine's data is on."""
    total, available = processes.memory_of_machine()
    root = str(engine.info().get("DockerRootDir") or "/")
    while not os.path.isdir(root):
        root = os.path.dirname(root)
    disk = os.statvfs(root)
    return preflight.Room(total, available, disk.f_bavail * disk.f_frsize, disk.f_favail, root)


def refuse_without_room(call: Call, machine: ComposeMachine, stack: Stack) -> None:
    """Look whether all fits beside what runs, else whether each service alone does.

    :raises BadInput: not even that.
    """
    extras = []
    for target in call.targets:
        view = view_of(stack, target.wanted)
        count = 0 if target.settings.order == STOP_FIRST else view.missing
        used = machine.memory_used(target.settings.name)
        extras.append(
            preflight.Extra(target.settings.name, count, used, target.settings.reservation, target.settings.limit)
        )
    if any(e.count for e in extras) or any(e.reserved for e in extras):
        room = room_of(call.engine)
        call.memory = {"needed": preflight.memory_needed(extras), "available": room.memory_available}
        missing = preflight.shortages(room, extras)
        alone = [s for e in extras for s in preflight.shortages(room, [e])]
        if missing and alone:
            raise BadInput(f"there is no room for this: {alone[0]}")
        if missing and call.strategy == BLUE_GREEN:
            raise BadInput(
                f"there is no room for {BLUE_GREEN}, which has all new containers beside all old ones, and keeps these: {missing[0]}",
                f"use strategy: {ROLLING} (update_strategy={ROLLING} in a playbook), which replaces one service after the other",
            )
        if missing:
            call.together = False
            call.notes.append("memory is short: one service after the other is replaced, and not all at once")
