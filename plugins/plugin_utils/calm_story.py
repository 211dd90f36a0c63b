# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What callback ``calm`` shows for each event of a run; it prints nothing, reads no clock, and knows no object of Ansible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.plugin_utils import calm_texts as texts
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.calm_phases import FOREIGN, LOCK, Phase, Task, phase_of

#: Seconds from which a phase is shown that changed nothing and has nothing to say.
LONG = 10.0


@dataclass(frozen=True)
class Line:
    """One line, and whether it is about a failure that ends the run of a host."""

    text: str
    failed: bool = False


@dataclass
class _Open:
    """A phase that goes on."""

    phase: Phase
    task: Task
    began: float
    ended: float
    #: Host and text of what was said in it.
    said: list[tuple[str, str]] = field(default_factory=list)
    named: str = ""
    latest: str = ""
    changed: bool = False

    def takes(self, phase: Phase, task: Task) -> bool:
        """Whether a task goes into this phase too; each foreign one has a line of its own."""
        return phase.name == self.phase.name and (phase.name != FOREIGN or task.id == self.task.id)

    @property
    def is_worth_a_line(self) -> bool:
        """Whether it is shown when it is over."""
        if self.said or self.phase.name == FOREIGN:
            return True
        return self.phase.name != LOCK and (self.changed or self.ended - self.began >= LONG)


def phase_line(name: str, seconds: float | None, text: str) -> str:
    """A phase, the seconds that it took, and what came of it."""
    took = "" if seconds is None else f"{max(seconds, 0.0):.1f} s"
    return f"  {name:<8} {took:>8}  {text}".rstrip()


def _says_the_same(text: str, other: str) -> bool:
    """Whether one is the other, apart from whom it is about, which it begins with."""
    return text == other or text.endswith(f": {other}") or other.endswith(f": {text}")


