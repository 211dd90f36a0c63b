# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call did, one part after the other, as every module returns it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from .records import iso


def entry(step: str, service: str, container: str, began: float, seconds: float, result: str) -> dict[str, Any]:
    """One part.

    :param began: when (UNIX time).
    """
    return {
        "step": step, "service": service, "container": container, "started": iso(began), "seconds": round(seconds, 3),
        "result": result,
    }  # fmt: skip


class Steps:
    """How long each part took."""

    def __init__(self) -> None:
        self.timeline: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        began, started, result = time.time(), time.monotonic(), "failed"
        try:
            yield
            result = "ok"
        finally:
            self.timeline.append(entry(step, "", "", began, time.monotonic() - started, result))
