# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of an archive put back where they were, each whole or not at all, while the app goes on reading them.

In place, since a container keeps the folder that was mounted: another one in its place it would not see.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tarfile
from collections.abc import Mapping
from typing import IO, Any

from ..journal import Fence
from .backup_store import BackupStore, checksum
from .backup_told import BackupFailed, told, unchanged
from .refusal import BadInput

_CHUNK = 1024 * 1024
_NOW = "nothing was changed"


def put_back(
    store: BackupStore, name: str, path: str, params: Mapping[str, Any], fence: Fence | None
) -> dict[str, Any]:
    """Put back what is missing, and with ``replace`` what differs; what is there besides stays.

    :param fence: None to tell what would be done.
    :raises BadInput: nothing was touched.
    """
    file = os.path.basename(str(params.get("backup") or ""))
    if not file:
        raise BadInput("state restored needs the exact backup", "name the file in dest as backup")
    manifest = store.manifest(file)
    if not os.path.isfile(store.path(file)) or (manifest.get("service"), manifest.get("database")) != (path, name):
        raise BadInput(f"{file} in {store.folder} is no backup of {path} with the name {name}")
    if manifest.get("encrypted"):
        how = (
            f"ansible-vault decrypt --output FILES.tar {file}"
            if file.endswith(".vault")
            else f"age --decrypt -i KEY {file}"
        )
        raise BadInput(
            f"{file} is encrypted, and what decrypts it is not on this host",
            f"decrypt it where the key or password is ({how}) and unpack that with tar",
        )
    if os.path.getsize(store.path(file)) < int(manifest["bytes"]):
        raise BackupFailed(f"{file} is truncated", "name an earlier one as backup", _NOW)
    if checksum(store.path(file)) != manifest.get("sha256"):
        raise BackupFailed(
            f"{file} is corrupted: its checksum is not the one that was noted", "name an earlier one as backup", _NOW
        )
    single = not manifest.get("folder")
    written: list[str] = []
    differing: list[str] = []
    with tarfile.open(store.path(file), "r:") as archive:
        for entry in archive:
            target = _target(path, entry, single)
            missing = not os.path.lexists(target)
            content = archive.extractfile(entry) if entry.isreg() else None
            if not missing and (content is None or _is_same(target, entry, content)):
                continue
            if not missing and not params.get("replace"):
                differing.append(entry.name)
                continue
            written.append(entry.name)
            if fence:
                with fence.act(f"put back {entry.name}"):
                    _put(target, entry, archive.extractfile(entry) if entry.isreg() else None)
    done = "were put back" if fence else "would be put back"
    text = f"{len(written):,} of {file} {done} in {path}" if written else f"nothing of {file} is missing in {path}"
    if differing:
        more = " and more" if len(differing) > 3 else ""
        text += f"; {len(differing)} differ and stay as they are (replace takes the backup's): {', '.join(differing[:3])}{more}"
    return {
        **unchanged(), "changed": bool(written), "backup": told(store, file), "msg": text, "differing": differing,
        "diff": {"before": "", "after": "".join(f"{each}\n" for each in written[:100])},
    }  # fmt: skip


def _target(path: str, entry: tarfile.TarInfo, single: bool) -> str:
    """Where an entry belongs.

    :raises BackupFailed: outside, or by way of a link.
    """
    parts = entry.name.split("/")
    if entry.name.startswith("/") or ".." in parts or not (entry.isreg() or entry.isdir() or entry.issym()):
        raise BackupFailed(f"the archive has {entry.name!r}, which is none of what is backed up", now=_NOW)
    if single:
        return path
    place = path
    for part in parts[:-1]:
        place = os.path.join(place, part)
        if os.path.islink(place):
            raise BackupFailed(f"{place} is a link by now, nothing is written through it", "remove the link")
    return os.path.join(path, entry.name)


def _is_same(target: str, entry: tarfile.TarInfo, content: IO[bytes]) -> bool:
    try:
        handle = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(handle, "rb") as stream:
        known = os.fstat(handle)
        if not stat.S_ISREG(known.st_mode) or known.st_size != entry.size:
            return False
        for part in iter(lambda: content.read(_CHUNK), b""):
            if stream.read(len(part)) != part:
                return False
    return True


def _put(target: str, entry: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    if entry.isdir():
        os.makedirs(target, exist_ok=True)
        _own(target, entry)
    else:
        _write(target, entry, content)


def _write(target: str, entry: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    """A file or link under its name at once."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = os.path.join(os.path.dirname(target), f".evenkeel-{secrets.token_hex(8)}")
    try:
        if content is None:
            os.symlink(entry.linkname, temporary)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as stream:
                for part in iter(lambda: content.read(_CHUNK), b""):
                    stream.write(part)
                stream.flush()
                os.fsync(stream.fileno())
            _own(temporary, entry)
            os.utime(temporary, (entry.mtime, entry.mtime))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _own(path: str, entry: tarfile.TarInfo) -> None:
    if os.geteuid() == 0:
        os.chown(path, entry.uid, entry.gid)
    os.chmod(path, entry.mode & 0o777)
