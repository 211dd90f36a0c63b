# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a backup: one snapshot is counted, dumped, read to its end, and only then called a dump."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from ...base.host.part_files import NoRoom, Part, checksum
from ...operation.host.journal import Fence
from ...operation.host.progress import Progress
from ...postgres.host.server import PostgresFailed, Snapshot, await_server
from ...releases.choice import is_id
from .. import backups as decide
from .proof import read_to_its_end
from .request import Request
from .source import Source
from .store import BackupStore
from .summary import BackupFailed, Timeline, facts, iso, unchanged

# Seconds between two lines of progress.
_TELL = 5.0
# Seconds after which the engine has noticed that a container ended.
_NOTICED = 2.0
# Seconds that a database may take to start.
_STARTS = 60.0


class Dump:
    """A backup of now, or one that is new enough.

    :param spare: bytes that are to be left on the disk for everybody else.
    """

    def __init__(self, request: Request, source: Source, store: BackupStore, spare: int, progress: Progress) -> None:
        self._request, self._source, self._store = request, source, store
        self._spare, self._progress = spare, progress
        self._timeline = Timeline(source)

    def foreseen(self, since: float | None) -> dict[str, Any]:
        """What the call would do."""
        good = self._good(since)
        if good:
            return {**unchanged(), "backup": facts(self._store, good), "msg": f"{good} is new enough"}
        return {**unchanged(), "changed": True, "msg": f"{self._source.server.database} would be dumped"}

    # -- a new one -------------------------------------------------------------------------------------

    def present(self, fence: Fence, since: float | None) -> dict[str, Any]:
        """Dump and prove, unless there is one that is new enough."""
        good = self._good(since)
        if good and self._is_whole(good):
            self._name_release(good)
            return {**unchanged(), "backup": facts(self._store, good), "msg": f"{good} is new enough"}
        before, began = self._store.names(), time.time()
        lock_timeout = self._request.lock_timeout
        try:
            with self._timeline.step("snapshot"):
                await_server(self._source.engine, self._source.server, _STARTS)
                snapshot = Snapshot(self._source.server, lock_timeout)
            try:
                name = self._dumped(fence, snapshot, lock_timeout, began)
            finally:
                snapshot.close()
        except PostgresFailed as error:
            raise self._why(error) from error
        except NoRoom as error:
            raise BackupFailed(str(error), "make room there, or name another folder as dest") from error
        if not name:
            return {**unchanged(), "msg": f"no backup: {self._source.server.database} has no table yet"}
        removed = self._removed(fence)
        made = facts(self._store, name)
        where = f"{made['path']} ({made['bytes']:,} bytes, {made['seconds']:g} s, read to its end)"
        return {
            **unchanged(),
            "changed": True,
            "backup": made,
            "removed": removed,
            "timeline": self._timeline.entries,
            "diff": {"before": "\n".join(before) + "\n", "after": "\n".join(self._store.names()) + "\n"},
            "msg": f"{self._source.server.database} is backed up: {where}",
        }

    def _dumped(self, fence: Fence, snapshot: Snapshot, lock_timeout: float, began: float) -> str:
        """The name of the dump that was made, empty where there was nothing to dump.

        :param began: when its snapshot was asked for (UNIX seconds).
        """
        server = self._source.server
        with self._timeline.step("count"):
            held = snapshot.inventory()
        if self._request.optional and not held["relations"].get("table"):
            return ""
        self._refuse_without_room(snapshot.size)
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(began))
        name = decide.new_name(server.database, moment, self._store.names())
        with self._store.part(name, self._spare) as part:
            program = ["pg_dump", "--format", "custom", "--create", "--snapshot", snapshot.id]
            program += ["--lock-wait-timeout", str(int(lock_timeout * 1000)), "--dbname", server.database]
            with self._timeline.step("dump"):
                server.stream(server.words(*program), self._telling(part), self._request.timeout, snapshot.name)
                part.sync()
            with self._timeline.step("read"):
                part.stream.seek(0)
                read_to_its_end(server, part.stream, self._request.timeout)
            manifest = {
                "format": "custom",
                "bytes": part.size,
                "sha256": part.sha256,
                "started": iso(began),
                "started_at": began,
                "seconds": round(time.time() - began, 1),
                "image": str(self._source.inspection["Image"]),
                "database_size": snapshot.size,
                "proven": decide.READ,
                "releases": self._release(),
                **held,
            }
            with fence.act(f"keep backup {name}"):
                part.keep(manifest)
        return name

    def _telling(self, part: Part) -> Callable[[bytes], None]:
        began = said = time.monotonic()

        def write(data: bytes) -> None:
            nonlocal said
            part.write(data)
            if time.monotonic() - said >= _TELL:
                said = time.monotonic()
                text = f"{self._source.server.database}: {part.size // 2**20} MiB are dumped"
                self._progress.say(text, "dump", self._source.service, "", said - began)

        return write

    def _refuse_without_room(self, database: int) -> None:
        last = decide.newest_first(self._store.all())
        needed, free = decide.room_for(last[0].size if last else 0, database), self._store.free()
        if needed + self._spare > free:
            raise BackupFailed(
                f"{self._store.folder} has {free // 2**20} MiB free, the dump takes about {needed // 2**20} MiB, and "
                f"{self._spare // 2**20} MiB are to be left",
                "make room there (keep says how many backups are left), or name another folder as dest",
            )

    def _why(self, error: PostgresFailed) -> BackupFailed:
        """Why there is no dump."""
        database = self._source.server.database
        if self._was_stopped():
            box = "client for" if self._source.is_external else "container of"
            return BackupFailed(
                f"the {box} {self._source.service} was stopped or restarted while {database} was dumped",
                "run the same command again once it runs",
            )
        if "lock" in str(error) and ("timeout" in str(error) or "not be obtained" in str(error)):
            return BackupFailed(
                f"{database} could not be dumped: another session has a table locked ({error})",
                "wait for what holds it (ALTER TABLE, VACUUM FULL, a migration), or give it longer with lock_timeout",
            )
        if any(sign in error.stderr for sign in ("authentication failed", "does not exist", "no password supplied")):
            return BackupFailed(
                f"the database refused: {error}",
                f"see {self._source.credentials}",
            )
        if "permission denied" in error.stderr:
            return BackupFailed(
                f"{database} could not be dumped: {error}",
                f"let {self._source.server.user} read all of it (GRANT pg_read_all_data, PostgreSQL 14 and newer), or name another user",
            )
        return BackupFailed(f"{database} could not be dumped: {error}")

    def _was_stopped(self) -> bool:
        """Whether the container is no longer the one that ran; the engine may know that a moment after its processes ended."""
        before = self._source.inspection.get("State") or {}
        until = time.monotonic() + _NOTICED
        while True:
            state = self._source.engine.inspect(str(self._source.inspection["Id"])).get("State") or {}
            if not state.get("Running") or state.get("StartedAt") != before.get("StartedAt"):
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.2)

    # -- keeping ---------------------------------------------------------------------------------------

    def _good(self, since: float | None) -> str:
        good = decide.good_enough(self._store.all(), since) if since is not None else None
        return good.name if good else ""

    def _is_whole(self, name: str) -> bool:
        return checksum(self._store.path(name)) == self._store.manifest(name).get("sha256")

    def _release(self) -> list[str]:
        return [self._request.release] if self._request.release else []

    def _name_release(self, name: str) -> None:
        manifest = self._store.manifest(name)
        named = list(dict.fromkeys([*(manifest.get("releases") or []), *self._release()]))
        if named != manifest.get("releases"):
            self._store.note(name, {**manifest, "releases": named})

    def _removed(self, fence: Fence) -> list[str]:
        folder = self._request.releases_dir
        living = [r for r in os.listdir(folder) if is_id(r)] if os.path.isdir(folder) else []
        late = [b.name for b in decide.to_remove(self._store.all(), self._request.keep, living)]
        for name in late:
            with fence.act(f"remove backup {name}"):
                self._store.remove(name)
        return late
