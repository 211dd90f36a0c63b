# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts ``manage.py`` of one version of Django as a process that is forked from a warm one: see `fork_server.py`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.database.migrations.fork_server import HEADER

SERVER = Path(__file__).with_name("fork_server.py")


class Forked:
    """A forked process, with what the tests use of ``subprocess.Popen``; its streams are text.

    :ivar returncode: None while it runs; the negative number of the signal that ended it.
    """

    def __init__(self, report: int, stdin: int, stdout: int, stderr: int) -> None:
        self._report = os.fdopen(report, "rb", buffering=0)
        self.stdin: IO[str] | None = os.fdopen(stdin, "w", encoding="utf-8")
        self.stdout: IO[str] = os.fdopen(stdout, encoding="utf-8")
        self.stderr: IO[str] = os.fdopen(stderr, encoding="utf-8")
        self.returncode: int | None = None
        pid = self._report.readline()
        if not pid:
            raise RuntimeError("the server that forks has ended; its stderr says why")
        self.pid = int(pid)

    def poll(self) -> int | None:
        """The exit code if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code.

        :raises subprocess.TimeoutExpired: it still runs after ``timeout`` seconds.
        """
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(["manage.py"], timeout or 0)
            ended = self._report.readline()
            if not ended:
                raise RuntimeError("the server that forks has ended before its process")
            self.returncode = int(ended)
            self._report.close()
        return self.returncode

    def kill(self) -> None:
        """Kill it if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def give(self, text: str) -> None:
        """Write all of its stdin and close that."""
        if self.stdin is not None:
            # It may have been killed before it has read all of it.
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(text)
            self.stdin = None

    def communicate(self, given: str = "") -> tuple[str, str]:
        """Write to its stdin and close that, wait for its end, and return what it has printed: stdout and stderr."""
        printed = {"stdout": "", "stderr": ""}

        def read(name: str, stream: IO[str]) -> None:
            printed[name] = stream.read()
            stream.close()

        readers = [threading.Thread(target=read, args=(n, getattr(self, n)), daemon=True) for n in printed]
        for reader in readers:
            reader.start()
        self.give(given)
        for reader in readers:
            reader.join()
        self.wait()
        return printed["stdout"], printed["stderr"]


class WarmDjango:
    """A process that has imported one version of Django, and forks others; it ends with this one, however that ends.

    :ivar python: the Python of that version.
    """

    def __init__(self, python: str) -> None:
        self.python = python
        self._requests, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [python, str(SERVER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        self.pid = self._process.pid

    def begin(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Forked:
        """Start a script as ``python`` would, with pipes for its stdin, stdout and stderr."""
        stdin, to = os.pipe()
        out, stdout = os.pipe()
        err, stderr = os.pipe()
        told, report = os.pipe()
        body = json.dumps({"argv": list(argv), "cwd": str(cwd), "environment": dict(environment)}).encode()
        theirs = [stdin, stdout, stderr, report]
        try:
            with self._lock:
                socket.send_fds(self._requests, [HEADER.pack(len(body))], theirs)
                self._requests.sendall(body)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        return Forked(told, to, out, err)

    def close(self) -> None:
        """End it."""
        self._requests.close()
        self._process.wait()
