# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A scratch copy of a project for as long as its tests run; whatever happens, all of it goes again."""

from __future__ import annotations

import contextlib
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...base.host import processes
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.inspection import PROJECT_LABEL, SERVICE_LABEL, health_of, pid_of
from ...operation.host.journal import Fence
from ...operation.host.progress import Progress
from ...releases.release_commands import last_lines
from ..scratch import LABEL, TESTS, awaited_port

#: Seconds in which a fresh database has to be there.
_PATIENCE = 180.0
#: Seconds for which a port is waited for that may be another one.
_PORT_PATIENCE = 60.0
_LINES, _SHOWN = 20000, 40


class TestsFailed(Exception):
    """The tests did not pass, or could not be run; ``output`` is all that was printed."""

    __test__ = False

    def __init__(self, what: str, output: str = "") -> None:
        super().__init__(what)
        self.output = output


def sweep(engine: Engine, project: str) -> None:
    """Take away what a killed call left of its scratch copy."""
    engine.remove_labelled(f"{LABEL}={project}", lambda name: False)


def scratch_name(project: str, purpose: str = "tests") -> str:
    """A name that no project of anybody has."""
    return f"{project}-{purpose}-{secrets.token_hex(4)}"


@dataclass
class Scratch:
    """One scratch copy.

    :param definition: see ``rehearsal.scratch.scratch_project``.
    :param images: service → the image's configuration.
    :param purpose: what it is for, as messages name it.
    """

    engine: Engine
    compose: Compose
    definition: Mapping[str, Any]
    images: Mapping[str, Mapping[str, Any]]
    fence: Fence
    progress: Progress
    purpose: str = "tests"

    @property
    def name(self) -> str:
        return str(self.definition["name"])

    @property
    def servers(self) -> list[str]:
        return [name for name in self.definition["services"] if name != TESTS]

    def run(self, timeout: float) -> str:
        """Run the tests to their end; returns what they printed.

        :param timeout: seconds for the tests alone.
        :raises TestsFailed: they did not pass.
        :raises BadInput: a signal ended it.
        """
        with ended_by_signals("the tests were"):
            try:
                self.serve()
                self._start([TESTS])
                return self._await_tests(timeout)
            finally:
                self.take_away()

    def serve(self) -> None:
        """Start the databases and brokers, and wait until they are there.

        :raises TestsFailed: they are not.
        """
        self._start(self.servers)
        self._await_servers()

    def take_away(self) -> None:
        """Remove all of it."""
        # Its name is its own: whoever has the lock by now has another one.
        self.engine.remove_labelled(f"{PROJECT_LABEL}={self.name}", lambda name: False)

    def _start(self, services: Sequence[str]) -> None:
        if not services:
            return
        own = Compose(self.compose.project_src, (), (), (), self.name)
        words = ["up", "--detach", "--no-build", "--no-recreate", "--pull", "missing", "--quiet-pull", *services]
        with self.fence.act(f"start {self.name}"):
            try:
                own.run_by(self.definition, *words)
            except ComposeFailed as error:
                what = (
                    "the tests could"
                    if services == [TESTS]
                    else f"{' and '.join(services)} for the {self.purpose} could"
                )
                raise TestsFailed(f"{what} not be started: {error}") from error

    def _container(self, service: str) -> dict[str, Any]:
        found = self.engine.containers({PROJECT_LABEL: self.name, SERVICE_LABEL: service})
        return found[0] if found else {}

    # -- databases and brokers -----------------------------------------------------------------------

    def _await_servers(self) -> None:
        """Wait until each server answers, as far as that can be seen from outside."""
        if self.servers:
            self.progress.say(f"{self.purpose}: waits for a scratch {' and '.join(self.servers)}", "test")
        began = time.monotonic()
        seen: dict[str, float] = {}
        while True:
            waited = time.monotonic() - began
            absent = [server for server in self.servers if not self._is_there(server, waited, seen)]
            if not absent:
                return
            if waited > _PATIENCE:
                self._fail(f"a fresh {absent[0]} was not ready within {_PATIENCE:g} s", absent[0])
            self.fence.check()
            time.sleep(0.2)

    def _is_there(self, server: str, waited: float, seen: dict[str, float]) -> bool:
        inspection = self._container(server)
        state = inspection.get("State") or {}
        pid, health = pid_of(inspection), health_of(inspection)
        if state.get("Status") in ("exited", "dead") or not inspection:
            self._fail(f"a fresh {server}, with the environment of the real one and no data, ended by itself", server)
        if pid is None or health not in ("", "healthy"):
            return False
        # An image may first run a half-made server, which its health command takes for the real one (PostgreSQL's does).
        port = awaited_port(self.images[server], self.definition["services"][server])
        if port and processes.listens(pid, port) is False and waited < _PORT_PATIENCE:
            return False
        seen.setdefault(server, waited)
        return health == "healthy" or waited - seen[server] > 1.0

    def _fail(self, what: str, service: str) -> None:
        output = self.engine.logs(str(self._container(service).get("Id") or "-"), _LINES)
        raise TestsFailed(what + output_tail(output, 15), output)

    # -- the tests -----------------------------------------------------------------------------------

    def _await_tests(self, timeout: float) -> str:
        container = str(self._container(TESTS).get("Id") or "-")
        threading.Thread(target=self._tell, args=(container,), daemon=True).start()
        began = time.monotonic()
        while True:
            state = self.engine.inspect(container).get("State") or {}
            over = state.get("Status") not in ("created", "running", "restarting", "paused")
            if over or time.monotonic() - began > timeout:
                break
            self.fence.check()
            time.sleep(0.1 if time.monotonic() - began < 5 else 0.5)
        output = self.engine.logs(container, _LINES)
        problem = _problem(state, over, timeout)
        if problem:
            raise TestsFailed(f"the tests {problem}", output)
        return output

    def _tell(self, container: str) -> None:
        """Show what the tests print while they run, a line every now and then."""
        # Only shown: that it cannot be read says nothing of the tests.
        with contextlib.suppress(Exception):
            last, rest = 0.0, ""
            for part in self.engine.api.logs(container, stdout=True, stderr=True, stream=True, follow=True):
                *lines, rest = (rest + part.decode("utf-8", "replace")).split("\n")
                shown = last_lines("\n".join(lines), 1)
                if shown and time.monotonic() - last > 2.0:
                    self.progress.say(f"tests: {shown[0]}", "test")
                    last = time.monotonic()


