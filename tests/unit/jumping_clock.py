# SPDX-License-Identifier: GPL-3.0-or-later
"""An event loop whose clock stands still while anything is ready, and jumps to the next timer when nothing is.

Seconds of waiting take no time, and a machine on which others work changes no latency. Sockets are real ones.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import time
from collections.abc import Coroutine
from types import ModuleType
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
#: Real seconds in which the kernel hands over what this process has sent to itself, before the clock jumps so far.
_ON_ITS_WAY, _FAR = 0.001, 0.05


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            # It is handed over at once where no other thread of the kernel has to do it.
            os.sched_yield()
            ready = super().select(_ON_ITS_WAY if timeout >= _FAR else 0)
        if not ready:
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """See the module's text."""

    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def block(self, seconds: float) -> None:
        """Let this time go by in which nothing is done, as a task does that never awaits."""
        self._jumping.now += seconds


class _LoopTime:
    """What code uses of :mod:`time`, by the clock of the loop that it runs on."""

    process_time = staticmethod(time.process_time)

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()


def run(main: Coroutine[Any, Any, T], *modules: ModuleType) -> T:
    """Run a coroutine on such a loop.

    :param modules: go by the loop's clock as well.
    """
    with pytest.MonkeyPatch.context() as monkeypatch, asyncio.Runner(loop_factory=JumpingLoop) as runner:
        for module in modules:
            monkeypatch.setattr(module, "time", _LoopTime)
        return runner.run(main)
