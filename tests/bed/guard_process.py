# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard as a plain process, from a copy as its role makes one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class GuardProcess:
    """One app's guard.

    :param folder: where the copy and the log lie.
    :param app: the Compose project; ``state``: its state directory.
    """

    def __init__(self, folder: Path, app: str, state: Path) -> None:
        self.lib = folder / "lib"
        self.log = folder / "guard.log"
        self.app = app
        self.state = state
        self.process: subprocess.Popen[bytes] | None = None

    def install(self) -> None:
        """Make the copy."""
        utils, package = ROOT / "plugins/module_utils", self.lib / "evenkeel"
        shutil.rmtree(package, ignore_errors=True)
        shutil.copytree(utils, package, ignore=shutil.ignore_patterns("__pycache__"))

    def begin(self, python: str = sys.executable) -> None:
        """Start it, and wait until it has looked."""
        self.log.write_bytes(b"")
        argv = [
            python,
            "-s",
            "-B",
            "-m",
            "evenkeel.guard.host.guard",
            "--app",
            self.app,
            "--state-dir",
            str(self.state),
        ]
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                argv, cwd=self.lib, stdout=stream, stderr=stream, env={"PATH": os.environ["PATH"]}
            )
        end = time.monotonic() + 15
        while time.monotonic() < end and "guarding" not in self.said() and self.process.poll() is None:
            time.sleep(0.05)

    def end(self, how: int = signal.SIGTERM) -> int | None:
        """End it, and return how it ended."""
        if self.process is None:
            return None
        self.process.send_signal(how)
        code = self.process.wait(40)
        self.process = None
        return code

    def said(self) -> str:
        """What it has logged."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""
