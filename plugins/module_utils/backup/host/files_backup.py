# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder or a file of an app in an archive: what users have uploaded, or its ``.env``.

Files are read while the app writes them: one that changes meanwhile is named, and one that vanishes.  The archive is written as
every backup is: its name comes last.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from ...base.errors import BadInput
from ...base.host.directory_handles import LinkMet, open_below, open_file, open_folder
from ...base.host.part_files import NoRoom, Part
from ...base.values import size as size_of
from ...operation.host.journal import Fence, working
from ...operation.options import LockOptions
from .. import backups as decide
from .age import Sealed, refuse_without_age
from .files_restore import put_back
from .store import BackupStore
from .summary import BackupFailed, facts, iso, unchanged
from .vault import Vaulted, opened, refuse_without_cryptography

_CHUNK = 1024 * 1024
# What a header and the padding of one file take at most in an archive.
_BESIDE = 2048


@dataclass(frozen=True)
class Met:
    """One thing on the way: the folder that it lies in, open, its name there, its path in the archive, and what it is."""

    folder: int
    name: str
    path: str
    known: os.stat_result


RESTORED = "restored"


@dataclass(frozen=True)
class Request:
    """Which files, where their archives are, and whether one is made or put back.

    :ivar name: what the archives are called by.
    :ivar path: the folder or file; ``dest`` is the folder of archives.
    :ivar state: ``present`` makes one, ``restored`` puts ``backup`` back, with ``replace`` also over what differs.
    :ivar encrypt_to: keys of age that can open it; or it is a vault with ``vault_password``.
    :ivar keep: how many archives are left; 0 removes none.
    :ivar min_free: bytes that are left on the disk, with a unit (``256M``).
    """

    name: str
    path: str
    dest: str
    lock: LockOptions
    state: str = "present"
    backup: str = ""
    replace: bool = False
    encrypt_to: tuple[str, ...] = ()
    vault_password: str = field(default="", repr=False)
    keep: int = 7
    min_free: str = "256M"


@dataclass
class Seen:
    """What was met on the way.

    :ivar folder: whether it is a folder that is backed up.
    :ivar changed: files that were written to while they were read; ``gone``: that vanished; ``left_out``: that are no files.
    """

    files: int = 0
    size: int = 0
    folder: bool = False
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def files_backup(request: Request, check_mode: bool) -> dict[str, Any]:
    """Make an archive, or put back what is in one.

    :raises BadInput: there is no backup, and why.
    """
    name, path = request.name, os.path.normpath(request.path)
    if not os.path.isabs(path) or path == "/":
        raise BadInput(f"path {path} has to be absolute, and below /")
    if not decide.is_label(name):
        raise BadInput(f"name {name!r} is none", "letters, digits, - and _")
    try:
        spare = size_of(request.min_free)
    except ValueError as error:
        raise BadInput(f"min_free: {error}") from error
    store = BackupStore(request.dest, ("", path, name))
    if request.state == RESTORED:
        if check_mode:
            return put_back(store, name, path, request.backup, request.replace, None)
        with _held(request.lock, store, name) as fence:
            return fence.reported(put_back(store, name, path, request.backup, request.replace, fence))
    if not os.path.lexists(path):
        raise BadInput(f"{path} is not there, nothing of it can be backed up")
    if os.path.islink(path):
        raise BadInput(f"{path} is a link", f"name {os.path.realpath(path)}")
    if os.path.commonpath([os.path.realpath(path), os.path.realpath(store.folder)]) == os.path.realpath(path):
        raise BadInput(f"dest {store.folder} is in {path}, which is backed up", "name a folder elsewhere as dest")
    recipients = list(request.encrypt_to)
    password = request.vault_password.strip()
    if recipients and password:
        raise BadInput("encrypt_to and vault_password are two ways to encrypt it", "leave one of them out")
    refuse_without_age(recipients)
    refuse_without_cryptography(password)
    if check_mode:
        return {**unchanged(), "changed": True, "msg": f"{path} would be backed up"}
    store.make()
    with _held(request.lock, store, name) as fence:
        return fence.reported(_made(request.keep, store, name, path, recipients, password, spare, fence))


@contextlib.contextmanager
def _held(lock: LockOptions, store: BackupStore, name: str) -> Iterator[Fence]:
    directory = lock.state_dir or os.path.join(store.folder, ".evenkeel")
    with working(lock, directory, f"files_backup of {name}") as fence, store.held():
        yield fence


