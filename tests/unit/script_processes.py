# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts for the app's containers, each run in a process of its own, which may be killed at any file that it moves.

One Python per session has imported what the scripts import, and forks for each run: starting Python and importing takes
longer than what the scripts do.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

_SERVER = """
import json, os, sys, traceback
{preload}
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        os.environ.update(job["environment"])
        sys.path[:0] = job["path"]
        os.dup2(os.open(job["folder"] + "/stdin", os.O_RDONLY), 0)
        sys.stdin = open(0, closefd=False)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(job["folder"] + "/" + name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        try:
            exec(job["code"], {{"__name__": "script"}})
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
_PLAIN = "import base64, contextlib, dataclasses, filecmp, gzip, hashlib, json, re, shutil, stat, types, typing, urllib.parse, zlib"
# Ends the process at the nth file that would be moved, as SIGKILL does: no cleaning up, no exception. Notes each that was.
_WATCHED = """
import os
moved, replace = [], os.replace
def watched(source, target):
    moved.append(target)
    if len(moved) == {kill_at}:
        os._exit(137)
    replace(source, target)
    if {told} and "/.evenkeel/" not in target:
        os.write(2, (target + "\\n").encode())
os.replace = watched
"""


def killed_at_move(number: int, told: bool = False) -> str:
    """Code that ends its process at the nth file that would be moved, 0 for never.

    :param told: whether each file that was moved is a line of the error output; our own records are left out.
    """
    return _WATCHED.format(kill_at=number, told=told)


class ScriptProcesses:
    """Runs scripts; a context manager that ends with all of them.

    :param preload: what every script imports.
    """

    def __init__(self, preload: str = _PLAIN) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER.format(preload=preload)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            umask=0o022,
        )

    def __enter__(self) -> ScriptProcesses:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def run(
        self, code: str, stdin: str = "", environment: Mapping[str, str] | None = None, path: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run code to its end.

        :param environment: variables beside those of this process.
        :param path: folders that it imports from.
        """
        assert self._server.stdin is not None and self._server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "stdin").write_text(stdin)
            job = {"code": code, "environment": dict(environment or {}), "path": path, "folder": folder}
            print(json.dumps(job), file=self._server.stdin, flush=True)
            ended = int(self._server.stdout.readline())
            printed = [(Path(folder) / name).read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess([], ended, *printed)
