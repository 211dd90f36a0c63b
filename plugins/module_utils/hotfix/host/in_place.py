# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the files of running containers to what is wanted, and has their processes load them, one container after the other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...base.host import processes
from ...engine.host.engine import DockerException, RequestException
from ...engine.host.inspection import gateways_of, pid_of
from ...engine.host.live_root import LiveRoot, RootFailed
from ...engine.programs import WEB
from ...operation.host.journal import Fence
from ...rolling.host import spares
from ...rolling.host.fenced import FencedMachine
from ...rolling.host.machine import ComposeMachine
from ...rolling.host.plan import Call
from ...rolling.host.roller import StepFailed
from ...rolling.stack import Container
from ...rolling.steps import Start
from ...traffic.host import firewall
from ...traffic.host.firewall import FirewallFailed
from .. import in_place as decide
from ..in_place import HELD, QUIET, RESTART, ROTATED, SIGNAL, Copy, Plan, Turn
from . import loaded_code, thin_image
from .in_place_record import APPLIED, Record
from .in_place_view import InPlaceView

# Seconds: a hold ends by itself, so early that nginx, which waits for a connection for 60, has what came last in time; requests
# under way when it begins; between two looks; between a change and a start; until whoever was told to go has heard it
# (gunicorn's threads look each second).
_HOLD, _QUIET, _PAUSE, _TICK, _TOLD = 20.0, 1.0, 0.1, 0.02, 2.0


def machine_of(call: Call) -> ComposeMachine:
    """The machine of what was found out for a roll."""
    # Nobody is led to the containers of another version that go on running.
    kept = spares.read(call.state_dir).containers
    return ComposeMachine(
        call.compose, call.engine, call.name, call.targets, call.proxy_name, call.project, left_alone=kept
    )


