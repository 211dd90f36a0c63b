# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container of a service for one question to its Django, or one order, with the entrypoint bypassed.

A container that works on a database is never ended by us: it ends by itself, and whoever comes next waits for it.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...base.errors import BadInput
from ...base.host import known_secrets
from ...engine.host import app_script, interpreter, staying
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.interactive_process import InteractiveProcess
from ...engine.host.one_offs import ONE_OFF, sweep, take_away

_SAID = "EVENKEEL+ "
# Seconds for a client to end after its container has: it takes that away.
_LEAVES = 60.0
# What Compose's or Python's last words mean, with what to do about it.
_MEANINGS = (
    ("executable file not found", "the image of {service} has no shell", "set service to the one that runs Django"),
    (interpreter.MISSING, "the image of {service} has no python", "set service to the one that runs Django"),
    ("can't open file", "there is no {manage_py} in the image of {service}", "set manage_py to its path in the image"),
    ("import Django", "the image of {service} has no Django", "set service to the one that runs Django"),
    ("No module named 'django'", "the image of {service} has no Django", "set service to the one that runs Django"),
    (
        "did not end in",
        "asking {service} for its {about} took longer than {timeout:g} s",
        "see whether its database answers; set timeout",
    ),
)


class NoDjango(BadInput):
    """The service is none that runs Django."""


@dataclass(frozen=True)
class OneOff:
    """Where such containers come from.

    :param project: the Compose project's name.
    :param about: what it is asked for, as messages name it.
    :param given: what a script that is asked finds at its input.
    :param over: files of this host that lie over those of the image: path in the container → path.
    :param hurried: whether it has as much of the processors as what serves, since somebody waits for it: in a migration, a table.
    """

    engine: Engine
    compose: Compose
    project: str
    service: str
    manage_py: str
    timeout: float
    about: str = "migrations"
    given: str | None = field(default=None, repr=False)
    over: Mapping[str, str] = field(default_factory=dict)
    hurried: bool = False

    def _compose(self) -> contextlib.AbstractContextManager[Compose]:
        return contextlib.nullcontext(self.compose) if self.hurried else self.compose.stepping_back(self.service)

    def _command(self, purpose: str, stays: bool = False) -> tuple[str, list[str]]:
        # Two at once are two containers: each takes away its own.
        name = f"{self.project}-{purpose}-{uuid.uuid4().hex[:12]}"
        labels = ["--label", f"{ONE_OFF}={name}", "--label", f"evenkeel.{purpose}={self.project}"]
        labels += ["--label", f"{staying.LABEL}={self.project}"] if stays else []
        return name, ["run", "--rm", "-T", "--no-deps", "--name", name, *labels, *self._inside()]

    def _inside(self) -> list[str]:
        """The interpreter that a script is given to, and of which service."""
        mounts = [word for inside, path in self.over.items() for word in ("--volume", f"{path}:{inside}:ro,z")]
        running = interpreter.those_that_run(self.engine, self.project, self.service)
        return [
            *mounts,
            *interpreter.run_by(self.service, running, manage_py=self.manage_py),
            self.manage_py,
            "shell",
            "-c",
        ]

    def ask(self, script: str, stays: bool = False, gone: bool = False) -> dict[str, Any]:
        """What a script that changes nothing tells.

        :param gone: wait until its container, and with it its session of the database, is gone too.
        :param stays: the script waits for one more (``engine/host/staying.py``), in the container that ``asked_in`` of the answer names.
        :raises BadInput: it told nothing.
        """
        name, command = self._command("plan", stays)
        self._sweep("plan", self.timeout)
        try:
            with self._compose() as compose:
                printed = compose.run_until(
                    (lambda _: False) if gone else app_script.has_answered,
                    *command, script, timeout=self.timeout, stdin=self.given, stays=stays,
                )  # fmt: skip
        except ComposeFailed as error:
            sweep(self.engine, name)
            raise self.meaning(str(error)) from error
        answer = self._answer(printed, f"told nothing of its {self.about}")
        return {**answer, "asked_in": name} if stays else answer

    @contextlib.contextmanager
    def talk(self, script: str) -> Iterator[Talk]:
        """A container that tells something, waits for an order, and carries it out; without one it ends when the block does.

        :raises BadInput: it could not be started.
        """
        name, command = self._command("migrate")
        self._sweep("migrate", 7 * 24 * 3600.0)
        try:
            with self._compose() as compose:
                process = InteractiveProcess(compose.begin(*command, script))
        except ComposeFailed as error:
            raise self.meaning(str(error)) from error
        try:
            yield Talk(self, name, process)
        finally:
            process.end(_LEAVES)

    def _answer(self, printed: str, otherwise: str) -> dict[str, Any]:
        report = app_script.answer_in(printed)
        if report is None:
            last = (printed.strip().splitlines() or ["nothing"])[-1]
            raise BadInput(f"{self.service} {otherwise}; it printed: {known_secrets.masked_text(last)[:300]}")
        return report

    def meaning(self, words: str) -> BadInput:
        """What the last words of a process mean that could not even begin."""
        known = {"service": self.service, "manage_py": self.manage_py, "timeout": self.timeout, "about": self.about}
        for sign, what, advice in _MEANINGS:
            if sign in words:
                kind = BadInput if sign == "did not end in" else NoDjango
                return kind(what.format(**known), advice)
        return BadInput(f"{self.service} could not be asked for its {self.about}: {words}")

    def _sweep(self, purpose: str, age: float) -> None:
        """Take away containers whose client must have ended long ago, and such as have ended."""
        oldest = time.time() - age - 60
        for found in self.engine.brief({f"evenkeel.{purpose}": self.project}):
            over = found["State"] in ("exited", "dead")
            if (purpose == "plan" and found["Created"] < oldest) or (purpose == "migrate" and over):
                take_away(self.engine, str(found["Id"]))


