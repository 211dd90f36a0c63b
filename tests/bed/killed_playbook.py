# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a running playbook, and every process that it started, when a condition is met."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processes
from tests.bed.shop import ROOT, Shop


def kill_when(shop: Shop, log: Path, due: Callable[[str], bool], **variables: Any) -> None:
    """Start a playbook, by default the first deployment of v1, and kill its process tree when ``due`` is true.

    :param due: called with the output so far.
    """
    with log.open("w", encoding="utf-8") as stream:
        begun = subprocess.Popen(
            shop.playbook_argv(**(variables or {"update_version": "v1"})), cwd=ROOT, env=shop.environment,
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
        )  # fmt: skip
    end = time.monotonic() + 300
    while not due(log.read_text(encoding="utf-8", errors="replace")):
        if begun.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"it was over before: {log.read_text(encoding='utf-8', errors='replace')[-3000:]}")
        time.sleep(0.05)
    # A moment into the step, where its module works.
    time.sleep(0.4)
    for pid in [p.pid for p in processes.tree(begun.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    begun.wait(10)
