# SPDX-License-Identifier: GPL-3.0-or-later
"""Forks a process for each ``manage.py`` from one that has imported Django: ``fork_server.py DESCRIPTOR``.

Run by the Python of one version of Django; `forked.py` is its client.  Starting Python and importing Django takes a second of
CPU, forking a process that has done both some milliseconds.

- The descriptor is one end of a UNIX stream socket.  A request is four bytes with the length of what follows, which carry four
  descriptors (SCM_RIGHTS): stdin, stdout and stderr of the process, and a pipe for reports.  Then follows JSON: ``argv``, of
  which the first is the script, ``cwd`` and ``environment``.
- The report is two lines: the process id, and when it has ended its exit code, or its signal as a negative number.
- The forked process returns from `main` and ends as any Python does: uncaught exceptions, ``sys.exit``, ``atexit``.
- This process imports modules and does nothing else.  It reads no settings and opens no connection, so one forked process
  cannot leave anything to the next.
- At the end of the socket, also where its client was killed, it kills the processes that still run, and ends.

The forked process differs from ``python manage.py`` in that modules are there before they are imported, and in that all
processes of one server have the same seed of hashes; `test_forked_processes.py` compares both.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What nearly each ``manage.py`` of these tests imports; none of these modules reads settings when it is imported.
IMPORTED = (
    "django.contrib.contenttypes.apps",
    "django.contrib.contenttypes.management",
    "django.contrib.postgres.constraints",
    "django.contrib.postgres.indexes",
    "django.contrib.postgres.operations",
    "django.core.management.commands.makemigrations",
    "django.core.management.commands.migrate",
    "django.core.management.commands.shell",
    "django.core.management.sql",
    "django.db.backends.postgresql.base",
    "django.db.migrations.executor",
    "django.http",
    "django.urls",
    "django.utils.log",
    "django.views.debug",
    "logging.config",
    "psycopg",
)
HEADER = struct.Struct("!I")


@dataclass(frozen=True)
class Request:
    """One process to be forked.

    :ivar standard: descriptors that become its stdin, stdout and stderr.
    :ivar report: the descriptor that its id and its end are written to.
    """

    argv: list[str]
    cwd: str
    environment: dict[str, str]
    standard: tuple[int, ...]
    report: int


class Forking:
    """Takes requests until the socket is closed."""

    def __init__(self, requests: socket.socket) -> None:
        self.requests = requests
        #: Where the end of each process that runs is reported to.
        self.reports: dict[int, int] = {}
        # A signal that comes before select() waits would be missed without the byte that it writes.
        self.ended, self.wakeup = os.pipe()
        for descriptor in (self.ended, self.wakeup):
            os.set_blocking(descriptor, False)

    def serve(self) -> Request | None:
        """Return the request in each process that was forked, None in this one when the socket is closed."""
        signal.set_wakeup_fd(self.wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_signal: None)
        # An interrupted test run closes the socket; until then its fixtures still need processes to end as they should.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            ready = select.select([self.requests, self.ended], [], [])[0]
            if self.ended in ready:
                os.read(self.ended, 4096)
                self.reap()
            if self.requests in ready:
                request = self.receive()
                if request is None:
                    for pid in self.reports:
                        os.kill(pid, signal.SIGKILL)
                    return None
                if self.fork(request):
                    return request

    def receive(self) -> Request | None:
        """The next request; None at the end of the socket."""
        header, descriptors, _flags, _address = socket.recv_fds(self.requests, HEADER.size, 4)
        while header and len(header) < HEADER.size:
            header += self.requests.recv(HEADER.size - len(header))
        if not header:
            return None
        (length,) = HEADER.unpack(header)
        body = b""
        while len(body) < length:
            part = self.requests.recv(length - len(body))
            if not part:
                return None
            body += part
        told: dict[str, Any] = json.loads(body)
        return Request(told["argv"], told["cwd"], told["environment"], tuple(descriptors[:3]), descriptors[3])

    def fork(self, request: Request) -> bool:
        """Whether this is the process that was forked."""
        pid = os.fork()
        if pid == 0:
            self.leave()
            return True
        for descriptor in request.standard:
            os.close(descriptor)
        self.reports[pid] = request.report
        self.report(pid, f"{pid}\n")
        return False

    def leave(self) -> None:
        """In a forked process: let go of what is the server's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.requests.close()
        for descriptor in (self.ended, self.wakeup, *self.reports.values()):
            os.close(descriptor)

    def reap(self) -> None:
        """Report which processes have ended, and how."""
        while self.reports:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self.report(pid, f"{os.waitstatus_to_exitcode(status)}\n")
            os.close(self.reports.pop(pid))

    def report(self, pid: int, line: str) -> None:
        """Tell the client, which may have been killed meanwhile."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.reports[pid], line.encode())


def run(request: Request) -> None:
    """Run the script as ``python SCRIPT …`` would."""
    for number, descriptor in enumerate(request.standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.close(request.report)
    os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.environment)
    path = Path(request.argv[0]).resolve()
    sys.argv[:], sys.path[0] = request.argv, str(path.parent)
    importlib.invalidate_caches()
    main = types.ModuleType("__main__")
    main.__file__ = str(path)
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    exec(compile(path.read_bytes(), str(path), "exec"), main.__dict__)


def main() -> None:
    """Import, fork, and in a forked process run what was asked for."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    for name in IMPORTED:
        importlib.import_module(name)
    from django.conf import settings

    if settings.configured:
        raise RuntimeError("a module of IMPORTED has read settings, which all forked processes would share")
    # What is collected is written to, and what is written to has to be copied: a tenth of a second in each process.
    gc.collect()
    gc.freeze()
    request = Forking(requests).serve()
    if request is not None:
        run(request)


if __name__ == "__main__":
    main()
