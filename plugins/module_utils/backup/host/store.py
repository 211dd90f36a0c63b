# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of backups: a dump is there whole and with its manifest, or not at all.

The manifest comes first, and the dump gets its name last: so what is named as a dump always has one.  What a killed run has
left is a ``.part``, or a manifest of nothing; whoever has the folder next takes it away.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from typing import Any

from ...base.errors import BadInput
from ...base.host.directory_handles import open_folder
from ...base.host.file_lock import flock
from ...base.host.files import read_json, sync_directory, write_private
from ...base.host.part_files import PART, Part, part_of
from ..backups import Backup, is_name

MANIFEST = ".json"
_MARK = "evenkeel-backup-1"


class BackupStore:
    """The backups of one database in a folder, which other databases may share.

    :param folder: absolute; made where there is none (mode 0700).
    :param of: project, service and database, as the manifests name them.
    :raises BadInput: it cannot be used.
    """

    def __init__(self, folder: str, of: tuple[str, str, str]) -> None:
        self.folder = folder
        self._of = of
        if not os.path.isabs(folder):
            raise BadInput(f"dest {folder} is relative", "write an absolute path")

    def make(self) -> None:
        """Make the folder where there is none.

        :raises BadInput: it cannot be made or written to.
        """
        advice = "run with become: true, or name another folder as dest"
        try:
            with open_folder(self.folder, make=0o700):
                pass
        except OSError as error:
            raise BadInput(f"the folder {self.folder} cannot be made: {error.strerror}", advice) from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise BadInput(f"the folder {self.folder} cannot be written to", advice)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have the folder for oneself while the block runs; what a killed run left goes first.

        :raises BadInput: another call has it.
        """
        with flock(os.path.join(self.folder, ".lock"), fcntl.LOCK_EX | fcntl.LOCK_NB) as mine:
            if not mine:
                raise BadInput(f"another backup is being written to {self.folder}", "wait for it and run this again")
            for name in self._names():
                if (name.endswith(PART) and is_name(name[: -len(PART)])) or self._is_manifest_of_nothing(name):
                    self._unlink(name)
            yield

    def _is_manifest_of_nothing(self, name: str) -> bool:
        dump = name[: -len(MANIFEST)]
        return name.endswith(MANIFEST) and is_name(dump) and not os.path.lexists(self.path(dump))

    def _names(self) -> list[str]:
        return sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []

    def path(self, name: str) -> str:
        """Where a file of the folder is."""
        return os.path.join(self.folder, name)

    def names(self) -> list[str]:
        """The dumps of any database that lie there."""
        return [name for name in self._names() if is_name(name)]

    def manifest(self, name: str) -> dict[str, Any]:
        """The manifest of a dump, empty where it has none of ours."""
        known = read_json(self.path(f"{name}{MANIFEST}"))
        return known if known.get("made_by") == _MARK and known.get("file") == name else {}

    def all(self) -> list[Backup]:
        """The backups of this database."""
        found = []
        for name in self.names():
            known = self.manifest(name)
            if known and (known.get("project"), known.get("service"), known.get("database")) == self._of:
                found.append(
                    Backup(
                        name, float(known["started_at"]), int(known["bytes"]), str(known.get("proven") or ""),
                        tuple(str(r) for r in known.get("releases") or ()),
                    )
                )  # fmt: skip
        return found

    def free(self) -> int:
        """Bytes that may still be written."""
        folder = self.folder
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        disk = os.statvfs(folder)
        return disk.f_bavail * disk.f_frsize

    def note(self, name: str, manifest: dict[str, Any]) -> None:
        """Write the manifest of a dump."""
        project, service, database = self._of
        named = {"made_by": _MARK, "file": name, "project": project, "service": service, "database": database}
        text = json.dumps({**manifest, **named}, indent=1, sort_keys=True)
        write_private(self.path(f"{name}{MANIFEST}"), f"{text}\n")

    def remove(self, name: str) -> None:
        """Take a dump away, and then its manifest."""
        self._unlink(name)
        self._unlink(f"{name}{MANIFEST}")
        sync_directory(self.folder)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(name))

    @contextlib.contextmanager
    def part(self, name: str, spare: int) -> Iterator[Part]:
        """A file that is written, and is gone at the end of the block unless it was kept."""
        with part_of(self, name, spare) as part:
            try:
                yield part
            finally:
                if not part.kept:
                    self._unlink(f"{name}{MANIFEST}")
