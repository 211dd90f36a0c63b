# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server in a container, by its own programs in that container: its socket, its user, its environment.

``docker exec`` by argv lists, never a shell.  What is secret goes to it by the environment of the client, and by name alone
on its command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from ...engine.host.engine import Engine
from ..programs import first_complaint
from . import inventory

_CHUNK = 1024 * 1024
# Error output that is kept: its begin says why, its end repeats it.
_KEPT = 64 * 1024
# Seconds after which one that listens on its socket alone is taken for started.
_TCP = 8.0
PSQL = ("psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1")


class PostgresFailed(Exception):
    """A program of the server failed; the message is its own first complaint, fit for a user."""

    def __init__(self, what: str, stderr: str = "") -> None:
        super().__init__(f"{what}: {first_complaint(stderr)}" if stderr.strip() else what)
        self.stderr = stderr


@dataclass(frozen=True)
class Server:
    """Where to connect to, from inside a container.

    :ivar container: the container's id.
    :ivar settings: libpq's variables, where the server is not in that container.
    """

    container: str
    user: str
    database: str
    password: str = field(default="", repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)

    def begin(
        self,
        words: Sequence[str],
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        detached: bool = False,
        name: str = "evenkeel-backup",
    ) -> subprocess.Popen[bytes]:
        """Start one of the server's programs beside it.

        :param name: by which the server knows the session.
        :raises PostgresFailed: there is no Docker client.
        """
        own = {**self.settings, "PGAPPNAME": name, "PGCLIENTENCODING": "UTF8", "PGCONNECT_TIMEOUT": "30"}
        if self.password:
            own["PGPASSWORD"] = self.password
        argv = ["docker", "exec"]
        argv += ["--detach"] if detached else [] if stdin == subprocess.DEVNULL else ["--interactive"]
        for key in sorted(own):
            argv += ["--env", key]
        # The SDK knows no contexts: the command line has to speak to the same engine.
        environment = {k: v for k, v in os.environ.items() if k != "DOCKER_CONTEXT"}
        environment.setdefault("DOCKER_HOST", "unix:///var/run/docker.sock")
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(
                [*argv, self.container, *words], stdin=stdin, stdout=pipe, stderr=pipe, env={**environment, **own}
            )
        except OSError as error:
            raise PostgresFailed(f"docker exec could not be started: {error.strerror}") from error

    def words(self, *program: str) -> list[str]:
        """A program's command line with whom to connect as, and without a question for a password."""
        return [*program, "--username", self.user, "--no-password"]

    def run(self, words: Sequence[str], stdin: IO[bytes] | bytes = b"", timeout: float = 600.0) -> str:
        """Run a program to its end and return what it printed.

        :raises PostgresFailed: it failed, or took longer than ``timeout`` seconds.
        """
        given = isinstance(stdin, bytes)
        process = self.begin(words, subprocess.PIPE if given else stdin)  # type: ignore[arg-type]
        try:
            out, complaints = process.communicate(stdin if given else None, timeout)  # type: ignore[arg-type]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise PostgresFailed(f"{words[0]} did not end in {timeout:g} s") from None
        if process.returncode != 0:
            raise PostgresFailed(
                f"{words[0]} ended with exit code {process.returncode}", _text(complaints) or "no words"
            )
        return _text(out)

    def stream(self, words: Sequence[str], sink: Callable[[bytes], None], timeout: float, name: str) -> None:
        """Run a program and hand on what it prints as it comes.

        :param sink: what it raises ends the program.
        :raises PostgresFailed: it failed, or took longer than ``timeout`` seconds.
        """
        process = self.begin(words, name=name)
        complaints = _Drain(process.stderr)
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout, end)
        timer.daemon = True
        timer.start()
        try:
            while process.stdout is not None:
                part = process.stdout.read(_CHUNK)
                if not part:
                    break
                sink(part)
            code = process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        if late.is_set():
            raise PostgresFailed(f"{words[0]} did not end in {timeout:g} s")
        if code != 0:
            raise PostgresFailed(f"{words[0]} ended with exit code {code}", complaints.text() or "no words")

    def feed(self, words: Sequence[str], parts: Iterable[bytes], timeout: float) -> None:
        """Run a program that is given what comes, part after part; what it prints is of no interest.

        :param parts: what it raises ends the program.
        :raises PostgresFailed: it failed, or took longer than ``timeout`` seconds.
        """
        process = self.begin(words, subprocess.PIPE)
        complaints, _said = _Drain(process.stderr), _Drain(process.stdout)
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout, end)
        timer.daemon = True
        timer.start()
        try:
            # A program that fails reads no further; its own words say more than the pipe that broke.
            with contextlib.suppress(BrokenPipeError):
                if process.stdin is not None:
                    for part in parts:
                        process.stdin.write(part)
                    process.stdin.close()
            code = process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            with contextlib.suppress(OSError):
                if process.stdin is not None:
                    process.stdin.close()
        if late.is_set():
            raise PostgresFailed(f"{words[0]} did not end in {timeout:g} s")
        if code != 0:
            raise PostgresFailed(f"{words[0]} ended with exit code {code}", complaints.text() or "no words")


