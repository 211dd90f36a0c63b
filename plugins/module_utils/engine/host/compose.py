# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker Compose, by its command line: always absolute paths, argv lists, and never the caller's shell variables."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable

from ...base.host import known_secrets, processor_share
from ...base.host.file_lock import held_for_acts
from ...base.host.files import read_json
from ...base.secret_values import MARK
from ..definition import GENERATED, with_contexts, without_contexts


class ComposeFailed(Exception):
    """Compose refused or failed; the message is its own last words, fit for a user."""


def environment() -> dict[str, str]:
    """This process's own, without what would lead Docker's commands elsewhere."""
    # COMPOSE_FILE and its like in an admin's shell must not change what a deployment means.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COMPOSE_") and k != "PWD"}
    # The SDK knows no contexts: the command line has to speak to the same engine.
    environment.pop("DOCKER_CONTEXT", None)
    environment.setdefault("DOCKER_HOST", "unix:///var/run/docker.sock")
    return environment


# What Compose quotes after these words is a piece of an environment file: values, so secrets.
_QUOTES_A_VALUE = re.compile(r"(in variable name|unterminated quoted value|[Ii]nvalid template:) .*")
_INTERPOLATION = re.compile(r"(invalid interpolation format for [^\s:]+).*")
_DECORATION = re.compile(r'^time="[^"]*" level=\w+ msg="(.*)"$')


