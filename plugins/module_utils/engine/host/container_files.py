# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of containers and images, read through the engine: bounded in size and time, and nothing is run for it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import secrets
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..path_content import FILE, FOLDER, LINK, OTHER, Held
from .engine import APIError, DockerException, Engine, EngineFailed, NotFound, RequestException

#: On containers that are made only to read an image's files; none of them is ever started.
LABEL = "evenkeel.reader"
_MIB = 2**20
# How the engine tells kinds: bits of Go's file modes.
_DIRECTORY, _SYMLINK, _ODD = 1 << 31, 1 << 27, (1 << 26 | 1 << 25 | 1 << 24)


class TooMuch(Exception):
    """More would have to be read than may be; the message says what of it."""


@dataclass
class Budget:
    """What may still be read: bytes of one file, files, bytes, and until when (``time.monotonic``)."""

    one: int = 8 * _MIB
    files: int = 2000
    size: int = 256 * _MIB
    until: float = field(default_factory=lambda: time.monotonic() + 60.0)

    def take(self, size: int) -> None:
        """Count a file that is read now.

        :raises TooMuch: it would be too much.
        """
        if size > self.one:
            raise TooMuch(f"larger than {self.one // _MIB} MiB")
        self.files -= 1
        self.size -= size
        if self.files < 0 or self.size < 0 or time.monotonic() > self.until:
            raise TooMuch("not read: too much to compare")


class ContainerFiles:
    """The files of one container as its processes see them, mounts included; it need not run."""

    def __init__(self, engine: Engine, container_id: str) -> None:
        self._engine = engine
        self.id = container_id

    def _opened(self, path: str) -> tuple[dict[str, Any], Iterator[bytes]] | None:
        """What stands there, and its tar archive piece by piece.

        :raises EngineFailed: the engine does not answer, or the container is gone.
        """
        try:
            parts, stat = self._engine.api.get_archive(self.id, path)
        except NotFound as error:
            if "No such container" in str(error):
                raise EngineFailed("it is not there any more") from error
            return None
        except APIError as error:
            raise EngineFailed(str(error.explanation or error)) from error
        except (DockerException, RequestException) as error:
            raise EngineFailed(f"{path} cannot be read: {type(error).__name__}") from error
        return stat, parts

    def held(self, path: str, budget: Budget) -> Held | None:
        """What stands at a path, None where nothing does; of a folder only that it is one.

        :raises EngineFailed: the engine does not answer.
        """
        found = self._opened(path)
        if not found:
            return None
        stat, parts = found
        mode, size = int(stat.get("mode") or 0), int(stat.get("size") or 0)
        if mode & _DIRECTORY:
            return Held(FOLDER)
        if mode & _ODD:
            return Held(OTHER)
        if mode & _SYMLINK:
            size = 0
        try:
            budget.take(size)
            with self._unpacked(parts, size + _MIB) as archive:
                member = archive.next()
                return _held(archive, member) if member else None
        except TooMuch as error:
            return Held(FILE, "", mode & 0o7777, size, why=str(error))

    def below(self, path: str, budget: Budget) -> dict[str, Held]:
        """Every file and link at a path and below it; a folder too large to read is one entry that says so.

        :raises EngineFailed: the engine does not answer.
        """
        first = self.held(path, budget)
        if first is None or first.kind != FOLDER:
            return {path: first} if first else {}
        opened = self._opened(path)
        result: dict[str, Held] = {}
        try:
            with self._unpacked(opened[1] if opened else iter(()), budget.size) as archive:
                for member in archive:
                    inside = member.name.partition("/")[2]
                    if inside and not member.isdir():
                        budget.take(member.size)
                        result[f"{path.rstrip('/')}/{inside}"] = _held(archive, member)
        except TooMuch as error:
            result[path] = Held(FILE, why=str(error))
        return result

    def content(self, path: str, limit: int = 8 * _MIB) -> bytes | None:
        """The content of one file, None where there is none; a link is not followed.

        :raises EngineFailed: the engine does not answer.
        :raises TooMuch: it is larger than ``limit`` bytes.
        """
        found = self.whole(path, limit)
        return found[1] if found else None

    def whole(self, path: str, limit: int = 8 * _MIB) -> tuple[tarfile.TarInfo, bytes] | None:
        """One plain file with its owner and mode, as :meth:`content` reads it."""
        found = self._opened(path)
        if not found or int(found[0].get("mode") or 0) & (_DIRECTORY | _SYMLINK | _ODD):
            return None
        if int(found[0].get("size") or 0) > limit:
            raise TooMuch(f"{path} is larger than {limit // _MIB} MiB")
        with self._unpacked(found[1], limit + _MIB) as archive:
            member = archive.next()
            stream = archive.extractfile(member) if member and member.isreg() else None
            return (member, stream.read()) if member and stream else None

    @staticmethod
    @contextlib.contextmanager
    def _unpacked(parts: Iterator[bytes], limit: int) -> Iterator[tarfile.TarFile]:
        whole = bytearray()
        try:
            for part in parts:
                whole += part
                if len(whole) > limit:
                    # A file that grows as it is read, such as a log.
                    raise TooMuch(f"larger than {limit // _MIB} MiB")
        except (DockerException, RequestException, OSError) as error:
            raise EngineFailed(f"reading broke off: {type(error).__name__}") from error
        try:
            with tarfile.open(fileobj=io.BytesIO(bytes(whole))) as archive:
                yield archive
        except tarfile.TarError as error:
            raise EngineFailed(f"what the engine sent cannot be read: {error}") from error


def _held(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Held:
    mode, at = member.mode & 0o7777, float(member.mtime)
    if member.issym():
        return Held(LINK, hashlib.sha256(member.linkname.encode("utf-8", "surrogateescape")).hexdigest(), at=at)
    if member.isdir():
        return Held(FOLDER)
    stream = archive.extractfile(member) if member.isreg() or member.islnk() else None
    if stream is None:
        return Held(OTHER)
    return Held(FILE, hashlib.sha256(stream.read()).hexdigest(), mode, member.size, at)


@contextlib.contextmanager
def image_files(engine: Engine, image: str, project: str) -> Iterator[ContainerFiles]:
    """The files of an image, read from a container that is made for it, never started, and removed at the end.

    :param project: whose reader it is; what a killed call left of it goes first.
    :raises EngineFailed: the image is gone, or no container can be made of it.
    """
    sweep(engine, project)
    configuration = {"Image": image, "Cmd": ["-"], "Labels": {LABEL: project}, "HostConfig": {"NetworkMode": "none"}}
    try:
        api: Any = engine.api
        made = api.create_container_from_config(configuration, f"evenkeel-reader-{secrets.token_hex(6)}")
    except NotFound as error:
        raise EngineFailed(f"the image {image[:19]} is not on this host any more") from error
    except (DockerException, RequestException) as error:
        raise EngineFailed(f"the image {image[:19]} cannot be read: {type(error).__name__}") from error
    try:
        yield ContainerFiles(engine, str(made["Id"]))
    finally:
        # With the volumes that its image declares.
        with contextlib.suppress(EngineFailed):
            engine.remove(str(made["Id"]))


def sweep(engine: Engine, project: str) -> None:
    """Take away the readers that killed calls left, but none that a living call may still use (600 s)."""
    for found in engine.brief({LABEL: project}):
        if found["Created"] < time.time() - 600.0:
            with contextlib.suppress(EngineFailed):
                engine.remove(str(found["Id"]))
