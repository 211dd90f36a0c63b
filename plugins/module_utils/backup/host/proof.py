# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proving a backup: all of it is read, restored into a server that is thrown away, and compared with what was dumped."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import IO, Any

from ...base.errors import BadInput
from ...base.host.part_files import checksum
from ...base.truncate_list import some
from ...operation.host.progress import Progress
from ...postgres.host.server import PostgresFailed, Server
from ...postgres.host.throwaway_server import restore, sweep, thrown_away
from .. import backups as decide
from .request import Request
from .source import Source
from .store import BackupStore
from .summary import BackupFailed, Timeline, facts, iso, unchanged

_NOW = "nothing was changed, and the backups are as they were"
# What is known of a dump without a manifest: restored it is about as many times as large.
_GROWS = 8


def read_to_its_end(server: Server, stream: IO[bytes], timeout: float) -> None:
    """Have the server's own pg_restore read all of an archive: its table of contents alone says nothing of the rest.

    :raises PostgresFailed: it cannot.
    """
    server.run(["pg_restore", "--file", "/dev/null"], stream, timeout)


class Proof:
    """The proof of one backup.

    :param memory: bytes that the server may take; ``spare``: bytes that are to be left on the disk for everybody else.
    """

    def __init__(
        self,
        request: Request,
        source: Source,
        store: BackupStore,
        memory: int,
        spare: int,
        progress: Progress,
    ) -> None:
        self._request, self._source, self._store = request, source, store
        self._memory, self._spare = memory, spare
        self._timeline = Timeline(source)
        self._progress = progress

    def foreseen(self) -> dict[str, Any]:
        """What the call would do."""
        name = self.chosen()
        if self._store.manifest(name).get("proven") == decide.RESTORED:
            return {**unchanged(), "backup": facts(self._store, name), "msg": f"{name} was restored before"}
        return {**unchanged(), "changed": True, "msg": f"{name} would be restored and compared"}

    def chosen(self) -> str:
        """The dump that is named, or the newest one.

        :raises BadInput: there is none.
        """
        given = self._request.backup
        if given:
            name = os.path.basename(given)
            if os.path.dirname(given) not in ("", self._store.folder) or not os.path.isfile(self._store.path(name)):
                raise BadInput(f"there is no backup {given} in {self._store.folder}")
            return name
        newest = decide.newest_first(self._store.all())
        if not newest:
            raise BadInput(
                f"there is no backup of {self._source.server.database} in {self._store.folder}",
                "make one first: postgres_backup with state present",
            )
        return newest[0].name

    def verified(self) -> dict[str, Any]:
        """Restore one into a server that is thrown away, and compare."""
        name = self.chosen()
        manifest = self._store.manifest(name)
        with self._timeline.step("read"):
            self.refuse_what_is_not_whole(name, manifest)
        if manifest.get("proven") == decide.RESTORED:
            text = f"{name} was restored and compared at {manifest.get('proven_at')}, and is what it was"
            return {**unchanged(), "backup": facts(self._store, name), "timeline": self._timeline.entries, "msg": text}
        self._refuse_without_memory()
        self._refuse_without_room(
            int(manifest.get("database_size") or _GROWS * os.path.getsize(self._store.path(name)))
        )
        engine, server = self._source.engine, self._source.server
        began = time.monotonic()
        sweep(engine, self._source.project)
        # What a provider preloads no other image has.
        preload = "" if self._source.is_external else str(manifest.get("preload") or "")
        try:
            with (
                self._timeline.step("restore"),
                thrown_away(
                    engine, self._source.inspection, self._source.project, server.user, self._memory, preload
                ) as other,
            ):
                self._progress.say(f"{name} is being restored", "restore", self._source.service)
                timeout = self._request.timeout
                there = restore(
                    other,
                    self._store.path(name),
                    str(manifest.get("database") or ""),
                    manifest.get("roles") or [],
                    timeout,
                )
        except PostgresFailed as error:
            advice = "make another one, and keep those before"
            if self._source.is_external and "is not available" in error.stderr:
                advice = "set client_image to one whose server has that extension (backup_connection in a playbook)"
            raise BackupFailed(f"{name} could not be restored: {error}", advice, _NOW) from error
        took = round(time.monotonic() - began, 1)
        if not manifest:
            text = f"{name} was restored in {took:g} s; it has no manifest, so there is nothing to compare it with"
            return {**unchanged(), "timeline": self._timeline.entries, "msg": text}
        wrong = decide.differences(manifest, there)
        if wrong:
            raise BackupFailed(
                f"{name} was restored, and is not what was dumped: {some(wrong, 3, '; ')}",
                "make another one, and keep those before",
                _NOW,
            )
        self._store.note(
            name, {**manifest, "proven": decide.RESTORED, "proven_at": iso(time.time()), "restored_in": took}
        )
        tables, rows = len(manifest["relations"].get("table", [])), sum(manifest["rows"].values())
        return {
            **unchanged(),
            "changed": True,
            "backup": facts(self._store, name),
            "timeline": self._timeline.entries,
            "diff": {"before": f"{name}: {manifest.get('proven')}\n", "after": f"{name}: {decide.RESTORED}\n"},
            "msg": f"{name} was restored in {took:g} s: {tables} tables with {rows:,} rows, as they were dumped",
        }

    def refuse_what_is_not_whole(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Read all of a dump.

        :raises BackupFailed: it is not what it was, and what is wrong with it.
        """
        path = self._store.path(name)
        advice = "make another one (state present), or name an earlier one as backup"
        with open(path, "rb") as stream:
            wrong = decide.wrong_with_head(stream.read(16), os.path.getsize(path), int(manifest.get("bytes", -1)))
        if not wrong and manifest and checksum(path) != manifest.get("sha256"):
            wrong = "is corrupted: its checksum is not the one that was noted"
        if not wrong:
            try:
                with open(path, "rb") as stream:
                    read_to_its_end(self._source.server, stream, self._request.timeout)
            except PostgresFailed as error:
                wrong = decide.meaning(error.stderr or str(error))
        if wrong:
            raise BackupFailed(f"{name} {wrong}", advice, _NOW)

    def _refuse_without_memory(self) -> None:
        with open("/proc/meminfo", encoding="ascii") as stream:
            free = next((int(line.split()[1]) * 1024 for line in stream if line.startswith("MemAvailable:")), None)
        if free is not None and free < self._memory:
            raise BackupFailed(
                f"{free // 2**20} MiB of memory are available, the server to restore into may take {self._memory // 2**20}",
                "give it less with verify_memory, or verify when less is running",
                _NOW,
            )

    def _refuse_without_room(self, needed: int) -> None:
        """Look whether what is restored fits on the engine's disk, which may be that of the database too."""
        folder = str(self._source.engine.info().get("DockerRootDir") or "")
        if not os.path.isdir(folder):
            # An engine elsewhere.
            return
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        if needed + needed // 4 + self._spare > free:
            raise BackupFailed(
                f"{folder} has {free // 2**20} MiB free, what is restored takes about {needed // 2**20} MiB, and "
                f"{self._spare // 2**20} MiB are to be left",
                "make room there, or verify on another server",
                _NOW,
            )
