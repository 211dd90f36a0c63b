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
import tarfile
from collections.abc import Iterator
from typing import IO, Any

from ...base.errors import BadInput
from ...base.host.directory_handles import (
    LinkMet,
    give_away,
    make_below,
    open_below,
    open_file,
    open_folder,
    put_in_place,
    write_beside,
)
from ...base.host.part_files import checksum
from ...operation.host.journal import Fence
from .store import BackupStore
from .summary import BackupFailed, facts, unchanged

_CHUNK = 1024 * 1024
_NOW = "nothing was changed"
_MISSING, _SAME, _DIFFERS = "missing", "same", "differs"


def put_back(
    store: BackupStore, name: str, path: str, backup: str, replace: bool, fence: Fence | None
) -> dict[str, Any]:
    """Put back what is missing, and with ``replace`` what differs; what is there besides stays.

    :param backup: the archive's file, which has to be one of ``path`` with that name.
    :param fence: None to tell what would be done.
    :raises BadInput: nothing was touched.
    """
    file = os.path.basename(backup)
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
            state = _state(target, entry, archive.extractfile(entry) if entry.isreg() else None)
            if state == _SAME:
                continue
            if state == _DIFFERS and not replace:
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
        **unchanged(), "changed": bool(written), "backup": facts(store, file), "msg": text, "differing": differing,
        "diff": {"before": "", "after": "".join(f"{each}\n" for each in written[:100])},
    }  # fmt: skip


#: The folder above all that is put back, which no container has mounted, and where an entry belongs below it.
_Target = tuple[str, str]


def _target(path: str, entry: tarfile.TarInfo, single: bool) -> _Target:
    """Where an entry belongs.

    :raises BackupFailed: outside.
    """
    parts = entry.name.split("/")
    if entry.name.startswith("/") or ".." in parts or not (entry.isreg() or entry.isdir() or entry.issym()):
        raise BackupFailed(f"the archive has {entry.name!r}, which is none of what is backed up", now=_NOW)
    above, name = os.path.split(path)
    return above, name if single else os.path.join(name, entry.name)


@contextlib.contextmanager
def _opened(target: _Target, make: int | None = None) -> Iterator[int]:
    """The folder that an entry belongs into; the app can exchange each folder on the way for a link at any moment.

    :raises BackupFailed: by way of a link, or it cannot be written to.
    """
    try:
        with open_folder(target[0], make) as above, open_below(above, os.path.dirname(target[1]), make) as folder:
            yield folder
    except FileNotFoundError:
        raise
    except LinkMet as error:
        raise BackupFailed(
            f"{error.filename} on the way to {os.path.join(*target)} is a link by now, nothing is written through it",
            "remove the link",
        ) from error
    except OSError as error:
        raise BackupFailed(f"{os.path.join(*target)} cannot be put back: {error.strerror}") from error


def _state(target: _Target, entry: tarfile.TarInfo, content: IO[bytes] | None) -> str:
    name = os.path.basename(target[1])
    try:
        with _opened(target) as folder:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            return _SAME if content is None or _is_same(folder, name, entry, content) else _DIFFERS
    except FileNotFoundError:
        return _MISSING


def _is_same(folder: int, name: str, entry: tarfile.TarInfo, content: IO[bytes]) -> bool:
    try:
        file = open_file(name, folder)
    except OSError:
        return False
    with file as stream:
        if os.fstat(stream.fileno()).st_size != entry.size:
            return False
        for part in iter(lambda: content.read(_CHUNK), b""):
            if stream.read(len(part)) != part:
                return False
    return True


def _put(target: _Target, entry: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    """A file, link or folder under its name at once."""
    name, owner, mode = os.path.basename(target[1]), (entry.uid, entry.gid), entry.mode & 0o777
    with _opened(target, make=0o755) as folder:
        if entry.isdir():
            # The app may make it at this moment, and then it stays as the app has made it.
            with contextlib.suppress(FileExistsError), make_below(folder, name) as made:
                give_away(made, owner, mode)
            return
        if content is None:
            beside = f".evenkeel-{secrets.token_hex(8)}"
            os.symlink(entry.linkname, beside, dir_fd=folder)
        else:
            beside = write_beside(folder, iter(lambda: content.read(_CHUNK), b""), mode, owner, entry.mtime)
        put_in_place(folder, beside, name)