class InPlace(InPlaceView):
    """The same, and what is done to them."""

    def __init__(self, call: Call, machine: ComposeMachine, record: Record, image_of: Mapping[str, str]) -> None:
        super().__init__(call, machine, record, image_of)
        self.notes: list[str] = []
        self.timeline: list[dict[str, Any]] = []
        self._fence: Fence | None = None
        self._changed: dict[str, float] = {}
        self._by_engine: set[str] = set()

    def run(self, fence: Fence, plan: Plan) -> None:
        """Do what a plan says, and prove that nothing goes on with what was loaded before.

        :raises StepFailed: something is not as it should be; what was done so far stays.
        """
        self._fence, self._machine = fence, FencedMachine(self._raw, fence)
        self._let_in()
        busy = self.begin_workers(plan)
        started = [t for t in plan.first if t not in busy]
        # To lead users around may take as long as their requests do, and tasks wait meanwhile.
        soon = not any(t.users == ROTATED for t in plan.then)
        self.start_anew(started, plan.then if soon else ())
        self._take_turns(() if soon else plan.then)
        for turn in busy:
            with self._timed("drain", turn.copy):
                self._await_tasks(turn.copy)
        self.start_anew(busy)
        self._await([t.copy.id for t in plan.first], prove=False)
        self.unpin()
        for copy in self.look():
            if not copy.running:
                raise StepFailed(f"{copy.name}: it ended meanwhile")
            if copy.due:
                raise StepFailed(f"{copy.name}: a process of it goes on with what it had loaded before")

    def begin_workers(self, plan: Plan) -> list[Turn]:
        """Let workers fetch no more, before anything sends what they do not know; returns those that have tasks."""
        if not plan.quiesce:
            return []
        with self._timed("quiesce", *(t.copy for t in plan.first if t.users == QUIET)):
            self._machine.quiesce(plan.quiesce)
            left = self._machine.tasks(plan.quiesce)
        return [t for t in plan.first if t.users == QUIET and left.get(t.copy.id)]

    def _await_tasks(self, copy: Copy) -> None:
        until = time.monotonic() + self._targets[copy.service].settings.drain_timeout
        while time.monotonic() < until:
            if not self._machine.tasks([copy.id]).get(copy.id):
                return
            time.sleep(_PAUSE)
        self.notes.append(f"{copy.name}: its tasks did not end within drain_timeout and were told to")

    def _take_turns(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            with self._timed("load", turn.copy):
                self._one(turn)

    def start_anew(self, turns: Sequence[Turn], meanwhile: Sequence[Turn] = ()) -> None:
        """Write and start again those that nobody has to be led away from, all at once.

        :param meanwhile: have their turns while these end, which is little but waiting; started they would take a processor.
        """
        for turn in turns:
            self.write(turn.copy)
        again = [t.copy for t in turns if t.reload == RESTART]
        with ThreadPoolExecutor(1) as beside:
            ending = beside.submit(self._end, again)
            self._take_turns(meanwhile)
            ending.result()
        if again:
            with self._timed("start", *again):
                self._begin(again)

    def _end(self, copies: Sequence[Copy]) -> None:
        running = [c for c in copies if pid_of(self._raw.inspection(c.id))]
        if running:
            with self._timed("stop", *running):
                self._machine.stop([c.id for c in running])

    def _begin(self, copies: Sequence[Copy]) -> None:
        self._machine.start(Start(restart=tuple(c.id for c in copies)))
        self._seen = self._machine.look()
        for copy in copies:
            if copy.id in self._by_engine and pid_of(self._raw.inspection(copy.id)):
                # The engine, which wrote to it, takes no file away, such as one of a hotfix that goes back.
                self.write(copy)

    def restart(self, copy: Copy) -> None:
        """Stop a container and start it again."""
        self._end([copy])
        self._begin([copy])

    def _one(self, turn: Turn) -> None:
        """One web container: away from its users, changed, proven, back."""
        copy = turn.copy
        with self._without_users(turn):
            self.write(copy)
            if turn.reload == SIGNAL:
                self.signal(copy)
            elif turn.reload == RESTART:
                self.restart(copy)
            # What was there before may well answer wrongly: that is what it was changed for.
            self._await([copy.id], prove=self.record.goal == APPLIED)
        if turn.reload == SIGNAL:
            self._await_gone(copy)

    @contextlib.contextmanager
    def _without_users(self, turn: Turn) -> Iterator[None]:
        copy = turn.copy
        if turn.users == ROTATED:
            there = [c for c in self._of(copy.service) if c.id != copy.id]
            others = [c for c in there if c.in_rotation]
            if not others:
                # A killed run has led users away from them, and perhaps just started them.
                others = there
                if not others:
                    raise StepFailed(f"{copy.service}: no other container of it runs any more that could be led to")
                self._await([c.id for c in others], prove=False)
            self._machine.rotate(copy.service, [c.address for c in others])
            self.drain(copy)
            yield
            self.lead(copy.service)
        elif turn.users == HELD:
            main = pid_of(self._raw.inspection(copy.id)) or 0
            try:
                self.hold(copy, main)
                yield
            finally:
                # It ends by itself otherwise.
                with contextlib.suppress(FirewallFailed):
                    firewall.let_in(main)
        else:
            yield
            if turn.reload == RESTART and self._targets[copy.service].steering:
                # It may be at another address now.
                self.lead(copy.service)

    def hold(self, copy: Copy, main: int) -> None:
        """Let new requests to a container wait, and those that it has begin or end.

        :raises StepFailed: no rule of the firewall can be made.
        """
        inspection = self._raw.inspection(copy.id)
        ports = processes.listening_ports(main)
        try:
            with self._act(f"hold requests to {copy.name}"):
                firewall.hold(main, ports, _HOLD, gateways_of(inspection))
        except FirewallFailed as error:
            raise StepFailed(f"{copy.name}: {error}") from error
        # What was accepted has to be begun: a worker that is told to go would drop it. It may go on for as long as it likes.
        until = time.monotonic() + _QUIET
        while time.monotonic() < until and processes.connections(main, *ports):
            time.sleep(0.05)

    def _let_in(self) -> None:
        """Let those in whom a run that was killed has held."""
        running = [] if firewall.unavailable() else [c for c in self._seen.containers if c.running]
        for copy in (c for c in running if c.service in self._entries):
            main = pid_of(self._raw.inspection(copy.id)) or 0
            try:
                if main and self._targets[copy.service].settings.kind == WEB and firewall.is_held(main):
                    with self._act(f"let requests to {copy.name} in"):
                        firewall.let_in(main)
            except FirewallFailed as error:
                self.notes.append(f"{copy.name}: requests to it may wait for {_HOLD:g} s yet: {error}")

    def _of(self, service: str) -> list[Container]:
        self._seen = self._machine.look()
        return [c for c in self._seen.containers if c.service == service and c.running]

    def drain(self, copy: Copy) -> None:
        """Wait until nobody is connected to a container any more, for ``drain_timeout`` seconds at most."""
        until = time.monotonic() + self._targets[copy.service].settings.drain_timeout
        while time.monotonic() < until:
            mine = next((c for c in self._of(copy.service) if c.id == copy.id), None)
            if mine is None or not (mine.connections or self._seen.proxy.draining_workers):
                return
            time.sleep(_PAUSE)
        self.notes.append(f"{copy.name}: not all of its connections ended within drain_timeout")

    def lead(self, service: str) -> None:
        """Let all containers of a service have requests, and nginx know it."""
        self._machine.rotate(service, [c.address for c in self._of(service)])
        await_dns = self._targets[service].dns_seconds
        if await_dns:
            time.sleep(await_dns)

    def unpin(self) -> None:
        """Take away what leads requests: all have the change, also where a run that was killed has left something."""
        self._seen = self._machine.look()
        for service, target in self._targets.items():
            mine = [c for c in self._seen.containers if c.service == service and c.running]
            if service not in self._seen.proxy.pinned or not target.steering:
                continue
            if not all(c.in_rotation for c in mine):
                self.lead(service)
            until = time.monotonic() + 30.0 + (target.dns_seconds or 0.0)
            while service in self._machine.look().proxy.cooling and time.monotonic() < until:
                self._machine.await_dns(service)
                time.sleep(1.0)
            self._machine.unpin(service)
        paused = [
            c.id for c in self._seen.containers if c.running and c.consumes is False and c.service in self._entries
        ]
        if paused:
            self._machine.resume(paused)

    def write(self, copy: Copy) -> None:
        """Put the files of the hotfix into a container, whether it runs or not."""
        main = pid_of(self._raw.inspection(copy.id))
        self._changed.setdefault(copy.id, time.time())
        if not main:
            self._put_in_stopped(copy)
            return
        wanted = {e.path: (self._wanted(e), e.mode) for e in self._entries[copy.service]}
        root = LiveRoot(main)
        try:
            different = {p: w for p, w in wanted.items() if root.content(p) != w[0]}
            with self._act(f"write {', '.join(sorted(different)) or 'nothing'} in {copy.name}"):
                root.put(different)
            # Starts of processes are told to a hundredth of a second: who starts from now on is seen to be younger.
            time.sleep(_TICK)
        except RootFailed as error:
            if not processes.has_ended(main):
                raise StepFailed(f"{copy.name}: {error}") from error
            # It was told to end by a run that was killed.
            self._put_in_stopped(copy)

    def _put_in_stopped(self, copy: Copy) -> None:
        """What does not run, or crashes all the time, is written to by the engine; a file too many in it nobody loads."""
        self._machine.stop([copy.id])
        self._by_engine.add(copy.id)
        files = [(e.place, content) for e in self._entries[copy.service] if (content := self._wanted(e)) is not None]
        try:
            with self._act(f"write {', '.join(sorted(p.path for p, _content in files))} in {copy.name}"):
                self.call.engine.api.put_archive(copy.id, "/", thin_image.archive(files))
            time.sleep(_TICK)
        except (DockerException, RequestException) as error:
            raise StepFailed(f"{copy.name} cannot be written to: {error}") from error

    def signal(self, copy: Copy) -> None:
        """Have its master start its workers anew, and wait until none of before takes requests."""
        main = pid_of(self._raw.inspection(copy.id)) or 0
        words = self._words(copy.service)
        changed = self._moment(main, copy.service)
        kept = loaded_code.keeping(main, changed, words)
        master = loaded_code.master_of(kept, main)
        if kept and not master:
            raise StepFailed(f"{copy.name}: its processes are others than before")
        if master:
            with self._act(f"load anew in {copy.name}"):
                loaded_code.load_anew(master)
        # One that has a request under way still may take no other from then on, and ends it whoever waits.
        until = time.monotonic() + _TOLD
        while time.monotonic() < until and loaded_code.keeping(main, changed, words):
            time.sleep(_PAUSE)
        if processes.has_ended(main):
            raise StepFailed(f"{copy.name}: it ended when its workers were told to load anew")

    def _await_gone(self, copy: Copy) -> None:
        """Until nobody is left who has loaded what was there before.

        :raises StepFailed: somebody is.
        """
        main = pid_of(self._raw.inspection(copy.id)) or 0
        until = time.monotonic() + self._targets[copy.service].settings.drain_timeout
        while loaded_code.keeping(main, self._moment(main, copy.service), self._words(copy.service)):
            if time.monotonic() > until:
                raise StepFailed(f"{copy.name}: its workers were not replaced when they were told to load anew")
            time.sleep(_PAUSE)

    def _await(self, ids: Sequence[str], prove: bool) -> None:
        """Until these are ready, and answer rightly.

        :raises StepFailed: they do not.
        """
        waiting, right = set(ids), dict.fromkeys(ids, 0)
        began, before = time.monotonic(), dict(self._machine.look().restarts)
        while waiting:
            self._seen = self._machine.look()
            here = {c.id: c for c in self._seen.containers}
            for one in (here[i] for i in waiting if i in here):
                if not one.running or self._seen.restarts.get(one.id, 0) > before.get(one.id, 0):
                    raise StepFailed(f"{one.name} {self._seen.endings.get(one.id) or 'ended'}")
            for container_id, answer in self._machine.ready(sorted(waiting)).items():
                settings = self._targets[here[container_id].service].settings if container_id in here else None
                right[container_id] = right[container_id] + 1 if answer.ok else 0
                if settings is None or right[container_id] >= settings.ready_successes:
                    waiting.discard(container_id)
                elif time.monotonic() - began > settings.ready_timeout:
                    name = here[container_id].name
                    raise StepFailed(f"{name} is not ready with it after {settings.ready_timeout:g} s: {answer.text}")
            if waiting:
                time.sleep(_PAUSE)
        for container_id, answer in self._machine.prove(list(ids), False).items() if prove else ():
            if not answer.ok:
                name = next((c.name for c in self._seen.containers if c.id == container_id), container_id[:12])
                raise StepFailed(f"{name} {answer.text}")

    def run_smoke_tests(self) -> None:
        """Ask through nginx what is always asked, and what the change is to mend.

        :raises StepFailed: the answer is not the one that is expected.
        """
        web = [c.id for c in self._seen.containers if c.running and self._targets[c.service].settings.kind == WEB]
        for answer in self._machine.prove([i for i in web if self._is_mine(i)], True).values():
            if not answer.ok:
                raise StepFailed(answer.text)

    def _is_mine(self, container_id: str) -> bool:
        return any(c.id == container_id and c.service in self._entries for c in self._seen.containers)

    def changed_since(self) -> list[tuple[str, str, str, float]]:
        """Id, name, service and the moment of the change of each container that this run has changed."""
        return [(c.id, c.name, c.service, self._changed[c.id]) for c in self._seen.containers if c.id in self._changed]

    def _act(self, what: str) -> contextlib.AbstractContextManager[None]:
        return self._fence.act(what) if self._fence else contextlib.nullcontext()

    @contextlib.contextmanager
    def _timed(self, step: str, *copies: Copy) -> Iterator[None]:
        began, moment, result = time.monotonic(), time.time(), "failed"
        try:
            yield
            result = "ok"
        finally:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
            self.timeline.append(
                {"step": step, "service": ", ".join(sorted({c.service for c in copies})), "started": stamp,
                 "container": ", ".join(c.name for c in copies), "result": result,
                 "seconds": round(time.monotonic() - began, 3)}
            )  # fmt: skip


def sentences(plan: Plan) -> list[str]:
    """What would be done to each container."""
    how = {
        decide.NOTHING: "written, nothing has loaded it",
        SIGNAL: "written, its workers start anew",
        RESTART: "written, started again",
    }
    return [f"{t.copy.name}: {how[t.reload]}" for t in plan.turns]
