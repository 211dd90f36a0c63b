# SPDX-License-Identifier: GPL-3.0-or-later
"""A power cut of the server this runs on: all that it does ends at once, and its engine starts what it is to start."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

#: What a server finds empty when it starts.
_VOLATILE = ("/run/docker", "/run/containerd")


def reboot(seconds: float = 60.0) -> None:
    """End every process but this one and what starts the engine again, and return when the engine answers.

    Only in a :class:`tests.bed.nested.NestedEngine` with ``keep_engine``, where nothing else runs.

    :param seconds: for the engine to come back.
    :raises AssertionError: this is no such server, or its engine did not come back.
    """
    engine = next(pid for pid in _processes() if _name(pid) == "dockerd")
    loop = _parent(engine)
    assert "KEEP_ENGINE" in Path(f"/proc/{loop}/environ").read_text(encoding="utf-8", errors="replace"), (
        "no nested server"
    )
    staying = {1, loop, os.getpid(), os.getppid()}
    # The engine first: it would start anew what ends before it.
    _kill(engine)
    end = time.monotonic() + seconds
    while doomed := [pid for pid in _processes() if pid not in staying and _parent(pid) != loop and _argv(pid)]:
        assert time.monotonic() < end, f"these do not end: {doomed}"
        for pid in doomed:
            _kill(pid)
        time.sleep(0.05)
    for folder in _VOLATILE:
        shutil.rmtree(folder, ignore_errors=True)
    for table in ("nat", "filter"):
        subprocess.run(["iptables", "--table", table, "--flush"], check=True, timeout=20)
    while subprocess.run(["timeout", "5", "docker", "version"], capture_output=True, check=False).returncode:
        assert time.monotonic() < end, "the engine did not come back"
        time.sleep(0.2)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _argv(pid: int) -> bytes:
    """Empty for a kernel's thread, and for what has ended and nobody has asked about yet."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return ""


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return 0


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