class Story:
    """The lines for a run's events, in the order in which they come.

    :param live: progress is shown in one place, which :meth:`in_place` has; otherwise it has lines of its own.
    """

    def __init__(self, live: bool) -> None:
        self._live = live
        self._open: _Open | None = None
        self._running: _Open | None = None
        self._begun: dict[str, float] = {}
        self._hosts: set[str] = set()
        self._answered: set[str] = set()
        self._told: dict[str, set[str]] = {}
        self._failures: dict[str, list[str]] = {}

    def host(self, name: str) -> None:
        """A host takes part."""
        self._hosts.add(name)

    def starts(self, task: Task, now: float) -> None:
        """A task starts; whether it is skipped nobody knows yet."""
        phase = phase_of(task)
        self._begun.setdefault(task.id, now)
        self._running = None if phase is None else _Open(phase, task, now, now)

    def progress(self, host: str, text: str, now: float) -> list[Line]:
        """A long module tells what it does."""
        running = self._running
        if running is None:
            return [Line(phase_line("", None, self._of(host, text)))]
        lines = self._enter(running.phase, running.task, now)
        if self._open:
            self._open.latest = self._of(host, text)
        return lines if self._live else [*lines, Line(phase_line(running.phase.name, None, self._of(host, text)))]

    def ok(self, host: str, task: Task, result: Mapping[str, Any], now: float) -> list[Line]:
        """A task has ended well."""
        self._hosts.add(host)
        if task.action.rpartition(".")[2] == "debug":
            return self._report(host, texts.reported(task, result))
        phase = phase_of(task)
        if phase is None:
            return []
        self._answered.add(host)
        lines = self._enter(phase, task, now)
        if self._open:
            self._open.said += [(host, text) for text in texts.messages(task, result, phase.tells)]
            self._open.changed = self._open.changed or bool(result.get("changed"))
        return lines

    def failed(self, host: str, task: Task, result: Mapping[str, Any], now: float, ignored: bool = False) -> list[Line]:
        """A task has failed; where the run ends by it, its message is told by :meth:`ends`."""
        message = texts.failure(task, result)
        rests = ignored or task.rescued
        if not rests:
            self._failures.setdefault(host, []).append(message)
        if phase_of(task) is None and not rests:
            return self.flush()
        words = "failed, ignored" if ignored else "failed"
        # The message follows where one host ends the run; others may go on for long.
        shown = f"{words}: {texts.gist(message)}" if rests or len(self._hosts) > 1 else words
        return self._fails(host, task, shown, now)

    def unreachable(
        self, host: str, task: Task, result: Mapping[str, Any], now: float, ignored: bool = False
    ) -> list[Line]:
        """A host cannot be reached."""
        if not ignored:
            self._failures.setdefault(host, []).append(texts.unreachable(host, result, host in self._answered))
        return self._fails(host, task, "unreachable, ignored" if ignored else "unreachable", now)

    def shows(self, text: str) -> list[Line]:
        """Something that is shown as it is, such as a difference."""
        return [*self.flush(), *(Line(line) for line in text.splitlines())]

    def difference(self, host: str, text: str) -> list[Line]:
        """What C(--diff) shows of a task; a plan and the task that follows it have the same."""
        told = self._told.setdefault(host, set())
        if text in told:
            return []
        told.add(text)
        return self.shows(f"{host}:\n{text}" if len(self._hosts) > 1 else text)

    def retries(self, host: str, task: Task, left: int, now: float) -> list[Line]:
        """A task is tried again."""
        return self.progress(host, f"{task.name}: tried again, {left} times left", now)

    def ends(self, hosts: int) -> list[Line]:
        """The run is over: why hosts failed, as the last lines."""
        lines = self.flush()
        for host, messages in sorted(self._failures.items()):
            before = f"{host}: " if max(hosts, len(self._hosts)) > 1 else ""
            # The first is why it ended; a later one is of what is done in any case, such as giving back the lock.
            told = [f"also failed: {texts.gist(message)}" for message in messages[1:]]
            told += messages[0].splitlines()
            lines += [Line(f"{before}{line}".rstrip(), True) for line in told if line.strip()]
        return lines

    def flush(self) -> list[Line]:
        """The phase that goes on is over."""
        over, self._open = self._open, None
        if over is None or not over.is_worth_a_line:
            return []
        said: dict[str, list[str]] = {}
        for host, text in over.said:
            said.setdefault(host, []).append(text)
            self._told.setdefault(host, set()).add(text)
        # What all hosts say is said once.
        together = list(dict.fromkeys("; ".join(dict.fromkeys(each)) for each in said.values()))
        shown = together if len(together) < 2 else [f"{h}: {'; '.join(dict.fromkeys(t))}" for h, t in said.items()]
        first, *others = shown or [over.task.name if over.phase.name == FOREIGN else over.named]
        return [
            Line(phase_line(over.phase.name, over.ended - over.began, first)),
            *(Line(phase_line("", None, text)) for text in others),
        ]

    def in_place(self, now: float, width: int) -> str:
        """The line to show while a task runs, cut to a width; empty where none is to be shown."""
        running = self._running
        if running is None:
            return ""
        same = self._open if self._open and self._open.takes(running.phase, running.task) else None
        text = (same.latest if same else "") or running.task.named_object
        text = text or (running.task.name if running.phase.name == FOREIGN else "")
        began = same.began if same else running.began
        line = phase_line(running.phase.name, now - began, text)
        return line if len(line) < width else f"{line[: max(width - 2, 0)]}…"

    @property
    def is_connected(self) -> bool:
        """Whether a host has answered: before that, ssh may ask at the terminal whether it is the right one."""
        return bool(self._answered)

    def _enter(self, phase: Phase, task: Task, now: float) -> list[Line]:
        """A task that really runs belongs to a phase: the one that goes on, or a new one."""
        if phase.name == LOCK and self._open and self._open.phase.name != LOCK:
            # Its lease is renewed in the middle of other phases.
            return []
        lines: list[Line] = []
        if not (self._open and self._open.takes(phase, task)):
            lines = self.flush()
            self._open = _Open(phase, task, self._begun.get(task.id, now), now)
        if self._open:
            self._open.ended = now
            self._open.named = self._open.named or task.named_object
        return lines

    def _fails(self, host: str, task: Task, text: str, now: float) -> list[Line]:
        self._hosts.add(host)
        phase = phase_of(task) or Phase(FOREIGN)
        lines = self._enter(phase, task, now)
        if self._open:
            text = f"{task.name}: {text}" if phase.name == FOREIGN and task.name not in text else text
            # What it did before is said in its message.
            self._open.said = [*(pair for pair in self._open.said if pair[0] != host), (host, text)]
        # Others may still be at it; their results make the line again.
        return lines if len(self._hosts) > 1 else [*lines, *self.flush()]

    def _report(self, host: str, items: Iterable[str]) -> list[Line]:
        """What a role reports, without what was told before."""
        told = self._told.setdefault(host, set())
        told.update(text for of, text in (self._open.said if self._open else []) if of == host)
        new = [item for item in items if not any(_says_the_same(item, text) for text in told)]
        told.update(new)
        if not new:
            return []
        before = f"{host}: " if len(self._hosts) > 1 else ""
        return [*self.flush(), *(Line(f"{before}{line}") for item in new for line in item.splitlines())]

    def _of(self, host: str, text: str) -> str:
        return f"{host}: {text}" if len(self._hosts) > 1 else text