def _made(
    keep: int,
    store: BackupStore,
    name: str,
    path: str,
    recipients: Sequence[str],
    password: str,
    spare: int,
    fence: Fence,
) -> dict[str, Any]:
    """Write an archive and read it again."""
    began = time.time()
    needed = sum(_BESIDE + met.known.st_size for met in _walk(path, Seen()))
    if needed + spare > store.free():
        raise BackupFailed(
            f"{store.folder} has {store.free() // 2**20} MiB free, {path} takes {needed // 2**20} MiB, and {spare // 2**20} MiB "
            "are to be left",
            "make room there, or name another folder as dest",
        )
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(began))
    file = decide.new_name(name, moment, store.names(), _ending(recipients, password))
    seen = Seen()
    try:
        with store.part(file, spare) as part:
            if recipients:
                with Sealed(recipients, part.write) as sealed:
                    _write(path, sealed, seen)
            elif password:
                with Vaulted(password, part.write) as vaulted:
                    _write(path, vaulted, seen)
            else:
                _write(path, part, seen)
            part.sync()
            if not recipients:
                _read_again(part, password, seen)
            manifest = {
                "format": "tar", "bytes": part.size, "sha256": part.sha256, "started": iso(began), "started_at": began,
                "seconds": round(time.time() - began, 1), "files": seen.files, "files_bytes": seen.size,
                "changed": seen.changed, "gone": seen.gone, "left_out": seen.left_out, "encrypted": bool(recipients or password),
                "folder": seen.folder,
                # What is encrypted for a key only its owner can read.
                "proven": "" if recipients else decide.READ,
            }  # fmt: skip
            with fence.act(f"keep backup {file}"):
                part.keep(manifest)
    except NoRoom as error:
        raise BackupFailed(str(error), "make room there, or name another folder as dest") from error
    late = [b.name for b in decide.to_remove(store.all(), keep, [])]
    for old in late:
        with fence.act(f"remove backup {old}"):
            store.remove(old)
    notes = [
        f"{len(found)} {what}: {', '.join(found[:3])}" + (" and more" if len(found) > 3 else "")
        for what, found in (
            ("were written to meanwhile", seen.changed),
            ("vanished meanwhile", seen.gone),
            ("are no files and were left out", seen.left_out),
        )
        if found
    ]
    sentence = f"{path} is backed up: {store.path(file)} ({seen.files:,} files, {seen.size:,} bytes)"
    return {
        **unchanged(),
        "changed": True,
        "backup": facts(store, file),
        "files": seen.files,
        "files_changed": seen.changed,
        "removed": late,
        "msg": "; ".join([sentence, *notes]),
    }


def _ending(recipients: Sequence[str], password: str) -> str:
    return "tar.age" if recipients else "tar.vault" if password else "tar"


def _walk(path: str, seen: Seen) -> Iterator[Met]:
    """Every file, folder and link, folders before what is in them; no link is followed.

    The app can exchange a folder for a link at any moment, so each is reached from the one above it.

    :raises BackupFailed: something cannot be read.
    """
    try:
        with open_folder(os.path.dirname(path)) as above:
            yield from _met(above, os.path.basename(path), "", seen)
    except OSError as error:
        raise _unreadable(f"{path}: {error.filename}", error) from error


def _unreadable(what: str, error: OSError) -> BackupFailed:
    return BackupFailed(f"{what} cannot be read: {error.strerror}", "run with become: true, or name another path")


def _met(folder: int, name: str, path: str, seen: Seen) -> Iterator[Met]:
    try:
        known = os.stat(name, dir_fd=folder, follow_symlinks=False)
        yield Met(folder, name, path or name, known)
        if stat.S_ISDIR(known.st_mode):
            seen.folder = True
            with open_below(folder, name) as inside:
                for entry in sorted(os.listdir(inside)):
                    yield from _met(inside, entry, f"{path}/{entry}" if path else entry, seen)
    except (FileNotFoundError, NotADirectoryError, LinkMet):
        seen.gone.append(path or name)


def _write(path: str, sink: Part | Sealed | Vaulted, seen: Seen) -> None:
    """Write everything into an archive, under its name relative to ``path``."""
    with tarfile.open(mode="w|", fileobj=sink, format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as archive:  # type: ignore[call-overload]
        for met in _walk(path, seen):
            if stat.S_ISREG(met.known.st_mode):
                _add_file(archive, met, seen)
            elif seen.folder or not stat.S_ISDIR(met.known.st_mode):
                _add_other(archive, met, seen)


def _entry(name: str, known: os.stat_result) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.uid, entry.gid, entry.mtime = (
        stat.S_IMODE(known.st_mode),
        known.st_uid,
        known.st_gid,
        known.st_mtime,
    )
    return entry


def _add_other(archive: tarfile.TarFile, met: Met, seen: Seen) -> None:
    entry = _entry(met.path, met.known)
    if stat.S_ISDIR(met.known.st_mode):
        entry.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(met.known.st_mode):
        try:
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(met.name, dir_fd=met.folder)
        except OSError:
            seen.gone.append(met.path)
            return
    else:
        seen.left_out.append(met.path)
        return
    archive.addfile(entry)


def _add_file(archive: tarfile.TarFile, met: Met, seen: Seen) -> None:
    try:
        file = open_file(met.name, met.folder)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENXIO):
            seen.left_out.append(met.path)
        elif error.errno in (errno.ENOENT, errno.ELOOP):
            seen.gone.append(met.path)
        else:
            raise _unreadable(met.path, error) from error
        return
    with file as stream:
        before = os.fstat(stream.fileno())
        entry = _entry(met.path, before)
        entry.size = before.st_size
        archive.addfile(entry, ExactSize(stream, before.st_size))  # type: ignore[arg-type]
        after = os.fstat(stream.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            seen.changed.append(met.path)
    seen.files += 1
    seen.size += before.st_size


class ExactSize:
    """As many bytes of a file as were announced: what was cut off meanwhile is made up for by zeros.

    :ivar left: bytes that have not been read yet.
    """

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self.left = stream, size

    def read(self, size: int) -> bytes:
        """The next bytes."""
        wanted = min(size, self.left)
        found = self._stream.read(wanted)
        self.left -= wanted
        return found + b"\0" * (wanted - len(found))


def _read_again(part: Part, password: str, seen: Seen) -> None:
    """Read the archive to its end.

    :raises BackupFailed: it is not what was written.
    """
    part.stream.seek(0)
    try:
        stream = io.BytesIO(opened(part.stream.read(), password)) if password else part.stream
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as archive:
            sizes = [entry.size for entry in archive if entry.isreg()]
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BackupFailed(f"what was written cannot be read: {error}") from error
    if (len(sizes), sum(sizes)) != (seen.files, seen.size):
        raise BackupFailed("what was written is not what was read")
