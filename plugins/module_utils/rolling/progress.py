# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll tells while it works: its steps as lines in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..operation.progress import Line
from . import steps
from .stack import Container, Stack
from .steps import Step

#: Seconds between two lines about the same waiting.
PATIENCE = 10.0


@dataclass
class Narrator:
    """Turns the steps of a roll into lines: what is new since the last look, and long waiting now and then.

    :param web: the services that users reach.
    """

    web: frozenset[str] = frozenset()
    known: dict[str, Container] = field(default_factory=dict)
    said: set[tuple[str, ...]] = field(default_factory=set)
    waited: dict[str, float] = field(default_factory=dict)
    started: bool = False

    def after(self, step: Step, stack: Stack, seconds: float, failure: str) -> list[Line]:
        """What to tell after a step; ``stack`` is what was seen before it."""
        lines = self.look(stack)
        name = type(step).__name__.lower()
        if isinstance(step, steps.Undo):
            lines.append(Line("undo", "", "", 0.0, f"going back: {step.reason}"))
        elif isinstance(step, steps.Prove):
            lines += [*self._proving(step, stack), *self._waiting(step.awaited, stack, "awaitready")]
        elif isinstance(step, (steps.Quiesce, steps.Resume)):
            said = "fetches no more tasks" if isinstance(step, steps.Quiesce) else "fetches tasks again"
            lines += [_line(name, c, seconds, said) for c in _those(stack, step.containers) if not failure]
        elif isinstance(step, (steps.AwaitReady, steps.Drain)):
            lines += self._waiting(step.containers, stack, name)
        if failure:
            lines.append(Line(name, ", ".join(steps.services_of(step)), "", seconds, f"{name} failed: {failure}"))
        return lines

    def look(self, stack: Stack) -> list[Line]:
        """What has changed since the last look."""
        lines: list[Line] = []
        now = {c.id: c for c in stack.containers}
        for container in stack.containers:
            lines += self._news(container, self.known.get(container.id))
        for gone in (c for i, c in self.known.items() if i not in now):
            lines.append(_line("remove", gone, 0.0, "was removed"))
        self.known, self.started = now, True
        return lines

    def _news(self, new: Container, old: Container | None) -> Iterator[Line]:
        if old is None and self.started:
            yield _line("start", new, 0.0, "was started" if new.running else "was created")
        if new.ready_since is not None and (old is None or old.ready_since is None):
            took = new.ready_since - (new.awaited_since if new.awaited_since is not None else new.ready_since)
            yield _line("awaitready", new, took, f"is ready after {took:.1f} s")
        if new.joined_at is not None and (old is None or old.joined_at is None):
            yield _line("join", new, 0.0, "gets the requests of users now")
        if new.fault and (old is None or old.fault != new.fault):
            yield _line("fault", new, 0.0, new.fault)
        if old is not None and old.running and not new.running:
            yield _line("stop", new, 0.0, "has stopped")
        elif old is not None and new.running and not old.running:
            yield _line("start", new, 0.0, "was started")

    def _proving(self, step: steps.Prove, stack: Stack) -> Iterator[Line]:
        for container in _those(stack, step.containers):
            key = ("prove", container.id, str(step.proxied))
            if key not in self.said:
                self.said.add(key)
                where = "is watched while users reach it" if step.proxied else "is asked what users would ask"
                where = where if container.service in self.web else "is watched"
                yield _line("prove", container, 0.0, where)

    def _waiting(self, ids: tuple[str, ...], stack: Stack, name: str) -> Iterator[Line]:
        drain = name == "drain"
        for container in _those(stack, ids):
            key = f"{name} {container.id}"
            since = self.waited.setdefault(f"since {key}", stack.now)
            last = self.waited.get(key)
            if drain and container.consumes is False and container.tasks is None and stack.now - since < PATIENCE:
                continue
            # That draining began is worth a line; that waiting for readiness began is told by the start.
            if (last is None and drain) or stack.now - (since if last is None else last) >= PATIENCE:
                self.waited[key] = stack.now
                passed = stack.now - since
                if drain:
                    text = f"ends what it has: {_left(container)} after {passed:.0f} s"
                else:
                    text = f"is not ready after {passed:.0f} s" + (
                        f": {container.last_answer}" if container.last_answer else ""
                    )
                yield _line(name, container, passed, text)


def _left(container: Container) -> str:
    """What a container has to end yet."""
    if container.consumes is False:
        count, noun, verb = container.tasks, "task", "running or fetched"
    else:
        count, noun, verb = container.connections, "connection", "still open"
    if count is None:
        return "it does not say how many tasks are running"
    return f"{count} {noun}{'' if count == 1 else 's'} {verb}"


def _line(step: str, container: Container, seconds: float, text: str) -> Line:
    return Line(step, container.service, container.name, seconds, f"{container.service}: {container.name} {text}")


def _those(stack: Stack, ids: tuple[str, ...]) -> list[Container]:
    return [c for c in stack.containers if c.id in ids]