def output_tail(output: str, count: int = _SHOWN) -> str:
    """The end of an output, to be put under a sentence about it."""
    lines = last_lines(output, count)
    return ":\n  " + "\n  ".join(lines) if lines else ", and nothing was printed"


def _problem(state: Mapping[str, Any], over: bool, timeout: float) -> str:
    if not state:
        return "did not end: somebody removed their container"
    if not over:
        return f"did not end in {timeout:g} s"
    if state.get("OOMKilled"):
        return "were killed, since they took more memory than their service may"
    code = int(state.get("ExitCode") or 0)
    why = f" ({state['Error']})" if state.get("Error") else ""
    return f"failed (exit code {code}){why}" if code else ""


@contextlib.contextmanager
def ended_by_signals(what: str) -> Iterator[None]:
    """Let a signal end the block as an error would, so that what was made is taken away.

    :param what: with its verb, as in "the tests were".
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    # Started with nohup, a lost terminal is none of its business.
    mine = [n for n, handler in kept.items() if handler is not signal.SIG_IGN]

    def end(number: int, frame: Any) -> None:
        for one in mine:
            signal.signal(one, signal.SIG_IGN)
        raise BadInput(f"{what} ended by {signal.Signals(number).name}", "run the same command again")

    for one in mine:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in mine:
            signal.signal(one, kept[one])