def end_those_of(images: Collection[str], engine: Engine, project: str) -> None:
    """End containers of these images that have answered (:meth:`OneOff.ask`) and are on their way out: an image in use cannot be removed.

    :raises EngineFailed: one does not end.
    """
    for inspection in engine.containers({"evenkeel.plan": project}):
        if (inspection.get("Config") or {}).get("Image") in images:
            take_away(engine, str(inspection["Id"]))


@dataclass(frozen=True)
class Talk:
    """What :meth:`OneOff.talk` gives: first :meth:`asked`, then :meth:`ordered`, or nothing more.

    :ivar name: the container's.
    """

    oneoff: OneOff
    name: str
    process: InteractiveProcess

    def asked(self) -> dict[str, Any]:
        """What it tells before anything is ordered.

        :raises BadInput: it told nothing, or not in time; it is ended then, since it has changed nothing.
        """
        lines: list[str] = []

        def read(line: str) -> bool:
            lines.append(line)
            return app_script.answer_in(line) is not None

        def end() -> None:
            with contextlib.suppress(EngineFailed):
                sweep(self.oneoff.engine, self.name)

        if not self.process.read(read, self.oneoff.timeout, end):
            raise self.oneoff.meaning(f"docker compose run did not end in {self.oneoff.timeout:g} s")
        printed = "\n".join(lines)
        if app_script.answer_in(printed) is None:
            complaints = self.process.end(_LEAVES)
            if complaints:
                raise self.oneoff.meaning(complaints)
        return self.oneoff._answer(printed, f"told nothing of its {self.oneoff.about}")

    def ordered(
        self,
        order: Mapping[str, Any],
        act: Callable[[], contextlib.AbstractContextManager[None]],
        on_line: Callable[[str, str, float], None],
    ) -> dict[str, Any]:
        """What it tells of an order, with what it says meanwhile.

        :param act: held while it is told, and no longer.
        :raises BadInput: it told nothing, or has not ended in time; it then goes on by itself.
        """
        lines: list[str] = []

        def read(line: str) -> bool:
            lines.append(line)
            if line.startswith(_SAID):
                with contextlib.suppress(ValueError, KeyError):
                    report = json.loads(line[len(_SAID) :])
                    on_line(str(report["text"]), str(report["step"]), float(report["seconds"]))
            return False

        with act():
            self.process.tell(json.dumps(order))
        timeout = self.oneoff.timeout
        if not self.process.read(read, timeout):
            raise BadInput(
                f"migrating took longer than {timeout:g} s; the container {self.name} goes on with it",
                f"docker logs -f {self.name}; the same call again waits for it and then takes up from what it finds; set timeout",
            )
        complaints, printed = self.process.end(_LEAVES), "\n".join(lines)
        if complaints and not app_script.answer_in(printed):
            raise self.oneoff.meaning(complaints)
        return self.oneoff._answer(printed, "broke off while it migrated, and the same call again goes on from there")
