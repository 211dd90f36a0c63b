# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of backups: a dump is there whole and with its manifest, or not at all.

The manifest comes first, and the dump gets its name last: so what is named as a dump always has one.  What a killed run has
left is a ``.part``, or a manifest of nothing; whoever has the folder next takes it away.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol

from ..decide.backups import Backup, is_name
from .directory_handles import open_folder
from .files import read_json, sync_directory, write_private
from .flocks import flock
from .refusal import BadInput

PART, MANIFEST = ".part", ".json"
_MARK = "evenkeel-backup-1"
#: Bytes written between two looks whether there still is room for everybody else.
LOOK_EVERY = 16 * 1024 * 1024


class NoRoom(Exception):
    """The disk has no room for this file; the message is for the user."""


class Folder(Protocol):
    """What a file that is being written asks of the folder it will be in."""

    folder: str

    def path(self, name: str) -> str:
        """Where a file of the folder is."""

    def free(self) -> int:
        """Bytes that may still be written."""

    def note(self, name: str, manifest: dict[str, Any]) -> None:
        """Write down what the file will be, before it gets its name."""


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


@contextlib.contextmanager
def part_of(folder: Folder, name: str, spare: int) -> Iterator[Part]:
    """A file of a folder that is written, and is gone at the end of the block unless it was kept."""
    path = folder.path(f"{name}{PART}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w+b", buffering=0) as stream:
        part = Part(folder, name, stream, spare)
        try:
            yield part
        finally:
            if not part.kept:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)


class Part:
    """A file that is not whole yet.

    :param spare: bytes that are to be left on the disk for everybody else.
    """

    def __init__(self, store: Folder, name: str, stream: IO[bytes], spare: int) -> None:
        self._store = store
        self._name = name
        self._spare = spare
        self._looked = 0
        self.stream = stream
        self.size = 0
        self.kept = False
        self._sum = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()

    def write(self, data: bytes) -> None:
        """Append bytes.

        :raises NoRoom: there is none for them.
        """
        if self.size - self._looked >= LOOK_EVERY:
            self._looked = self.size
            if self._store.free() < self._spare:
                raise NoRoom(self._full(f"less than {self._spare // 2**20} MiB would be left on the disk"))
        view = memoryview(data)
        with self._room():
            while view:
                view = view[self.stream.write(view) :]
        self.size += len(data)
        self._sum.update(data)

    def sync(self) -> None:
        """Have what was written on the disk.

        :raises NoRoom: there was none for it after all.
        """
        with self._room():
            os.fsync(self.stream.fileno())

    def keep(self, manifest: dict[str, Any]) -> None:
        """Give it its name."""
        with self._room():
            self._store.note(self._name, manifest)
            os.replace(self._store.path(f"{self._name}{PART}"), self._store.path(self._name))
            self.kept = True
            sync_directory(self._store.folder)

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise NoRoom(self._full("the disk is full")) from error

    def _full(self, why: str) -> str:
        return f"{self._store.folder}: {why} after {self.size // 2**20} MiB of {self._name}"


def checksum(path: str, each: Callable[[], None] = lambda: None) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    summed = hashlib.sha256()
    with open(path, "rb") as stream:
        for part in iter(lambda: stream.read(1024 * 1024), b""):
            summed.update(part)
            each()
    return summed.hexdigest()
