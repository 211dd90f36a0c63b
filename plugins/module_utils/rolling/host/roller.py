# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop around ``rolling/next_step``: look, decide, act, look again; and what one run learns on the way.

Everything that touches the machine is behind :class:`Machine`, so that the property tests drive this very
loop through a simulated one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Protocol

from ...engine.answer import Answer
from .. import next_step, steps
from ..stack import FORWARD, UNDO, Container, Policy, Proxy, Stack, is_outdated, is_surge, view_of
from ..steps import Step


class StepFailed(Exception):
    """A step could not be done; the message is for the user (what happened, in one sentence)."""


@dataclass(frozen=True)
class Seen:
    """Facts of one look: containers without any evidence, their restart counts, how dead ones ended."""

    containers: tuple[Container, ...]
    proxy: Proxy
    restarts: dict[str, int] = field(default_factory=dict)
    endings: dict[str, str] = field(default_factory=dict)


class Machine(Protocol):
    """What a roll needs of the machine; every method may raise :class:`StepFailed`.

    ``quiesce`` returns the ids of those that could not be told, ``tasks`` how many each worker has left, ``answered`` what users
    of these were answered since they have requests.
    """

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...

    def look(self) -> Seen: ...

    def start(self, step: steps.Start) -> None: ...

    def keep(self, ids: Sequence[str]) -> None: ...

    def ready(self, ids: Sequence[str]) -> dict[str, Answer]: ...

    def prove(self, ids: Sequence[str], proxied: bool) -> dict[str, Answer]: ...

    def answered(self, ids: Sequence[str]) -> dict[str, Answer]: ...

    def spare(self, ids: Sequence[str]) -> None: ...

    def quiesce(self, ids: Sequence[str]) -> list[str]: ...

    def resume(self, ids: Sequence[str]) -> None: ...

    def tasks(self, ids: Sequence[str]) -> dict[str, int | None]: ...

    def hold(self, service: str, addresses: Sequence[str]) -> None: ...

    def rotate(self, service: str, addresses: Sequence[str]) -> None: ...

    def await_dns(self, service: str) -> None: ...

    def unpin(self, service: str) -> None: ...

    def stop(self, ids: Sequence[str], idle: Collection[str] = ()) -> None: ...

    def remove(self, ids: Sequence[str]) -> None: ...


@dataclass(frozen=True)
class Evidence:
    """What this run knows about one container (monotonic seconds); ``started_here``: created or started again by it."""

    restarts: int = 0
    successes: int = 0
    awaited_since: float | None = None
    ready_since: float | None = None
    proof_since: float | None = None
    joined_at: float | None = None
    inside_since: float | None = None
    left_at: float | None = None
    created_here: bool = False
    started_here: bool = False
    ended_here: bool = False
    unreachable: bool = False
    tasks: int | None = None
    unanswered_since: float | None = None
    fault: str = ""
    last_answer: str = ""


# On the way back nothing else is left to do: one failure of the engine's must not leave it half done.
_ATTEMPTS = 3


@dataclass
class Outcome:
    """How a roll ended; ``steps`` are the merged timeline entries ``(step, service, container, seconds, result)``."""

    changed: bool
    failed: bool
    refused: bool
    reason: str
    stack: Stack
    cut_connections: int = 0
    cut_tasks: int = 0


