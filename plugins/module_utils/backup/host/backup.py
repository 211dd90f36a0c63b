# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a database: makes one, proves one, or puts one in the place of the database."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

from ...base.errors import BadInput
from ...base.values import size as size_of
from ...engine.host.project import state_dir_of
from ...operation.host.journal import working
from ...operation.host.progress import Progress
from .dump import Dump
from .proof import Proof
from .request import RESTORED, VERIFIED, Request
from .restore import Restoring
from .source import EXTERNAL, source_of
from .store import BackupStore
from .summary import unchanged


def backup(request: Request, check_mode: bool) -> dict[str, Any]:
    """Make, prove or restore a backup.

    :raises BadInput: there is no backup, and why.
    """
    since = _since(request.newer_than)
    spare, memory = _size("min_free", request.min_free), _size("verify_memory", request.verify_memory)
    source = source_of(request.wanted)
    if source is None:
        return {**unchanged(), "msg": f"no backup: the project has no PostgreSQL service; {EXTERNAL}"}
    of = (source.project, source.service, source.server.database)
    store = BackupStore(request.dest, of)
    if check_mode:
        if request.state == RESTORED:
            with source.reached(locked=False) as here:
                proof = Proof(request, here, store, memory, spare, Progress())
                return Restoring(request, here, store, spare, proof, Progress()).restored(None)
        if request.state == VERIFIED:
            return Proof(request, source, store, memory, spare, Progress()).foreseen()
        return Dump(request, source, store, spare, Progress()).foreseen(since)
    store.make()
    directory = state_dir_of(request.lock, source.project)
    with working(request.lock, directory, f"postgres_backup of {source.project}") as fence, store.held():
        progress = Progress.open(directory, request.progress.progress_id)
        try:
            with source.reached() as here:
                proof = Proof(request, here, store, memory, spare, progress)
                if request.state == RESTORED:
                    return fence.reported(Restoring(request, here, store, spare, proof, progress).restored(fence))
                if request.state == VERIFIED:
                    return fence.reported(proof.verified())
                return fence.reported(Dump(request, here, store, spare, progress).present(fence, since))
        finally:
            progress.close()


def _size(key: str, text: str) -> int:
    try:
        return size_of(text)
    except ValueError as error:
        raise BadInput(f"{key}: {error}") from error


def _since(newer_than: str) -> float | None:
    """The UNIX time from which on a backup is new enough, None where each call makes one.

    :raises BadInput: neither seconds nor a timestamp.
    """
    text = newer_than.strip()
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
