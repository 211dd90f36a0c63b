# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be put in the place of a database: a backup of ours, or a plain dump as ``pg_dump > backup.sql`` writes it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import secrets
import stat
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, Protocol

from ...base.errors import BadInput
from ...base.host.files import private_directory, read_json, write_private
from ...postgres.host.server import PSQL, PostgresFailed, Server
from .. import backups, plain_dumps
from .proof import Proof
from .source import Source
from .store import BackupStore
from .summary import BackupFailed, facts, iso

_CHUNK = 1024 * 1024
# A statement on one line that is longer than this would have to be in memory at once.
_LONGEST = 64 * 1024 * 1024
# A database is larger than the text it is made from by its indexes.
_GROWS = 2
_ADVICE = "make another one, or name an earlier one as backup"
_NOW = "nothing was changed"


class Restorable(Protocol):
    """What :class:`.backup_restore.Restoring` needs to know of it.

    :ivar name: as it is told.
    :ivar restored_as: the number of the database that it was restored as the last time.
    :ivar size: bytes that the database will take, 0 where that is not known.
    """

    name: str
    restored_as: int
    restored_at: str
    size: int

    @property
    def since(self) -> str:
        """From when it is, in words."""

    def facts(self) -> dict[str, Any]:
        """It, as the module returns it."""

    def look(self) -> None:
        """Find out what has to be known before anybody is asked whether to go on.

        :raises BackupFailed: it is not whole, and what is wrong with it.
        """

    def read(self) -> None:
        """Read all of it, where that was not done.

        :raises BackupFailed: it is not whole, and what is wrong with it.
        """

    def written_since(self, now: Mapping[str, int]) -> list[str]:
        """The tables that have another number of rows now."""

    def fill(self, server: Server, timeout: float) -> None:
        """Restore it into a new database.

        :raises PostgresFailed: that failed.
        """

    def differences(self, restored: Mapping[str, Any]) -> list[str]:
        """Where what was restored is something else."""

    def note(self, number: int) -> None:
        """Note as which database it was restored."""


class Archive:
    """A backup of ours.

    :raises BadInput: it is not there, or is of another database.
    """

    def __init__(self, source: Source, store: BackupStore, proof: Proof) -> None:
        self._store, self._proof = store, proof
        self.name = proof.chosen()
        self._manifest = store.manifest(self.name)
        database = source.server.database
        if (self._manifest.get("project"), self._manifest.get("database")) != (source.project, database):
            raise BadInput(
                f"{self.name} has no manifest of ours for {database}",
                "a dump of somebody else is restored as .sql or .sql.gz: pg_restore --no-owner -f NAME.sql FILE writes one of it",
            )
        self.restored_as = int(self._manifest.get("restored_as") or 0)
        self.restored_at = str(self._manifest.get("restored_at") or "")
        self.size = int(self._manifest.get("database_size") or 0)

    @property
    def since(self) -> str:
        return str(self._manifest["started"])

    def facts(self) -> dict[str, Any]:
        return facts(self._store, self.name)

    def look(self) -> None:
        """Its manifest says all that has to be known."""

    def read(self) -> None:
        self._proof.refuse_what_is_not_whole(self.name, self._manifest)

    def written_since(self, now: Mapping[str, int]) -> list[str]:
        return backups.written_since(self._manifest["rows"], now)

    def fill(self, server: Server, timeout: float) -> None:
        program = ["pg_restore", "--exit-on-error", "--no-tablespaces", "--dbname", server.database]
        with open(self._store.path(self.name), "rb") as stream:
            server.run(server.words(*program), stream, timeout)

    def differences(self, restored: Mapping[str, Any]) -> list[str]:
        return backups.differences(self._manifest, restored)

    def note(self, number: int) -> None:
        self._store.note(self.name, {**self._manifest, "restored_as": number, "restored_at": iso(time.time())})