class Roller:
    """Runs one call of the reconciler on a machine.

    :param machine: see :class:`Machine`.
    :param policy: what is wanted.
    :param on_step: called with ``(step, stack, started, seconds, failure text)`` after each step.
    :param poll: seconds between two questions whether something is ready or drained.
    :param proof_pause: seconds between two rounds of proof, which are real requests and cost the app something.
    :param help_pause: seconds between two attempts to help the proxy to forget an address.
    :param successes: how many ready answers in a row count as ready.
    """

    def __init__(
        self,
        machine: Machine,
        policy: Policy,
        on_step: Callable[[Step, Stack, float, float, str], None] = lambda *_args: None,
        poll: float = 0.1,
        proof_pause: float = 0.3,
        successes: int = 2,
        help_pause: float = 2.0,
    ) -> None:
        self.machine = machine
        self.policy = policy
        self.on_step = on_step
        self.poll = poll
        self.proof_pause = proof_pause
        self.successes = successes
        self.help_pause = help_pause
        self._helped: dict[str, float] = {}
        self.evidence: dict[str, Evidence] = {}
        self.goal = FORWARD
        self.cause = ""
        self.fault = ""
        self.no_return = False
        self.cut = 0
        self.cut_tasks = 0
        self._wanted = {w.name: w for w in policy.services}

    def observe(self) -> Stack:
        """Look, and join what is seen with what this run has learned."""
        seen = self.machine.look()
        now = self.machine.now()
        containers: list[Container] = []
        for container in seen.containers:
            restarts = seen.restarts.get(container.id, 0)
            known = self.evidence.setdefault(container.id, Evidence(restarts=restarts))
            known = self._judge(container, known, restarts, seen.endings.get(container.id, ""), now)
            self.evidence[container.id] = known
            containers.append(
                replace(
                    container,
                    awaited_since=known.awaited_since,
                    ready_since=known.ready_since,
                    proof_since=known.proof_since,
                    joined_at=known.joined_at,
                    inside_since=known.inside_since,
                    left_at=known.left_at,
                    created_here=known.created_here,
                    ended_here=known.ended_here,
                    consumes=None if known.unreachable else container.consumes,
                    tasks=known.tasks,
                    unanswered_since=known.unanswered_since,
                    fault=known.fault,
                    last_answer=known.last_answer,
                    answering=known.successes > 0,
                )
            )
        return Stack(now, tuple(containers), seen.proxy, self.goal, self.cause, self.fault, self.no_return)

    def _judge(self, container: Container, known: Evidence, restarts: int, ending: str, now: float) -> Evidence:
        if container.in_rotation != (known.inside_since is not None):
            known = replace(known, inside_since=now if container.in_rotation else None)
        wanted = self._wanted.get(container.service)
        # A surge container that is not asked about has done its service, in the run before this one.
        spent = wanted is not None and known.awaited_since is None and is_surge(container, wanted)
        old = wanted is None or is_outdated(container, wanted) or spent
        # A run that was killed may have led users away from a new one, who wait for its answers still.
        led_away = container.connections and not known.created_here
        if (old or led_away) and not container.in_rotation and known.left_at is None:
            known = replace(known, left_at=now)
            if old:
                return known
        if known.awaited_since is None:
            return known
        if not container.running and not known.started_here:
            # The engine goes on to stop what a run that was killed has told it to: no word on the version, start another.
            return Evidence(restarts=restarts)
        fault = ""
        if not container.running:
            fault = ending or "ended"
        elif restarts > known.restarts:
            fault = ending or "was started again by the engine"
        if not fault or known.fault.endswith(fault):
            return known
        # A request that failed because the process died is explained by how it died.
        return replace(known, fault=f"{known.fault}; it {fault}" if known.fault else fault)

    def run(self) -> Outcome:
        """Go on until nothing is left to do.

        :returns: how it ended; never raises for a failing step, which is undone instead.
        """
        changed, attempts = False, 0
        while True:
            try:
                stack = self._observe_patiently()
            except StepFailed as error:
                blind = Stack(self.machine.now(), (), Proxy(), self.goal, self.cause)
                return Outcome(
                    changed, True, True, f"could not see what is running: {error}", blind, self.cut, self.cut_tasks
                )
            step = next_step.next_step(stack, self.policy)
            if isinstance(step, (steps.Done, steps.Refuse)):
                refused = isinstance(step, steps.Refuse)
                failed = refused or (isinstance(step, steps.Done) and step.failed)
                return Outcome(changed, failed, refused, step.reason, stack, self.cut, self.cut_tasks)
            changed = True
            began = self.machine.now()
            failure = ""
            try:
                self.perform(step, stack)
            except StepFailed as error:
                failure = str(error)
            self.on_step(step, stack, began, self.machine.now() - began, failure)
            attempts = attempts + 1 if failure and self.goal == UNDO else 0
            if attempts == _ATTEMPTS:
                reason = f"{self.cause}; and undoing it failed: {failure}"
                return Outcome(changed, True, True, reason, stack, self.cut, self.cut_tasks)
            if attempts:
                self.machine.sleep(1.0)
            elif failure:
                self.fault = failure

    def _observe_patiently(self) -> Stack:
        """Observe, over a hiccup of the engine too."""
        for _attempt in range(9):
            try:
                return self.observe()
            except StepFailed:
                self.machine.sleep(1.0)
        return self.observe()

    def perform(self, step: Step, stack: Stack) -> None:
        """Do one step that was decided, on a stack as it was seen."""
        machine = self.machine
        if isinstance(step, steps.Undo):
            self.goal, self.cause = UNDO, step.reason
        elif isinstance(step, steps.Start):
            for service, addresses in step.hold:
                machine.hold(service, addresses)
            try:
                machine.start(step)
            except StepFailed:
                # Some of them may be there, and are this run's to take away.
                with contextlib.suppress(StepFailed):
                    self._await_new(stack, step.restart)
                raise
            self._await_new(stack, step.restart)
        elif isinstance(step, steps.Keep):
            machine.keep(step.containers)
        elif isinstance(step, steps.Spare):
            machine.spare(step.containers)
        elif isinstance(step, steps.AwaitReady):
            self._ask_whether_ready(step.containers)
            machine.sleep(self.poll)
        elif isinstance(step, steps.Prove):
            self._prove(step)
        elif isinstance(step, steps.Join):
            machine.rotate(step.service, step.rotation)
            self._learn(step.joining, joined_at=machine.now(), left_at=None)
            self._led_away(step, stack)
        elif isinstance(step, steps.Leave):
            machine.rotate(step.service, step.rotation)
            self._led_away(step, stack)
        elif isinstance(step, steps.Quiesce):
            unreachable = machine.quiesce(step.containers)
            self._learn(step.containers, left_at=machine.now(), tasks=None)
            self._learn(unreachable, unreachable=True)
        elif isinstance(step, steps.Resume):
            machine.resume(step.containers)
            self._learn(step.containers, tasks=None)
        elif isinstance(step, steps.Drain):
            self._drain(step, stack)
        elif isinstance(step, steps.Stop):
            ending = [c for c in stack.containers if c.id in step.containers]
            self.cut += sum(c.connections for c in ending if c.left_at is not None)
            self.cut_tasks += sum(c.tasks or 0 for c in ending if c.consumes is False)
            machine.stop(step.containers, {c.id for c in ending if view_of(stack, self._wanted[c.service]).is_idle(c)})
            self._learn(step.containers, ended_here=True)
            # That it has ended is no fault then: a surge container may have to serve once more, to go back over.
            self._learn([i for i in step.containers if not self.evidence[i].fault], awaited_since=None)
        elif isinstance(step, steps.Remove):
            gone = [c for c in stack.containers if c.id in step.containers]
            # What a run before this one could not even start is no loss.
            self.no_return = self.no_return or any(is_outdated(c, self._wanted[c.service]) for c in gone)
            machine.remove(step.containers)
        elif isinstance(step, steps.AwaitDns):
            self._learn_more(step.services)
        elif isinstance(step, steps.Unpin):
            machine.unpin(step.service)

    def _led_away(self, step: steps.Join | steps.Leave, stack: Stack) -> None:
        """Begin the time to drain of all that the proxy no longer leads to.

        Of one that is known to be away already too: started again in place it is taken for unknown to the proxy, which
        may have its address all the same; and a proxy that lost its pins led to it again.
        """
        away = [c.id for c in stack.containers if c.service == step.service and c.left_at is not None]
        here = {c.id for c in stack.containers if c.address in step.rotation}
        self._learn({*step.leaving, *away} - here, left_at=self.machine.now())

    def _learn(self, ids: Collection[str], **news: Any) -> None:
        for container_id in ids:
            self.evidence[container_id] = replace(self.evidence[container_id], **news)

    def _await_new(self, before: Stack, restarted: Sequence[str]) -> None:
        known = {c.id for c in before.containers}
        seen = self.machine.look()
        now = self.machine.now()
        for container in seen.containers:
            if container.id not in known or container.id in restarted:
                restarts = seen.restarts.get(container.id, 0)
                self.evidence[container.id] = Evidence(
                    restarts=restarts,
                    awaited_since=now,
                    created_here=container.id not in known,
                    started_here=True,
                )

    def _ask_whether_ready(self, ids: Sequence[str]) -> None:
        now = self.machine.now()
        for container_id in ids:
            if self.evidence[container_id].awaited_since is None:
                self._learn([container_id], awaited_since=now)
        answers = self.machine.ready(ids)
        now = self.machine.now()
        for container_id, answer in answers.items():
            count = self.evidence[container_id].successes + 1 if answer.ok else 0
            ready = now if count >= self.successes else None
            self._learn([container_id], successes=count, last_answer=answer.text, ready_since=ready)

    def _learn_more(self, services: Sequence[str]) -> None:
        now = self.machine.now()
        for name in services:
            if now - self._helped.get(name, -self.help_pause) >= self.help_pause:
                self._helped[name] = now
                self.machine.await_dns(name)
        self.machine.sleep(self.poll)

    def _drain(self, step: steps.Drain, stack: Stack) -> None:
        workers = [c.id for c in stack.containers if c.id in step.containers and c.consumes is False]
        if workers:
            for container_id, count in self.machine.tasks(workers).items():
                since = self.evidence[container_id].unanswered_since or self.machine.now()
                self._learn([container_id], tasks=count, unanswered_since=since if count is None else None)
        self.machine.sleep(self.poll)

    def _prove(self, step: steps.Prove) -> None:
        if step.awaited:
            self._ask_whether_ready(step.awaited)
        began = self.machine.now()
        answers = self.machine.prove(step.containers, step.proxied)
        if step.tried:
            answers.update(self.machine.answered(step.containers))
        for container_id, answer in answers.items():
            if container_id not in self.evidence:
                if not answer.ok:
                    self.fault = answer.text
            elif not answer.ok:
                self._learn([container_id], fault=answer.text)
            elif self.evidence[container_id].proof_since is None:
                self._learn([container_id], proof_since=began)
        self.machine.sleep(self.proof_pause)
