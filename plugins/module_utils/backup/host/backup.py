# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``postgres_backup``: make a backup, prove one, or put one in the place of the database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ...base.errors import BadInput
from ...base.values import size as size_of
from ...engine.host.project import state_dir_of
from ...operation.host.journal import working
from ...operation.host.progress import Progress
from ...operation.options import lock_options
from .dump import Dump
from .proof import Proof
from .restore import Restoring
from .source import ELSEWHERE, source_of
from .store import BackupStore
from .summary import unchanged


def backup(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call.

    :raises BadInput: there is no backup, and why.
    """
    since, keep = _since(params.get("newer_than")), int(params["keep"])
    spare, memory = _size(params, "min_free"), _size(params, "verify_memory")
    source = source_of(params)
    if source is None:
        return {**unchanged(), "msg": f"no backup: the project has no PostgreSQL service; {ELSEWHERE}"}
    of = (source.project, source.service, source.server.database)
    store = BackupStore(str(params["dest"]), of)
    if check_mode:
        if params["state"] == "restored":
            with source.reached(locked=False) as here:
                proof = Proof(params, here, store, memory, spare, Progress())
                return Restoring(params, here, store, spare, proof, Progress()).restored(None)
        if params["state"] == "verified":
            return Proof(params, source, store, memory, spare, Progress()).foreseen()
        return Dump(params, source, store, keep, spare, Progress()).foreseen(since)
    store.make()
    directory = state_dir_of(lock_options(params), source.project)
    with working(lock_options(params), directory, f"postgres_backup of {source.project}") as fence, store.held():
        progress = Progress.open(directory, str(params.get("progress_id") or ""))
        try:
            with source.reached() as here:
                proof = Proof(params, here, store, memory, spare, progress)
                if params["state"] == "restored":
                    return fence.told(Restoring(params, here, store, spare, proof, progress).restored(fence))
                if params["state"] == "verified":
                    return fence.told(proof.verified())
                return fence.told(Dump(params, here, store, keep, spare, progress).present(fence, since))
        finally:
            progress.close()


def _size(params: Mapping[str, Any], key: str) -> int:
    try:
        return size_of(params[key])
    except ValueError as error:
        raise BadInput(f"{key}: {error}") from error


def _since(newer_than: Any) -> float | None:
    """The UNIX time from which on a backup is new enough, None where each call makes one.

    :raises BadInput: neither seconds nor a timestamp.
    """
    text = str(newer_than or "").strip()
    if not text:
        return None
    try:
        return time.time() - float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise BadInput(
            f"newer_than: {text} is neither a number of seconds nor a timestamp", "write 3600, or 2026-11-20T08:00:00Z"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
