# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rehearsals: an update on the rows of a backup, or how long it took beside what was foretold."""

from __future__ import annotations

import os
import time
from typing import Any

from ...base.errors import BadInput
from ...base.host import known_secrets
from ...base.host.files import private_directory, write_private
from ...base.values import size as size_of
from ...engine.host.engine import EngineFailed
from ...operation.host.journal import Fence, working
from ...operation.host.progress import Progress
from ...postgres.host.server import PostgresFailed
from ...releases.host.store import Store
from ...releases.layout import release_in
from ...rolling.host.plan import room_of
from .. import rehearsal as decide
from .. import summary as words
from .app_copy import Rehearsed, clear, disk_device
from .request import COMPARED, Request
from .scratch import TestsFailed, ended_by_signals, output_tail
from .steps import play
from .view import View, looked, stage_of

LOG = "rehearsal.log"
_BACK_UP = "ansible-playbook evenkeel.deploy.backup makes one; then the same command again"


def rehearse(request: Request, check_mode: bool) -> dict[str, Any]:
    """Rehearse an update, or compare one with its rehearsal.

    :raises BadInput: it cannot be rehearsed, or went wrong there, and why.
    """
    if request.state == COMPARED:
        return _compared(request, check_mode)
    try:
        memory, rate, spare = (size_of(text) for text in (request.memory, request.io_rate, request.min_free))
    except ValueError as error:
        raise BadInput(f"memory, io_rate or min_free: {error}") from error
    try:
        view = looked(request, check_mode)
        if view is None:
            return _result("unknown until built")
        room = room_of(view.engine)
        problem = words.no_room(
            sum(c.size for c in view.copies), spare, room.disk_free, room.disk_path, memory, room.memory_available
        )
        missing = next((c for c in view.copies if c.backup is None), None)
        if check_mode:
            return _result(words.foreseen(view.apps, [c.backup.name for c in view.copies if c.backup], problem))
        if missing:
            database = missing.source.server.database
            raise BadInput(
                f"there is no proven backup of {database} in {missing.store.folder} to rehearse on", _BACK_UP
            )
        if problem:
            raise BadInput(
                problem, "make room, see memory and min_free (update_rehearsal.memory), or leave the rehearsal out"
            )
        with working(request.lock, view.state_dir, f"update_rehearsal of {view.name}") as fence:
            return fence.reported(
                _rehearsed(view, request, fence, decide.Limits(memory, rate, _device(rate, room.disk_path)), spare)
            )
    except EngineFailed as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then run the same command again") from error


def _device(rate: int, disk: str) -> str:
    return disk_device(disk) if rate else ""


def _result(message: str) -> dict[str, Any]:
    return {"changed": False, "rehearsal": {}, "timeline": [], "msg": message}


# -- the rehearsal -----------------------------------------------------------------------------------------------


def _rehearsed(view: View, request: Request, fence: Fence, limits: decide.Limits, spare: int) -> dict[str, Any]:
    with fence.act("sweep rehearsals"):
        clear(view.engine, view.name, view.state_dir)
    progress = Progress.open(view.state_dir, request.progress.progress_id)
    timeline: list[dict[str, Any]] = []
    report: dict[str, Any] = {
        "backups": [c.backup.name for c in view.copies if c.backup],
        "migrations": [],
        "requests": [],
    }
    result = {"changed": False, "rehearsal": report, "timeline": timeline}
    began = time.monotonic()
    stage, withheld = stage_of(view, request, fence, limits, spare, progress)
    report["withheld"] = withheld
    try:
        with ended_by_signals("the rehearsal was"), stage.set_up():
            play(view, stage, request, report, timeline)
    except (Rehearsed, TestsFailed, PostgresFailed, BadInput) as error:
        fence.details["result"] = "failed: rehearsal"
        path = os.path.join(private_directory(os.path.join(view.state_dir, "logs")), LOG)
        output = getattr(error, "output", "")
        what = str(error)
        if output:
            write_private(path, known_secrets.masked_text(output))
            what += f"{output_tail(output, 5)}\n  (all of it is in {path} on this host)"
        advice = words.advice(getattr(error, "advice", "") or image_advice(view, error), withheld)
        return {**result, "failed": True, "msg": words.failure(what, report["backups"], advice)}
    finally:
        progress.close()
    report["seconds"] = round(time.monotonic() - began, 1)
    fence.details["rehearsal"] = {"backups": report["backups"], "migrations": report["migrations"]}
    _note(view.compose.project_src, rehearsal=report)
    return {**result, "msg": words.success(report)}


def image_advice(view: View, error: Exception) -> str:
    """What to do where the server that is thrown away lacks what the other one has; empty for any other error."""
    if view.source.is_external and "is not available" in f"{error}{getattr(error, 'stderr', '')}":
        return "set client_image to one whose server has that extension (backup_connection in a playbook)"
    return ""


def _note(project_src: str, **news: Any) -> None:
    """Write it into the release's manifest, where the folder is a release."""
    found = release_in(project_src)
    if found:
        Store(found[0].root).note(found[1], **known_secrets.masked(news))


# -- afterwards --------------------------------------------------------------------------------------------------


def _compared(request: Request, check_mode: bool) -> dict[str, Any]:
    """What was foretold beside what it took, for people and in the release's manifest."""
    source = request.project.project_src
    found = release_in(source)
    known = Store(found[0].root).manifest(found[1]).get("rehearsal") or {} if found else {}
    done = decide.measured(request.ran, [])
    both = decide.beside(known.get("migrations") or [], done)
    if any("real_seconds" in one for one in both) and not check_mode:
        _note(source, rehearsal={**known, "migrations": both})
    return {**_result(words.comparison(both)), "rehearsal": {**known, "migrations": both}}
