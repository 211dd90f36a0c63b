# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that exists only in memory: containers, a proxy with workers that remember addresses, and misfortune.

It answers the same questions as the real one (``rolling/host/roller.Machine``) and watches, at every single change,
what must never be true.  Violations are collected in ``violations``.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.answer import Answer
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.programs import SCHEDULER, WEB, WORKER
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import START_FIRST
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.roller import Seen, StepFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import (
    SPARE,
    SPENT,
    Container,
    Proxy,
    Wanted,
    is_crashing,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.steps import Start
from tests.property.simulated_names import Names
from tests.property.simulated_parts import Box, Killed, Misfortune, Version, Worker

OLD = ("image-old", "hash-old")
NEW = ("image-new", "hash-new")
#: What ends so is the hash of a container that holds no port.
STAND_IN = "without-port"


class SimulatedMachine:
    """See the module's text.

    :param seed: all chance comes from it.
    :param wanted: the services, as the policy has them; a container each of the old version runs at first.
    :param version: how the new version behaves.
    :param misfortune: what may go wrong from outside.
    :param added: services that the old version did not have.
    """

    def __init__(
        self,
        seed: int,
        wanted: Sequence[Wanted],
        versions: dict[str, Version],
        misfortune: Misfortune,
        fresh: bool = False,
        start_replicas: int | None = None,
        added: Sequence[str] = (),
    ) -> None:
        self.random = random.Random(seed)
        self.wanted = {w.name: w for w in wanted}
        self.versions = versions
        self.misfortune = misfortune
        self.clock = 1000.0
        self.boxes: dict[str, Box] = {}
        self.pins: dict[str, set[str]] = {}
        self.names = Names(self.random)
        self.violations: list[str] = []
        self.lost = 0
        self.disturbed = False
        self.process_killed = False
        #: Services of which the engine refused to start a container, and none was started since.
        self.unstarted: set[str] = set()
        #: Services of which, at the last look, everything old crashed or had ended: what is ready is better than that.
        self.deserted: set[str] = set()
        #: Services of which something served at the last look: what ends just after it, no order of steps can foresee.
        self.served: set[str] = set()
        self.added = tuple(added)
        self.counter = 0
        #: Whether something of the old version was removed.
        self.buried = False
        self.history: list[str] = []
        self.proxy_down_until = 0.0
        if not fresh:
            for item in (w for w in wanted if w.name not in added):
                for _each in range(start_replicas or item.replicas or 1):
                    box = self._create(item.name, OLD)
                    box.started = self.clock - 600.0
                    if not item.replicas:
                        box.inflight = [self.clock + 5.0]
        self.workers = [Worker(self._resolve_all(), self.clock - 500.0)]
        for box in self.boxes.values():
            box.joined = True
        self.original = {b.id for b in self.boxes.values()}
        self.capacity = {w.name: sum(1 for b in self.boxes.values() if b.service == w.name) for w in wanted}

    # -- the machine's own workings -------------------------------------------------------------------

    def _create(self, service: str, identity: tuple[str, str]) -> Box:
        self.counter += 1
        number = 1 + max([b.number for b in self.boxes.values() if b.service == service], default=0)
        box = Box(f"c{self.counter}", service, number, identity, f"10.0.0.{self.counter}", started=self.clock)
        self.boxes[box.id] = box
        return box

    def _version(self, box: Box) -> Version:
        return Version() if box.identity[0] == OLD[0] else self.versions[box.service]

    def _serving(self, box: Box) -> bool:
        version = self._version(box)
        if version.deaf_at_port and not box.identity[1].endswith(STAND_IN):
            return False
        if box.state != "running" or version.boot is None or box.ends_at is not None:
            return False
        return self.clock >= box.started + version.boot

    def _resolve(self, service: str) -> set[str]:
        if service in self.pins:
            return set(self.pins[service])
        return {b.address for b in self.boxes.values() if b.service == service and b.state == "running"}

    def _resolve_all(self) -> dict[str, set[str]]:
        # What the new version no longer has, the proxy does not name any more.
        return {name: self._resolve(name) for name, w in self.wanted.items() if w.kind == WEB and w.replicas}

    def _reload(self) -> None:
        for worker in self.workers:
            if worker.quits_at is None:
                worker.quits_at = self.clock + self.random.choice([0.0, 0.3, 2.0])
        self.workers.append(Worker(self._resolve_all(), self.clock))

    def _asks_again(self, service: str) -> bool:
        wanted = self.wanted[service]
        return wanted.kind == WEB and wanted.dns_seconds is not None

    def _rotation(self, service: str) -> set[str]:
        if self._asks_again(service):
            return self.names.used(service, self.clock, self._running())
        return self.workers[-1].addresses.get(service, set())

    def _running(self) -> set[str]:
        return {b.address for b in self.boxes.values() if b.state == "running"}

    def _ask_names(self) -> None:
        self.names.pass_time(self.clock)
        for name in filter(self._asks_again, self.wanted):
            self.names.ask(name, self._resolve(name), self.clock, float(self.wanted[name].dns_seconds or 0.0))

    def _advance(self, seconds: float) -> None:
        self.clock += seconds
        self.workers = [w for w in self.workers if w.quits_at is None or w.quits_at > self.clock]
        self._ask_names()
        for box in list(self.boxes.values()):
            version = self._version(box)
            box.inflight = [end for end in box.inflight if end > self.clock]
            if box.state != "running":
                continue
            if self.wanted[box.service].kind == WORKER:
                known = box.consuming
            else:
                asked_again = self._asks_again(box.service)
                known = box.address in self._rotation(box.service) if asked_again else False
                known = known or (
                    not asked_again and any(box.address in w.addresses.get(box.service, set()) for w in self.workers)
                )
            if known and self._serving(box) and len(box.inflight) < 3:
                box.inflight.append(self.clock + self.random.choice([0.05, 0.5, 2.0]))
            if box.ends_at is not None and self.clock >= box.ends_at:
                self._end(box)
            if (version.ends_after is not None and self.clock >= box.started + version.ends_after) or (
                version.dies_when_joined and box.address in self._rotation(box.service)
            ):
                self._end(box)
        self._watch()

    def _end(self, box: Box) -> None:
        box.state = "exited"
        box.inflight = []
        box.ends_at = None

    def _act(self, name: str, seconds: float) -> None:
        """Time goes by, and now and then something happens just before an act."""
        self.history.append(name)
        self._advance(seconds)
        chances = self.misfortune
        if chances.left <= 0:
            return
        for kind in ("kill_process", "reboot", "kill_old", "kill_new", "restart_proxy", "foreign_reload", "fail_act"):
            if self.random.random() < getattr(chances, kind):
                chances.left -= 1
                self.history.append(f"! {kind}")
                getattr(self, f"_{kind}")()
                return

    def _kill_process(self) -> None:
        self.process_killed = True
        raise Killed()

    def _kill_some(self, old: bool) -> None:
        mine = [b for b in self.boxes.values() if (b.identity[0] == OLD[0]) == old and b.state == "running"]
        if mine:
            self.disturbed = True
            box = self.random.choice(mine)
            box.restarts += 1
            box.started = self.clock
            box.inflight = []
            box.consuming = True
            if self.random.random() < 0.5:
                self.counter += 1
                box.address = f"10.0.0.{self.counter}"

    def _kill_old(self) -> None:
        self._kill_some(True)

    def _kill_new(self) -> None:
        self._kill_some(False)

    def _restart_proxy(self) -> None:
        self.disturbed = True
        self.pins = {}
        self.names.restart()
        self.workers = [Worker(self._resolve_all(), self.clock)]
        self.proxy_down_until = self.clock + self.random.choice([0.0, 1.5])

    def _reboot(self) -> None:
        """The power goes: the engine starts again what ran and is kept, on addresses of the moment."""
        self.disturbed = self.process_killed = True
        for box in (b for b in self.boxes.values() if b.state == "running"):
            self._end(box)
            if not box.unkept:
                self.counter += 1
                box.state, box.started, box.address = "running", self.clock, f"10.0.0.{self.counter}"
                box.consuming = True
        self._restart_proxy()
        for name, wanted in self.wanted.items():
            back = [b for b in self._of(name) if b.state == "running"]
            strange = [b.id for b in back if b.identity[0] == NEW[0] and not b.proved]
            if wanted.kind == WEB and wanted.order == START_FIRST and len(strange) < len(back) and strange:
                self._violate(f"{name}: a reboot let in {strange}, which nobody has proven")
        raise Killed()

    def _foreign_reload(self) -> None:
        self._reload()

    def _fail_act(self) -> None:
        self.disturbed = True
        raise StepFailed("the engine said no")

    # -- what must never be true ----------------------------------------------------------------------

    def _watch(self) -> None:
        for name, wanted in self.wanted.items():
            boxes = self._of(name)
            if len(self._holders(name)) > 1:
                self._violate(f"{name}: a port is wanted by two")
            if wanted.kind == SCHEDULER and sum(b.state == "running" for b in boxes) > 1:
                self._violate(f"{name}: a singleton runs twice")
            if wanted.kind == WORKER and not self.disturbed and not self._self_inflicted(boxes):
                good = sum(1 for b in boxes if self._serving(b) and b.consuming)
                if good < min(self.capacity[name], wanted.replicas):
                    self._violate(f"{name}: {good} workers consume, {wanted.replicas} wanted")
            if wanted.kind == WEB and wanted.order == START_FIRST and not self.disturbed:
                rotation = self._rotation(name)
                good = sum(1 for b in boxes if b.address in rotation and self._serving(b))
                if good < min(self.capacity[name], wanted.replicas) and not self._self_inflicted(boxes):
                    self._violate(f"{name}: {good} ready in rotation, {wanted.replicas} wanted")
                dead = rotation - {b.address for b in boxes if b.state == "running"}
                if dead and self.capacity[name] and not self._self_inflicted(boxes):
                    self._violate(f"{name}: the proxy sends to {sorted(dead)}, which is gone")

    def _self_inflicted(self, boxes: list[Box]) -> bool:
        """A version that dies only after it was joined hurts by itself; no order of steps can prevent it."""
        version = self.versions[boxes[0].service] if boxes else Version()
        return version.dies_when_joined or version.ends_after is not None

    def _violate(self, text: str) -> None:
        if text not in self.violations:
            self.violations.append(text)

    # -- the protocol ---------------------------------------------------------------------------------

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self._advance(seconds)

    def look(self) -> Seen:
        # A look takes a moment, during which things may happen.
        self._act("look", 0.01)
        if self.clock < self.proxy_down_until:
            raise StepFailed("nginx does not run any more")
        containers = tuple(
            Container(
                id=b.id,
                name=f"shop-{b.service}-{b.number}",
                service=b.service,
                image=b.identity[0],
                config_hash=b.identity[1],
                state=b.state,
                number=b.number,
                address=b.address,
                age=self.clock - b.started,
                idle=0.0 if self._version(b).silent and b.state == "running" else None,
                crashes=is_crashing(b.state, b.restarts, self.clock - b.started, self.wanted[b.service].ready_timeout),
                in_rotation=self._let_in(b),
                # As the real one, which counts them of those alone that users have left.
                connections=len(b.inflight) if self.wanted[b.service].kind == WEB and not self._let_in(b) else 0,
                unkept=b.unkept,
                spare=self._spare_of(b),
                consumes=b.consuming if self.wanted[b.service].kind == WORKER and b.state == "running" else None,
            )
            for b in self.boxes.values()
        )
        old = [c for c in containers if c.image == OLD[0]]
        standing = {c.service for c in old if c.state == "running" and not c.crashes}
        self.deserted = {c.service for c in old} - standing
        self.served = {b.service for b in self.boxes.values() if self._serving(b)}
        draining = sum(1 for w in self.workers if w.quits_at is not None)
        alive = {b.address for b in self.boxes.values() if b.state == "running"}
        again = [name for name in self.wanted if self._asks_again(name)]
        stale = tuple(sorted(name for name in {*self.pins, *again} if self._rotation(name) - alive))
        held = {*self.pins, *(again if self.names.refused else [])}
        cooling = tuple(again if set(self.names.refused) - alive else [])
        proxy = Proxy(True, tuple(sorted(held)), stale, cooling, draining)
        endings = {b.id: "ended with exit code 1" for b in self.boxes.values() if b.state == "exited"}
        return Seen(containers, proxy, {b.id: b.restarts for b in self.boxes.values()}, endings)

    def led_to(self, service: str) -> set[str]:
        """The addresses of a service that requests may be sent to."""
        if not self._asks_again(service):
            return self._rotation(service)
        return {b.address for b in self.boxes.values() if b.service == service and self._let_in(b)}

    def _let_in(self, box: Box) -> bool:
        if self._asks_again(box.service):
            return box.state == "running" and self.names.open(box.address)
        return box.state == "running" and box.address in self._rotation(box.service)

    def await_dns(self, service: str) -> None:
        self._act(f"learn {service}", 0.05)
        until = self.clock + float(self.wanted[service].dns_seconds or 0.0)
        self.names.shorten(set(self.names.refused) - self._running(), until)

    def hold(self, service: str, addresses: Sequence[str]) -> None:
        self._act(f"hold {service}", 0.05)
        if self._asks_again(service):
            return
        self.pins[service] = set(addresses)

    def _of(self, service: str) -> list[Box]:
        return [b for b in self.boxes.values() if b.service == service]

    def _holders(self, service: str) -> list[Box]:
        """Those of a service that hold a port that only one can hold."""
        if not self.wanted[service].surge:
            return []
        alive = [b for b in self._of(service) if b.state == "running"]
        return [b for b in alive if not b.identity[1].endswith(STAND_IN)]

    def start(self, step: Start) -> None:
        surges = step.surges
        for service, count in step.create:
            for _each in range(count):
                self._act_of_start(service, f"start {service}")
                wanted = self.wanted[service]
                if not self.served.issuperset(wanted.after) and not self.disturbed and not self.process_killed:
                    self._violate(f"{service}: started before what it depends on is ready")
                if (wanted.image, wanted.config_hash) == NEW and not self.versions[service].starts:
                    raise StepFailed(f"{service}: could not be started")
                if wanted.image == NEW[0] and self.versions[service].port_taken and service not in surges:
                    raise StepFailed(f"{service}: port is already allocated")
                kind = wanted.surge if service in surges else wanted.config_hash
                box = self._create(service, (wanted.image, kind))
                box.unkept = service in step.unkept
                self._shelter(box)
        for box_id in step.restart:
            box = self.boxes[box_id]
            self._act_of_start(box.service, f"restart {box_id}")
            self.counter += 1
            box.state, box.started, box.address = "running", self.clock, f"10.0.0.{self.counter}"
            box.consuming = True
            self._shelter(box)
        self._watch()

    def _act_of_start(self, service: str, name: str) -> None:
        try:
            self._act(name, 0.2)
        except StepFailed:
            self.unstarted.add(service)
            raise
        self.unstarted.discard(service)

    def _shelter(self, box: Box) -> None:
        if self._asks_again(box.service):
            self.names.isolate(box.address, self.clock)

    def _spare_of(self, box: Box) -> str:
        if not box.spare:
            return ""
        wanted = self.wanted[box.service]
        return SPARE if (wanted.image, wanted.config_hash) != box.identity else SPENT

    def keep(self, ids: Sequence[str]) -> None:
        for box_id in ids:
            self._act(f"keep {box_id}", 0.05)
            self.boxes[box_id].unkept = False

    def spare(self, ids: Sequence[str]) -> None:
        for box_id in ids:
            self._act(f"spare {box_id}", 0.05)
            self.boxes[box_id].unkept = self.boxes[box_id].spare = True

    def answered(self, ids: Sequence[str]) -> dict[str, Answer]:
        bad = [i for i in ids if i in self.boxes and self._version(self.boxes[i]).fails_users]
        return {"users": Answer(not bad, "users got answers of 5xx")}

    def ready(self, ids: Sequence[str]) -> dict[str, Answer]:
        self._act("ready", 0.02)
        return {i: Answer(self._serving(self.boxes[i]), "GET /health/ answered 500") for i in ids if i in self.boxes}

    def prove(self, ids: Sequence[str], proxied: bool) -> dict[str, Answer]:
        self._act("prove", 0.05)
        result = {}
        for box_id in ids:
            box = self.boxes[box_id]
            version = self._version(box)
            result[box_id] = Answer(self._serving(box) and version.answers, "GET / answered 500")
            box.proved = box.proved or result[box_id].ok
        return result

    def rotate(self, service: str, addresses: Sequence[str]) -> None:
        self._act(f"pin {service}", 0.05)
        if not addresses:
            raise AssertionError("an empty rotation was asked for")
        again = self._asks_again(service)
        if again:
            mine = {b.address for b in self.boxes.values() if b.service == service and b.state == "running"}
            avoids = float(self.wanted[service].dns_seconds or 0.0)
            self.names.admit(service, mine, addresses, self.clock, avoids)
        else:
            self.pins[service] = set(addresses)
        self._act(f"reload for {service}", 0.05)
        for box in self.boxes.values():
            wrong = box.address in addresses and box.identity[0] == NEW[0] and not self._version(box).answers
            if wrong and service not in self.deserted:
                self._violate(f"{service}: a version that answers wrongly was put in rotation")
        if not again:
            self._reload()
        self._advance(0.05)

    def quiesce(self, ids: Sequence[str]) -> list[str]:
        for box_id in ids:
            self._act(f"quiesce {box_id}", 0.1)
            self.boxes[box_id].consuming = False
        return []

    def resume(self, ids: Sequence[str]) -> None:
        for box_id in ids:
            self._act(f"resume {box_id}", 0.1)
            self.boxes[box_id].consuming = True

    def tasks(self, ids: Sequence[str]) -> dict[str, int | None]:
        self._act("tasks", 0.2)
        return {i: len(self.boxes[i].inflight) for i in ids if i in self.boxes}

    def unpin(self, service: str) -> None:
        self._act(f"unpin {service}", 0.05)
        self.pins.pop(service, None)
        if self._asks_again(service):
            self.names.refused = {}

    def stop(self, ids: Sequence[str], idle: Collection[str] = ()) -> None:
        for box_id in ids:
            box = self.boxes[box_id]
            if box_id in idle and box.inflight and not self.disturbed:
                self._violate(f"{box.service}: said to be idle with {len(box.inflight)} requests or tasks in flight")
            if self.buried and box.identity[0] == NEW[0] and not self.process_killed:
                self._violate(f"{box.service}: what serves was stopped, though what it replaced is gone")
            try:
                self._act(f"stop {box_id}", 0.1)
            except Killed:
                # The engine goes on with what it was told; or it was not told yet.
                if box.state == "running" and not box.inflight:
                    box.ends_at = self.random.choice([None, self.clock + 1.0, self.clock + 5.0])
                raise
            if (
                self.wanted[box.service].kind in (WEB, WORKER)
                and box.inflight
                and self.capacity[box.service]
                and not self.disturbed
            ):
                self.lost += len(box.inflight)
                self._violate(f"{box.service}: stopped with {len(box.inflight)} requests or tasks in flight")
            self._end(box)
        self._watch()

    def remove(self, ids: Sequence[str]) -> None:
        for box_id in ids:
            self._act(f"remove {box_id}", 0.1)
            if self.boxes[box_id].state == "running":
                self._violate("a running container was removed")
            identity = self.boxes.pop(box_id).identity
            self.buried = self.buried or identity[0] == OLD[0]
            if self.buried and self.random.random() < self.misfortune.late and not self.process_killed:
                self._end_one_of_the_new()

    def _end_one_of_the_new(self) -> None:
        mine = [b for b in self.boxes.values() if b.identity[0] == NEW[0] and b.state == "running"]
        if mine:
            self.disturbed, self.misfortune.late = True, 0.0
            self.history.append("! late")
            self._end(self.random.choice(mine))
