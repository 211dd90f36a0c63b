# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an update of a shop in the background, wait for its events, and kill it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processes
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.clock import identity
from tests.bed.killed_roll import QUICK
from tests.bed.shop import ROOT, BedError, Play, Shop

QUICKLY = {"app_services": QUICK}


class Running:
    """An ``ansible-playbook`` of the update, while it runs."""

    def __init__(self, shop: Shop, version: str, **variables: Any) -> None:
        self.shop = shop
        self.began = time.monotonic()
        self.before = len(journal(shop))
        self.file = (shop.folder / f"run-{time.monotonic_ns()}.txt").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            shop.playbook_argv(update_version=version, **QUICKLY, **variables),
            cwd=ROOT, env=shop.environment, stdin=subprocess.DEVNULL, stdout=self.file, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def until(self, met: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
        """Wait for something that this run does."""
        end = time.monotonic() + seconds
        while not met():
            if time.monotonic() > end or self.process.poll() is not None:
                raise BedError(f"never met: {what}\n{self.output()[-3000:]}")
            time.sleep(0.02)

    def until_event(self, start: str) -> None:
        """Wait until the journal has a line of this run that starts so."""

        def met() -> bool:
            return any(line["event"].startswith(start) for line in journal(self.shop)[self.before :])

        self.until(met, start)

    def output(self) -> str:
        self.file.flush()
        return Path(self.file.name).read_text(encoding="utf-8")

    def end(self) -> Play:
        """Wait until it has ended by itself."""
        code = self.process.wait(300)
        return Play(code, self.output(), time.monotonic() - self.began)

    def kill(self) -> None:
        """Kill -9 of the controller and of everything it started on the target."""
        roots = [self.process.pid, worker(self.shop)]
        killed: set[int] = set()
        for _round in range(3):
            for pid in {p.pid for root in roots if root for p in processes.tree(root)}:
                killed.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        # A process with threads is there until the last of them has ended, some milliseconds after the signal.
        end = time.monotonic() + 10
        while left := [pid for pid in killed if identity(pid)]:
            if time.monotonic() > end:
                raise BedError(f"killed, and still there: {left}")
            time.sleep(0.01)


def journal(shop: Shop) -> list[dict[str, Any]]:
    path = shop.root / ".evenkeel/journal.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def lock(shop: Shop) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shop.root / ".evenkeel/lock").read_text(encoding="utf-8"))
    return found


def worker(shop: Shop) -> int:
    """The module that works under the lock now, 0 for none."""
    return int((lock(shop)["process"] or {}).get("pid", 0))
