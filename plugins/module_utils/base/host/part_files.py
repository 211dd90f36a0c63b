# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Large files that are written whole or not at all: under another name, with a checksum, and with room left on the disk."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol

from .files import sync_directory

#: What the name of a file ends with that is not whole yet.
PART = ".part"

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
