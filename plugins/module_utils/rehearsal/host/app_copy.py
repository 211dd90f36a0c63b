# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The throw-away copy of an app in which an update is rehearsed: made, bounded while it is there, and taken away.

Its folder is a project folder like that of a release, with a state directory of its own: so whatever works on a release
works on it, by the same code, and without the lock of the app.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...backup.backups import login_statements
from ...base.host.files import private_directory, write_private
from ...base.secret_values import MARK
from ...engine.definition import GENERATED
from ...engine.host import app_script
from ...engine.host.compose import Compose, ComposeFailed
from ...engine.host.engine import Engine
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL
from ...engine.host.interpreter import words_for
from ...operation.host.journal import Fence, FencedOff
from ...operation.host.progress import Progress
from ...postgres.host.server import PSQL, Server
from ...postgres.host.throwaway_server import restore
from ...releases.release_commands import last_lines
from ..inside import requests as rehearsal_requests
from .scratch import Scratch, sweep

FOLDER = "rehearsals"
# A cluster that holds nothing yet need not survive anything; what is measured later has to be as slow as production is.
_HASTE = ("fsync", "full_page_writes", "synchronous_commit")
_LOOK = 0.5


class Rehearsed(Exception):
    """It did not go well in the rehearsal; the message says what, production was not touched."""

    def __init__(self, what: str, advice: str = "", output: str = "") -> None:
        super().__init__(what)
        self.advice = advice
        self.output = output


def clear(engine: Engine, project: str, state_dir: str) -> None:
    """Take away what a killed call left."""
    sweep(engine, project)
    shutil.rmtree(os.path.join(state_dir, FOLDER), ignore_errors=True)


