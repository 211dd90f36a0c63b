# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Celery workers as nodes of their own: whether one consumes, its tasks, and telling it to stop or go on consuming.

Why at all: on a warm shutdown Celery hands back what it had fetched and not yet acknowledged, and a task that its
pool had just begun is among that, so it runs twice (seen: 1 of 8,585).  A worker that was told to fetch nothing
more, and has nothing left, hands nothing back.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from ...base.host import processes
from ...base.host.directory_handles import read_file
from ...engine.answer import Answer
from ...engine.commands import words_of
from ...engine.host.app_script import source_of
from ...engine.host.engine import Engine
from ...engine.host.inspection import pid_of, started_at
from ..command_line import Node, is_ready_by, node_of
from ..inside import worker

#: Seconds that one visit waits at most for a worker's tasks to end.
VISIT = 5.0
# Seconds for which a question leaves the processors to those who are served: the app's Python takes 0.8 s of one (measured).
_BEHIND = 5.0
# Seconds in which one that logs that it is ready need not be asked; another handler of its app's may swallow that line.
_TELLS = 6.0
# Of its log; tasks that it has run since may have written some.
_LINES = 200


class CeleryNodes:
    """The workers of one engine; inspections are those of a fresh look."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._script = source_of(worker)
        self._known: dict[tuple[str, str], tuple[Node | None, dict[str, str], str]] = {}
        self._quiet: dict[str, bool] = {}
        self._answered: set[tuple[str, str]] = set()
        self._idle: set[tuple[str, str]] = set()

    # -- what is known without asking the worker -----------------------------------------------------------

    def node(self, inspection: Mapping[str, Any]) -> Node | None:
        """The node that a container's process is, None where it cannot be addressed alone."""
        return self._of(inspection)[0]

    def consumes(self, inspection: Mapping[str, Any]) -> bool | None:
        """False where it was told to fetch nothing more, None where it could not be told."""
        if self.node(inspection) is None:
            return None
        return not self._is_quiet(inspection)

    def _of(self, inspection: Mapping[str, Any]) -> tuple[Node | None, dict[str, str], str]:
        """Node, environment and working directory of the worker's own process."""
        key = _life(inspection)
        pid = pid_of(inspection)
        if not pid:
            return None, {}, ""
        if key not in self._known or self._known[key][0] is None:
            self._known[key] = self._find(inspection, pid)
        return self._known[key]

    def _find(self, inspection: Mapping[str, Any], pid: int) -> tuple[Node | None, dict[str, str], str]:
        config = inspection.get("Config") or {}
        hostname = str(config.get("Hostname") or "")
        # An entrypoint may set variables and change the folder, which a command run beside it knows nothing of.
        for process in sorted(processes.tree(pid), key=lambda p: p.started):
            environment = processes.environment(process.pid)
            node = node_of(processes.words(process.pid), hostname, environment)
            if node:
                return node, environment, processes.folder(process.pid)
        words = words_of(config.get("Entrypoint")) + words_of(config.get("Cmd"))
        return node_of(words, hostname, {}), {}, ""

    def _is_quiet(self, inspection: Mapping[str, Any]) -> bool:
        pid, identity = pid_of(inspection), str(inspection["Id"])
        path = f"/proc/{pid}/root{_mark(identity)}"
        try:
            text = read_file(path).decode("utf-8", "replace")
        except FileNotFoundError:
            return False
        except OSError:
            # Without root the host does not see into a container; one question to it, then what this run did counts.
            if identity not in self._quiet:
                code, text = self._engine.run_inside(identity, ["cat", _mark(identity)], errors_too=False)
                self._quiet[identity] = code == 0 and _said(text) == _started(inspection)
            return self._quiet[identity]
        return _said(text) == _started(inspection)

    # -- speaking to it ------------------------------------------------------------------------------------

    def ping(self, inspection: Mapping[str, Any]) -> Answer:
        """Whether it answers: then it has its broker and its queues."""
        key = _life(inspection)
        # Each question starts the app's Python anew, which costs a second of a processor; it is asked for the first yes,
        # and only where its log does not have it.
        if key in self._answered:
            return Answer(True)
        node = self.node(inspection)
        if node and node.tells:
            if is_ready_by(node, self._engine.logs(key[0], _LINES, times=True), key[1]):
                self._answered.add(key)
                return Answer(True)
            if time.time() - started_at(inspection) < _TELLS:
                return Answer(False, "it has not logged yet that it is ready")
        answer, problem = self._ask(inspection, "ping")
        if answer.get("ok"):
            self._answered.add(key)
        return Answer(bool(answer.get("ok")), problem or "it does not answer to celery inspect ping")

    def quiet(self, inspection: Mapping[str, Any]) -> bool:
        """Tell it to fetch nothing more; False where it does not do so."""
        answer, _problem = self._ask(inspection, "quiet")
        self._quiet[str(inspection["Id"])] = bool(answer.get("ok"))
        if answer.get("ok") and answer.get("tasks") == 0:
            self._idle.add(_life(inspection))
        return bool(answer.get("ok"))

    def resume(self, inspection: Mapping[str, Any]) -> bool:
        """Tell it to fetch again; False where it does not do so."""
        answer, _problem = self._ask(inspection, "resume")
        self._quiet[str(inspection["Id"])] = not answer.get("ok")
        self._idle.discard(_life(inspection))
        return bool(answer.get("ok"))

    def tasks(self, inspection: Mapping[str, Any]) -> int | None:
        """How many tasks it has begun or fetched, after waiting a moment for them to end; None where it does not say."""
        if _life(inspection) in self._idle:
            return 0
        answer, _problem = self._ask(inspection, "tasks")
        count = answer.get("tasks")
        return int(count) if isinstance(count, int) else None

    def queued(self, inspection: Mapping[str, Any]) -> tuple[dict[str, int], int] | None:
        """Tasks that wait in each of its queues, and how many it has fetched itself; None where it does not say."""
        answer, _problem = self._ask(inspection, "queued")
        counts = answer.get("queued")
        if not isinstance(counts, dict):
            return None
        return {str(queue): int(count) for queue, count in counts.items()}, int(answer.get("fetched") or 0)

    def _ask(self, inspection: Mapping[str, Any], act: str) -> tuple[dict[str, Any], str]:
        node, environment, folder = self._of(inspection)
        if node is None:
            return {}, "it cannot be addressed alone"
        identity = str(inspection["Id"])
        if node.broker:
            environment = {**environment, "CELERY_BROKER_URL": node.broker}
        argv = [node.interpreter, "-c", self._script, act, node.app, node.name, _mark(identity), _started(inspection)]
        code, output = self._engine.run_inside(
            identity, [*argv, str(VISIT)], timeout=VISIT + 20.0, errors_too=False, environment=environment,
            folder=folder, behind=0.0 if act == "resume" else _BEHIND,
        )  # fmt: skip
        for line in reversed(output.splitlines()):
            if line.startswith(worker.MARK):
                with contextlib.suppress(ValueError):
                    found: dict[str, Any] = json.loads(line[len(worker.MARK) :])
                    return found, ""
        last = (output.strip().splitlines() or ["it printed nothing"])[-1][:200]
        return {}, f"asking it ended with {code}: {last}"


def _started(inspection: Mapping[str, Any]) -> str:
    return str((inspection.get("State") or {}).get("StartedAt") or "")


def _life(inspection: Mapping[str, Any]) -> tuple[str, str]:
    """A container from one start to the next."""
    return str(inspection["Id"]), _started(inspection)


def _mark(identity: str) -> str:
    """The file inside the container that says it was told to be quiet: it goes when the container stops."""
    return os.path.join("/dev/shm", f"evenkeel-quiet-{identity[:12]}")


def _said(text: str) -> str:
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(text).get("said") or "")
    return ""