def stderr_summary(stderr: str) -> str:
    """The last line of an error output that says something, without log decoration and without values."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and "level=warning" not in line]
    for line in lines:
        for pattern in (_QUOTES_A_VALUE, _INTERPOLATION):
            if pattern.search(line):
                # A value may go on over the lines that follow.
                return pattern.sub(r"\1 (not shown, it may be secret)", line)
    return _DECORATION.sub(r"\1", lines[-1]).replace('\\"', '"') if lines else "it gave no reason"


# Seconds between two looks at what a command has printed.
_GLANCE = 0.02


@contextlib.contextmanager
def _memory(text: str = "") -> Iterator[BinaryIO]:
    """A file that is in memory only, to be read from its beginning."""
    with os.fdopen(os.memfd_create("evenkeel"), "r+b") as stream:
        stream.write(text.encode())
        stream.seek(0)
        yield stream


@contextlib.contextmanager
def _input(text: str, stays: bool) -> Iterator[tuple[BinaryIO, tuple[int, ...]]]:
    """What a process reads, and descriptors that it keeps: of a pipe the other end too, so that it never reads an end of file."""
    if not stays:
        with _memory(text) as stream:
            yield stream, ()
        return
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb"):
        yield stream, (writer,)


def _text_in(stream: BinaryIO) -> str:
    return os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0).decode("utf-8", "replace")


@dataclass(frozen=True)
class Compose:
    """One Compose project: where it lies and how it is named.

    :ivar project_src: absolute directory.
    :ivar files: Compose files, absolute or relative to it; empty for Compose's own choice.
    :ivar inherited: descriptors that Compose keeps open, since ``files`` names them.
    """

    project_src: str
    files: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    project_name: str = ""
    inherited: tuple[int, ...] = ()

    def argv(self, *words: str) -> list[str]:
        """The whole command line for a Compose sub-command."""
        argv = ["docker", "compose", "--ansi", "never", "--project-directory", self.project_src]
        if self.project_name:
            argv += ["--project-name", self.project_name]
        for path in self.files:
            argv += ["--file", os.path.join(self.project_src, path)]
        for path in self.env_files:
            argv += ["--env-file", os.path.join(self.project_src, path)]
        for profile in self.profiles:
            argv += ["--profile", profile]
        return argv + list(words)

    def run(self, *words: str, timeout: float = 600.0, stdin: str | None = None) -> str:
        """Run a sub-command and return what it printed.

        :raises ComposeFailed: non-zero exit, or longer than ``timeout`` seconds.
        """
        try:
            done = subprocess.run(
                self.argv(*words),
                cwd=self.project_src,
                env=environment(),
                input=stdin,
                timeout=timeout,
                capture_output=True,
                text=True,
                check=False,
                pass_fds=(*held_for_acts, *self.inherited),
            )
        except subprocess.TimeoutExpired as error:
            raise ComposeFailed(f"docker compose {words[0]} did not end in {timeout:g} s") from error
        except OSError as error:
            raise ComposeFailed(f"docker compose could not be started: {error}") from error
        if done.returncode != 0:
            raise ComposeFailed(stderr_summary(done.stderr))
        return done.stdout

    def run_until(
        self,
        enough: Callable[[str], bool],
        *words: str,
        timeout: float = 600.0,
        stdin: str | None = None,
        stays: bool = False,
    ) -> str:
        """Run a sub-command until what it has printed is enough; without that all that it printed.

        Nobody waits for what comes after it: an app's Python takes a while to end, and the engine to remove its container.

        :param stays: keep its input open, for more that it will be given (``staying.py``); ``stdin`` is not used then.
        :raises ComposeFailed: non-zero exit before that, or longer than ``timeout`` seconds.
        """
        # It writes to memory, not to pipes: it would be killed by the first word after this process has ended.
        with _memory() as printed, _memory() as complaints:
            try:
                with _input(stdin or "", stays) as (given, kept):
                    process = subprocess.Popen(
                        self.argv(*words), cwd=self.project_src, env=environment(), stdin=given, stdout=printed,
                        stderr=complaints, pass_fds=(*held_for_acts, *self.inherited, *kept),
                    )  # fmt: skip
            except OSError as error:
                raise ComposeFailed(f"docker compose could not be started: {error}") from error
            deadline, seen = time.monotonic() + timeout, -1
            while True:
                ended, size = process.poll() is not None, os.fstat(printed.fileno()).st_size
                if ended or size > seen:
                    seen, text = size, _text_in(printed)
                    if enough(text) or process.returncode == 0:
                        return text
                if ended:
                    raise ComposeFailed(stderr_summary(_text_in(complaints)))
                if time.monotonic() > deadline:
                    process.kill()
                    process.wait()
                    raise ComposeFailed(f"docker compose {words[0]} did not end in {timeout:g} s")
                time.sleep(_GLANCE)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start a sub-command that is attended to afterwards, see ``engine/host/interactive_process.py``.

        :raises ComposeFailed: it could not be started.
        """
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(
                self.argv(*words), cwd=self.project_src, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe,
                text=True, errors="replace", pass_fds=self.inherited,
            )  # fmt: skip
        except OSError as error:
            raise ComposeFailed(f"docker compose could not be started: {error}") from error

    def version(self) -> str:
        """Compose's own version, empty when there is no Compose v2."""
        try:
            done = subprocess.run(
                ["docker", "compose", "version", "--short"],
                capture_output=True,
                text=True,
                check=False,
                timeout=30.0,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    def resolved(self) -> dict[str, Any]:
        """The project as Compose understands it: variables filled in, paths absolute, ``env_file`` merged.

        Dollar signs are doubled in it, so that written to a file it means the same again.  What is secret in it, and in
        the environment files beside it, is told nowhere from then on.
        """
        known_secrets.learn_files(self.project_src, self.env_files or (".env",))
        project = self._resolved()
        known_secrets.learn_project(project)
        return project

    def _resolved(self) -> dict[str, Any]:
        # A release's own file is resolved already: asking Compose twice more would only cost its time.
        known = self._generated()
        if known:
            return known
        # Compose 2.26 leaves x- blocks of services out of its JSON unless it is told not to interpolate. Asked both at
        # once: each answer takes a third of a second.
        with concurrent.futures.ThreadPoolExecutor(1) as beside_it:
            other = beside_it.submit(self.run, "config", "--format", "json", "--no-interpolate")
            project: dict[str, Any] = json.loads(self.run("config", "--format", "json"))
            raw = json.loads(other.result())
        for name, service in project.get("services", {}).items():
            beside = (raw.get("services", {}).get(name) or {}).get("x-evenkeel")
            if beside is not None:
                service["x-evenkeel"] = beside
        return project

    def _generated(self) -> dict[str, Any]:
        """A release's own definition, empty where the project is the user's."""
        known = read_json(os.path.join(self.project_src, *(self.files or (GENERATED,)))) if len(self.files) < 2 else {}
        return with_contexts(known) if MARK in known else {}

    def hashes(self, project: Mapping[str, Any]) -> dict[str, str]:
        """Per service the configuration hash that ``up`` writes as a label for this resolved project.

        Asked of the resolved project, because for the user's own files it differs as soon as there is an
        ``env_file`` (measured with Compose 2.26).
        """
        with self._as_file(project) as same:
            lines = same.run("config", "--hash", "*").splitlines()
        return {line.split()[0]: line.split()[1] for line in lines if len(line.split()) >= 2}

    @contextlib.contextmanager
    def _as_file(self, project: Mapping[str, Any]) -> Iterator[Compose]:
        """The same project by a resolved definition; it may hold secrets, so it is written to memory only.

        A file on the disk would stay there, readable in a backup, where this process is killed.
        """
        # An image that is missing is no reason to build it from a release's folder.
        same = without_contexts(project, self.project_src) if MARK in project else project
        with _memory(json.dumps(same)) as stream:
            handle = stream.fileno()
            path = f"/proc/self/fd/{handle}"
            yield Compose(self.project_src, (path,), (), self.profiles, self.project_name, (handle,))

    @contextlib.contextmanager
    def stepping_back(self, service: str) -> Iterator[Compose]:
        """The same, for containers that serve nobody: those of a release's service have a tenth of the processors where others
        want them, unless its definition says how much.
        """
        project = self._generated()
        own = (project.get("services") or {}).get(service) or {}
        if not own or own.get("cpu_shares"):
            yield self
            return
        changed = {**project["services"], service: {**own, "cpu_shares": processor_share.TENTH}}
        with self._as_file({**project, "services": changed}) as other:
            yield other

    def run_by(self, project: Mapping[str, Any], *words: str, timeout: float = 600.0, stdin: str | None = None) -> str:
        """:meth:`run`, by a resolved definition that no file of the user's has."""
        with self._as_file(project) as other:
            return other.run(*words, timeout=timeout, stdin=stdin)

    def create_by(
        self, project: Mapping[str, Any], scale: Mapping[str, int], others: Mapping[str, int] | None = None
    ) -> None:
        """:meth:`create_beside`, by a resolved definition that no file of the user's has."""
        with self._as_file(project) as other:
            other.create_beside(scale, others)

    def create_beside(
        self, scale: Mapping[str, int], others: Mapping[str, int] | None = None, timeout: float = 300.0
    ) -> None:
        """Create containers up to a number per service, without starting or touching any that is there.

        ``up --no-recreate --scale`` would start stopped ones again: an old scheduler, a finished job that is
        depended on.  Never with ``--no-deps``: it changes the configuration hash, and the next plain ``up``
        by an admin would recreate everything.

        :param others: how many containers each service has that those depend on. Compose brings all of them to the number
            of the file, and takes away the newest that are too many: the proven ones of a roll (seen with 2.26).
        """
        words = ["create", "--no-recreate", "--no-build", "--pull", "missing"]
        for service, count in {**(others or {}), **scale}.items():
            words += ["--scale", f"{service}={count}"]
        self.run(*words, *scale, timeout=timeout)
