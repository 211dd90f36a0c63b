# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the time of a playbook goes: its tasks, and the steps of ``compose_rolling`` in them.

Read from what callback ``ansible.posix.json`` prints, for ``ansible`` and ``ansible-playbook`` alike.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.bed.shop import ROOT, BedError, run

#: Every result and when each task began and ended, from `ansible` and `ansible-playbook` alike.
AS_JSON = {"ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
BUILD = "evenkeel.deploy.compose_build"
#: What replaces containers; others have steps too, which are no part of a roll.
ROLLS = {"evenkeel.deploy.compose_rolling", "evenkeel.deploy.compose_restart"}


@dataclass(frozen=True)
class Task:
    """One task: how long it took, the steps of a roll if it was one (name, seconds), and what another module told of its own."""

    name: str
    action: str
    seconds: float
    steps: tuple[tuple[str, float], ...] = ()
    inner: tuple[tuple[str, float], ...] = ()

    @property
    def overhead(self) -> float:
        """Seconds that are neither build nor a step of a roll."""
        return 0.0 if self.action == BUILD else self.seconds - sum(seconds for _step, seconds in self.steps)


@dataclass(frozen=True)
class Run:
    """One run: seconds from start to exit, and its tasks in order."""

    seconds: float
    tasks: tuple[Task, ...]

    @property
    def roll(self) -> float:
        """Seconds that the steps of rolls took."""
        return sum(seconds for task in self.tasks for _step, seconds in task.steps)

    @property
    def overhead(self) -> list[tuple[str, float]]:
        """What is neither roll nor build, the longest first; Ansible's own time between and around tasks too."""
        own = self.seconds - sum(task.seconds for task in self.tasks)
        parts = [(f"around the steps of: {t.name}" if t.steps else t.name, t.overhead) for t in self.tasks]
        return sorted([*parts, ("ansible itself, before, between and after tasks", own)], key=lambda part: -part[1])

    def steps(self) -> str:
        """The steps of its rolls as one line."""
        return _line(entry for task in self.tasks for entry in task.steps)

    def overhead_text(self, smallest: float = 0.1) -> str:
        """The overhead as a list, its sum first and its largest named."""
        parts = self.overhead
        total = sum(seconds for _name, seconds in parts)
        lines = [f"{self.seconds:.1f} s, beyond roll and build {total:.1f} s; the largest: {parts[0][0]}"]
        inner = {task.name: f": {_line(task.inner)}" for task in self.tasks if task.inner}
        lines += [f"  {seconds:6.2f} s  {name}{inner.get(name, '')}" for name, seconds in parts if seconds >= smallest]
        small = [seconds for _name, seconds in parts if seconds < smallest]
        return "\n".join([*lines, f"  {sum(small):6.2f} s  {len(small)} of less than {smallest:g} s each"])


def _seconds(duration: Mapping[str, str]) -> float:
    begin, end = (datetime.fromisoformat(duration[key].replace("Z", "+00:00")) for key in ("start", "end"))
    return (end - begin).total_seconds()


def _line(steps: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{step} {seconds:.2f}" for step, seconds in steps if seconds >= 0.05)


def _steps(hosts: Iterable[Mapping[str, Any]], of_rolls: bool) -> tuple[tuple[str, float], ...]:
    told = [result for result in hosts if (result.get("action") in ROLLS) is of_rolls]
    entries = [entry for result in told for entry in result.get("timeline") or []]
    return tuple((f"{e['step']} {e.get('service') or ''}".strip(), float(e["seconds"])) for e in entries)


def run_to_its_end(argv: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Run a playbook to its end.

    :raises BedError: it failed.
    """
    began = time.monotonic()
    done = subprocess.run(
        argv, cwd=ROOT, env={**environment, **AS_JSON}, capture_output=True, text=True, timeout=600, check=False
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise BedError(f"{' '.join(argv)}: {done.stdout[-3000:]}{done.stderr[-1000:]}")
    return read_run(done.stdout, seconds)


def seconds_of(argv: Sequence[str]) -> float:
    """How long a command takes, whatever it prints.

    :raises BedError: it failed.
    """
    began = time.monotonic()
    run(argv)
    return time.monotonic() - began


def read_run(output: str, seconds: float) -> Run:
    """The run that printed this; without tasks where it printed no JSON (it did not even start)."""
    begin, end = output.find("{"), output.rfind("}")
    try:
        plays = json.loads(output[begin : end + 1])["plays"]
    except (ValueError, LookupError):
        return Run(seconds, ())
    tasks = [
        Task(
            task["task"]["name"].replace("evenkeel.deploy.", ""),
            next((str(result.get("action")) for result in task["hosts"].values()), ""),
            _seconds(task["task"]["duration"]),
            _steps(task["hosts"].values(), True),
            _steps(task["hosts"].values(), False),
        )
        for play in plays
        for task in play["tasks"]
        if "end" in task["task"].get("duration", {})
    ]
    return Run(seconds, tuple(tasks))