class Plain:
    """A file of SQL, compressed by gzip or not.

    :param path: in the folder of backups, or absolute; ``directory``: the state directory.
    :param timeout: seconds that reading it may take: a few bytes of gzip can be years of text.
    :raises BadInput: there is no such file.
    """

    def __init__(self, source: Source, store: BackupStore, path: str, directory: str, timeout: float) -> None:
        self._server = source.server
        self._timeout = timeout
        self._restricted = False
        self._path = path if os.path.isabs(path) else store.path(os.path.basename(path))
        if not os.path.isabs(path) and os.path.dirname(path):
            raise BadInput(f"backup {path} is a relative path", f"name a file in {store.folder}, or an absolute path")
        self.name = os.path.basename(path)
        self._note = os.path.join(directory, "restored_plain.json")
        try:
            # Once, so that what was looked at is what is restored.
            self._handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise BadInput(f"the backup {self._path} cannot be read: {error.strerror}") from error
        known = os.fstat(self._handle)
        if not stat.S_ISREG(known.st_mode):
            raise BadInput(f"the backup {self._path} is no file")
        self._file = os.fdopen(self._handle, "rb")
        self._bytes, self._changed = known.st_size, known.st_mtime
        self._dump = plain_dumps.PlainDump()
        self._sum, self.size, self.restored_as, self.restored_at = "", 0, 0, ""

    @property
    def since(self) -> str:
        return f"the dump in {self.name} (a file of {iso(self._changed)})"

    def facts(self) -> dict[str, Any]:
        known = {"sha256": self._sum, "bytes": self._bytes, "started": iso(self._changed), "proven": backups.READ}
        return {"path": self._path, "database": self._server.database, **known}

    def look(self) -> None:
        self._file.seek(0)
        head = self._file.read(16)
        wrong = plain_dumps.wrong_with_start(self.name, head, self._bytes)
        if not wrong:
            try:
                self._read()
                self._restricted = self._knows_restrict()
                wrong = self._dump.verdict(self._major(), self._restricted)
            except EOFError:
                wrong = "is truncated: gzip's end is missing"
            except (OSError, zlib.error) as error:
                wrong = f"is corrupted ({error})"
        if wrong:
            raise BackupFailed(f"{self.name} {wrong}", _ADVICE, _NOW)
        self._sum = self._checksum()
        note = read_json(self._note)
        if note.get("sha256") == self._sum:
            self.restored_as, self.restored_at = int(note.get("restored_as") or 0), str(note.get("restored_at") or "")

    def read(self) -> None:
        """It was, before anybody was asked."""

    def written_since(self, now: Mapping[str, int]) -> list[str]:
        kept = {table: rows for table, rows in now.items() if table not in self._dump.inserted}
        return backups.written_since(plain_dumps.comparable(self._dump), kept)

    def fill(self, server: Server, timeout: float) -> None:
        words = server.words(*PSQL, "--single-transaction", "--output", "/dev/null", "--file", "-")
        server.feed([*words, "--dbname", server.database], self._parts(), timeout)
        if self._checksum() != self._sum:
            raise PostgresFailed(f"{self.name} was changed while it was restored")

    def differences(self, restored: Mapping[str, Any]) -> list[str]:
        return plain_dumps.differences(self._dump, restored)

    def note(self, number: int) -> None:
        private_directory(os.path.dirname(self._note))
        known = {"file": self._path, "sha256": self._sum, "restored_as": number, "restored_at": iso(time.time())}
        write_private(self._note, json.dumps(known))

    def _major(self) -> int:
        """The server's major version, 0 where it does not say."""
        words = self._server.words(*PSQL, "--dbname", self._server.database, "--command", "SHOW server_version_num")
        digits = self._server.run(words).strip()
        return int(digits) // 10000 if digits.isdecimal() else 0

    def _knows_restrict(self) -> bool:
        """Whether the psql that is used can be kept from running commands (PostgreSQL 13.22, 14.19, 15.14, 16.10, 17.6)."""
        return "\\restrict" in self._server.run(["psql", "--help=commands"])

    def _stream(self) -> IO[bytes]:
        """Its text from the beginning."""
        self._file.seek(0)
        head = self._file.read(2)
        self._file.seek(0)
        return gzip.GzipFile(fileobj=self._file) if plain_dumps.is_compressed(head) else self._file  # type: ignore[return-value]

    def _parts(self) -> Iterator[bytes]:
        """What psql reads: all of it, behind a key that only we know where psql takes one."""
        if self._restricted:
            yield f"\\restrict {secrets.token_hex(32)}\n".encode()
        stream, at = self._stream(), 0
        # In its own way pg_dump says the same; psql refuses to be restricted twice, and an older one knows neither.
        hidden = [start + n for start in self._dump.restricts for n in (0, 1)]
        while True:
            part = stream.read(_CHUNK)
            if not part:
                return
            inside = [byte - at for byte in hidden if at <= byte < at + len(part)]
            at += len(part)
            if inside:
                changed = bytearray(part)
                for byte in inside:
                    changed[byte : byte + 1] = b"-"
                part = bytes(changed)
            yield part

    def _read(self) -> None:
        stream, size, until = self._stream(), 0, time.monotonic() + self._timeout
        while not self._dump.wrong:
            line = stream.readline(_CHUNK if self._dump.in_rows else _LONGEST)
            if not line:
                break
            if len(line) >= _LONGEST:
                raise BackupFailed(f"{self.name} has a statement of more than 64 MiB on one line", _ADVICE, _NOW)
            size += len(line)
            self._dump.read(line)
            if time.monotonic() > until:
                raise BackupFailed(
                    f"{self.name} was not read within {self._timeout:g} s: {size // 2**20} MiB of text by then, of a file "
                    f"of {max(1, self._bytes // 2**20)} MiB",
                    "if it is what it should be, a longer timeout (backup_timeout in a playbook)",
                    _NOW,
                )
        self.size = size * _GROWS

    def _checksum(self) -> str:
        self._file.seek(0)
        summed = hashlib.sha256()
        for part in iter(lambda: self._file.read(_CHUNK), b""):
            summed.update(part)
        return summed.hexdigest()


def restorable(
    given: str, timeout: float, source: Source, store: BackupStore, proof: Proof, directory: str
) -> Restorable:
    """What is named by a file.

    :param timeout: seconds in which a plain dump has to be read.
    :raises BadInput: nothing is named, or it is not there.
    """
    if not given:
        raise BadInput("state restored needs the exact backup", "name the file in dest as backup")
    if plain_dumps.is_plain_name(given):
        return Plain(source, store, given, directory, timeout)
    return Archive(source, store, proof)
