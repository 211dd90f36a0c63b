# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call of ``postgres_backup`` tells: what it did, what is there, and why there is none."""

from __future__ import annotations

import time
from typing import Any

from ...base.errors import BadInput
from .source import Source
from .store import BackupStore


class BackupFailed(BadInput):
    """There is no new backup, or one is not good; nothing that serves was touched.  ``now`` is what is there then."""

    def __init__(self, what: str, advice: str = "", now: str = "") -> None:
        super().__init__(what, advice)
        self._now = now or "no file that looks like a new backup was left, earlier ones are as they were"

    def message(self) -> str:
        advice = self.advice or "correct that and run the same command again"
        return f"What: {self}\nNow: {self._now}, and what was serving still is\nNext: {advice}"


class Timeline:
    """What a call did, step by step."""

    def __init__(self, source: Source) -> None:
        self.entries: list[dict[str, Any]] = []
        self._source = source

    def step(self, name: str) -> Step:
        """An entry that lasts as long as the block that it is put around."""
        return Step(self.entries, name, self._source)


class Step:
    """One entry of the timeline."""

    def __init__(self, timeline: list[dict[str, Any]], step: str, source: Source) -> None:
        self._timeline, self._step, self._source = timeline, step, source

    def __enter__(self) -> None:
        self._began, self._started = time.monotonic(), iso(time.time())

    def __exit__(self, kind: Any, *rest: Any) -> None:
        self._timeline.append(
            {
                "step": self._step,
                "service": self._source.service,
                "container": str(self._source.inspection.get("Name") or "").lstrip("/"),
                "started": self._started,
                "seconds": round(time.monotonic() - self._began, 3),
                "result": "ok" if kind is None else "failed",
            }
        )


def facts(store: BackupStore, name: str) -> dict[str, Any]:
    """A backup as the module returns it: nothing of its settings, which may be secret."""
    known = store.manifest(name)
    kept = ("bytes", "sha256", "seconds", "server_version", "database", "migrations", "proven", "started", "releases")
    return {"path": store.path(name), **{key: known.get(key) for key in kept}}


def unchanged() -> dict[str, Any]:
    """The result of a call that did nothing."""
    return {"changed": False, "backup": {}, "removed": [], "timeline": [], "diff": {"before": "", "after": ""}}


def iso(moment: float) -> str:
    """A UNIX time as results and manifests have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