class Snapshot:
    """A transaction that keeps a snapshot of the database while it is dumped, and counts in it.

    It ends when we do, however: its input is then at its end.  A dump would go on, unread, and hold its locks: so the server
    is told to end it as soon as this session is gone.
    """

    def __init__(self, server: Server, lock_timeout: float) -> None:
        self.name = f"evenkeel-backup-{secrets.token_hex(8)}"
        self._server = server
        key = secrets.randbits(62)
        words = [*server.words(*PSQL), "--dbname", server.database]
        self._process = server.begin(words, subprocess.PIPE)
        self._complaints = _Drain(self._process.stderr)
        try:
            self._say(f"SELECT FROM pg_catalog.pg_advisory_lock({key});\n{inventory.BEGIN}")
            self._say(f"SET LOCAL lock_timeout = {int(lock_timeout * 1000)};\n{inventory.SNAPSHOT}")
            report = {}
            for line in self._answer():
                report.update(_json(line))
            self.id, self.size = str(report["snapshot"]), int(report["size"])
            gone = f"SELECT pg_advisory_lock({key})"
            end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{self.name}'"
            self._server.begin([*words, "--command", gone, "--command", end], detached=True).communicate()
        except BaseException:
            self.close()
            raise

    def inventory(self) -> dict[str, Any]:
        """What is in the database as the dump sees it.

        :raises PostgresFailed: it could not be counted.
        """
        self._say(inventory.INVENTORY)
        return inventory.read(self._answer())

    def close(self) -> None:
        """End the transaction."""
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()

    def _say(self, text: str) -> None:
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(text.encode())
                self._process.stdin.flush()
        except BrokenPipeError:
            raise PostgresFailed("the session in the database ended", self._complaints.text()) from None

    def _answer(self) -> Iterator[str]:
        for line in self._process.stdout or ():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if text == inventory.END:
                return
            if text:
                yield text
        raise PostgresFailed("the session in the database ended", self._complaints.text())


class _Drain:
    """The error output of a process, read while it runs."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes] | None) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in stream or ():
                if len(self._kept) < _KEPT:
                    self._kept += line

    def text(self) -> str:
        self._thread.join(5.0)
        return _text(bytes(self._kept))


def _text(words: bytes) -> str:
    return words.decode("utf-8", "replace")


def _json(line: str) -> dict[str, Any]:
    return dict(json.loads(line))


def inventory_of(server: Server) -> dict[str, Any]:
    """What is in a database now.

    :raises PostgresFailed: it could not be asked.
    """
    script = f"{inventory.BEGIN}{inventory.INVENTORY}COMMIT;\n"
    printed = server.run([*server.words(*PSQL), "--dbname", server.database], script.encode(), 3600.0)
    return inventory.read(line for line in printed.splitlines() if line and line != inventory.END)


def access_of(server: Server) -> dict[str, Any]:
    """Who owns and who may do what in a database now; see ``postgres.access``.

    :raises PostgresFailed: it could not be asked.
    """
    printed = server.run([*server.words(*PSQL), "--dbname", server.database], inventory.ACCESS.encode())
    return _json(printed)


def rights_of(server: Server) -> dict[str, Any]:
    """What the user of a server may do there; see ``postgres.external_database.missing_rights``.

    :raises PostgresFailed: it could not be asked.
    """
    return _json(server.run([*server.words(*PSQL), "--dbname", server.database], inventory.RIGHTS.encode()))


def await_server(engine: Engine, server: Server, patience: float) -> None:
    """Wait until a server that is being started answers.

    On TCP first: while an image makes its cluster, a server answers on the socket that is about to end.

    :raises PostgresFailed: it does not in ``patience`` seconds.
    """
    if server.settings:
        # One that is elsewhere has answered already.
        return
    asked = ["pg_isready", "--quiet", "--username", server.user]
    began = time.monotonic()
    while time.monotonic() - began < patience:
        for where in (["--host", "127.0.0.1"], []) if time.monotonic() - began > _TCP else (["--host", "127.0.0.1"],):
            if engine.run_inside(server.container, [*asked, *where])[0] == 0:
                return
        time.sleep(0.3)
    raise PostgresFailed(f"the server did not answer in {patience:g} s")


def server_in(engine: Engine, inspection: Mapping[str, Any], database: str = "") -> Server:
    """The server of a container, by the container's own environment, as the images of PostgreSQL take it."""
    given = [str(entry).partition("=") for entry in (inspection.get("Config") or {}).get("Env") or []]
    environment = {key: value for key, _is, value in given}
    container = str(inspection["Id"])

    def value(*names: str) -> str:
        for name in names:
            if environment.get(name):
                return environment[name]
            path = environment.get(f"{name}_FILE")
            if path:
                code, text = engine.run_inside(container, ["cat", path], errors_too=False)
                if code == 0:
                    return text.rstrip("\r\n")
        return ""

    user = value("POSTGRES_USER", "POSTGRESQL_USERNAME") or "postgres"
    name = database or value("POSTGRES_DB", "POSTGRESQL_DATABASE") or user
    return Server(container, user, name, value("POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD"))


def asked(server: Server, script: str, timeout: float) -> list[dict[str, Any]]:
    """What a question outside of any transaction is answered; nothing where it cannot be asked."""
    words = [*server.words(*PSQL), "--dbname", server.database]
    try:
        printed = server.run(words, script.encode(), timeout)
    except PostgresFailed:
        return []
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