@dataclass
class Stage:
    """One rehearsal's copy.

    :param definition: see ``rehearsal.rehearsal.rehearsal_project``.
    :param before: the same of the version that serves, where it has something to finish.
    :param images: service → the image's configuration.
    :param spare: bytes that are to be left on the engine's disk, ``disk``.
    :param until: monotonic seconds at which it is given up.
    """

    engine: Engine
    project: str
    state_dir: str
    definition: Mapping[str, Any]
    images: Mapping[str, Mapping[str, Any]]
    fence: Fence
    progress: Progress
    disk: str
    spare: int
    until: float
    before: Mapping[str, Any] = field(default_factory=dict)

    _why: Exception | None = None

    @property
    def name(self) -> str:
        return str(self.definition["name"])

    @property
    def folder(self) -> str:
        """The project folder of the new version, as modules take it."""
        return os.path.join(self.state_dir, FOLDER, self.name)

    @property
    def folder_before(self) -> str:
        """The same of the version that serves."""
        return f"{self.folder}-before"

    def left(self) -> float:
        """Seconds that there still are."""
        return max(1.0, self.until - time.monotonic())

    @contextlib.contextmanager
    def set_up(self) -> Iterator[None]:
        """Have it there while the block runs.

        :raises Rehearsed: it was given up, since time, disk or lock were.
        """
        ended = threading.Event()
        watch = threading.Thread(target=self._watch, args=(ended,), daemon=True)
        private_directory(os.path.join(self.state_dir, FOLDER))
        for folder, definition in ((self.folder, self.definition), (self.folder_before, self.before)):
            if definition:
                private_directory(folder)
                write_private(os.path.join(folder, GENERATED), json.dumps({**definition, MARK: {}}))
        watch.start()
        try:
            yield
        except Exception as error:
            if self._why is not None:
                raise self._why from error
            raise
        finally:
            ended.set()
            watch.join(10.0)
            self.engine.remove_labelled(f"{PROJECT_LABEL}={self.name}", lambda name: False)
            for folder in (self.folder, self.folder_before):
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self.folder))
        if self._why is not None:
            raise self._why

    def _watch(self, ended: threading.Event) -> None:
        """Give it up where it takes what others need: its containers go, and whoever waits for them is told."""
        while not ended.wait(_LOOK):
            try:
                self.fence.check()
                disk = os.statvfs(self.disk)
                if time.monotonic() > self.until:
                    self._why = Rehearsed("it took longer than it may", "give it more time (update_rehearsal.timeout)")
                elif disk.f_bavail * disk.f_frsize < self.spare:
                    self._why = Rehearsed(
                        f"less than {self.spare // 2**20} MiB would have been left on the disk of {self.disk}",
                        "make room there, or leave the rehearsal out (update_rehearse: false)",
                    )
            except FencedOff as error:
                self._why = error
            except OSError:
                continue
            if self._why is not None:
                with contextlib.suppress(Exception):
                    self.engine.remove_labelled(f"{PROJECT_LABEL}={self.name}", lambda name: False)
                return

    def compose(self) -> Compose:
        """Its project."""
        return Compose(self.folder, (), (), (), self.name)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        found = self.engine.containers({PROJECT_LABEL: self.name, SERVICE_LABEL: service, ONE_OFF_LABEL: "False"})
        return str(found[0]["Id"]) if found else "-"

    def serve(self, servers: Sequence[str]) -> None:
        """Start databases and brokers, and wait until they are there.

        :raises TestsFailed: they are not.
        """
        services = {name: self.definition["services"][name] for name in servers}
        some = {**self.definition, "services": services, "volumes": {}}
        Scratch(self.engine, self.compose(), some, self.images, self.fence, self.progress, "rehearsal").serve()

    def restore(self, service: str, user: str, path: str, manifest: Mapping[str, Any]) -> float:
        """Restore a dump into the server, and let its app in; returns the seconds that it took.

        :raises PostgresFailed: it cannot be restored.
        """
        server = Server(self.container(service), user, "template1")
        psql = [*server.words(*PSQL), "--dbname", "template1"]
        began = time.monotonic()
        server.run(psql, "".join(f"ALTER SYSTEM SET {name} = off;\n" for name in _HASTE).encode() + _RELOAD)
        restore(server, path, "", manifest.get("roles") or [], self.left())
        server.run(psql, "\n".join(login_statements(manifest.get("roles") or [], [user])).encode())
        took = round(time.monotonic() - began, 1)
        # How large a table is decides how it is migrated, and nobody has looked yet.
        server.run(
            [*server.words("vacuumdb"), "--quiet", "--analyze", "--dbname", str(manifest["database"])], b"", self.left()
        )
        server.run(
            psql, "".join(f"ALTER SYSTEM RESET {name};\n" for name in _HASTE).encode() + b"CHECKPOINT;\n" + _RELOAD
        )
        return took

    def start(self, service: str) -> None:
        """Start a service of the app as its definition says.

        :raises Rehearsed: it cannot be.
        """
        words = ["up", "--detach", "--no-deps", "--no-build", "--no-recreate", "--pull", "never", service]
        with self.fence.act(f"start {service} of {self.name}"):
            try:
                self.compose().run(*words, timeout=self.left())
            except ComposeFailed as error:
                raise Rehearsed(f"{service} could not be started: {error}") from error

    def ask(
        self, service: str, port: int, ready: Mapping[str, Any], requests: Sequence[Mapping[str, Any]],
        headers: Mapping[str, str], patience: float, each: float,
    ) -> dict[str, Any]:  # fmt: skip
        """Have a service asked in its own container.

        :param patience: seconds in which it has to become ready; ``each``: that one request may take.
        :raises Rehearsed: it ended, or cannot be asked.
        """
        container, arguments = self.container(service), [port, ready, requests, headers, patience, each]
        script = app_script.as_text((rehearsal_requests,), arguments)
        most = min(self.left(), patience + 10.0 + each * (1 + len(requests)))
        found: list[tuple[int, str]] = []
        asked = threading.Thread(
            target=lambda: found.append(self.engine.run_inside(container, [*words_for(), "-c", script], timeout=most)),
            daemon=True,
        )
        asked.start()
        while asked.is_alive():
            asked.join(0.2)
            state = self.engine.inspect(container).get("State") or {}
            if not state.get("Running"):
                killed = ", since its memory was not enough" if state.get("OOMKilled") else ""
                raise Rehearsed(
                    f"{service} ended by itself (exit code {state.get('ExitCode')}){killed}", "", self.said(service)
                )
        code, printed = found[0] if found else (126, "")
        report = app_script.answer_in(printed)
        if report is None:
            last = (last_lines(printed, 1) or ["nothing was printed"])[-1][:200]
            raise Rehearsed(f"{service} could not be asked (exit code {code}): {last}", "", self.said(service))
        return report

    def said(self, service: str) -> str:
        """What a service has printed, without the lines in which a database quotes rows."""
        lines = self.engine.logs(self.container(service), 2000).splitlines()
        return "\n".join(line for line in lines if not line.lstrip().startswith(("DETAIL:", "CONTEXT:")))


_RELOAD = b"SELECT pg_catalog.pg_reload_conf();\n"


def disk_device(folder: str) -> str:
    """The disk that a folder is on, empty where that is none that can be bounded (several, or of a network)."""
    try:
        number = os.stat(folder).st_dev
        place = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    except OSError:
        return ""
    if os.path.exists(os.path.join(place, "partition")):
        place = os.path.dirname(place)
    device = os.path.join("/dev", os.path.basename(place))
    return device if os.path.isdir(place) and os.path.exists(device) else ""


def timed(
    entries: list[dict[str, Any]], now: Callable[[], str]
) -> Callable[[str, str], contextlib.AbstractContextManager[None]]:
    """A timeline whose entries last as long as the blocks that they are put around."""

    @contextlib.contextmanager
    def step(name: str, service: str) -> Iterator[None]:
        began, started, result = time.monotonic(), now(), "failed"
        try:
            yield
            result = "ok"
        finally:
            seconds = round(time.monotonic() - began, 3)
            entries.append(
                {
                    "step": name,
                    "service": service,
                    "container": "",
                    "started": started,
                    "seconds": seconds,
                    "result": result,
                }
            )

    return step
