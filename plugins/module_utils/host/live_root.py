# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a container that runs, as its processes see them: read, and replaced whole or not at all.

No link on the way is followed: in a container one may lead anywhere, and from here that would be this host's.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
from collections.abc import Iterator, Mapping

from ..decide.hotfix_in_place import compiled_of

_WAY = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_LARGEST = 8 * 1024 * 1024


class RootFailed(Exception):
    """A file of a container cannot be read or written; the message is for the user."""


class LiveRoot:
    """The files that the process ``pid`` sees.

    :param top: for tests, another folder.
    """

    def __init__(self, pid: int, top: str = "") -> None:
        self._top = top or f"/proc/{pid}/root"

    @contextlib.contextmanager
    def _folder(self, path: str, make: bool = False) -> Iterator[int]:
        """The folder of a file, open.

        :raises FileNotFoundError: it is not there.
        :raises RootFailed: a link is on the way, or nothing can be made there.
        """
        handle = os.open(self._top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in posixpath.dirname(path).strip("/").split("/"):
                if part:
                    further = self._step(handle, part, path, make)
                    os.close(handle)
                    handle = further
            yield handle
        finally:
            os.close(handle)

    @staticmethod
    def _step(handle: int, part: str, path: str, make: bool) -> int:
        try:
            return os.open(part, _WAY, dir_fd=handle)
        except FileNotFoundError:
            if not make:
                raise
            above = os.fstat(handle)
            os.mkdir(part, above.st_mode & 0o777, dir_fd=handle)
            os.chown(part, above.st_uid, above.st_gid, dir_fd=handle, follow_symlinks=False)
            return os.open(part, _WAY, dir_fd=handle)
        except OSError as error:
            raise RootFailed(f"{path} lies behind a link in the container") from error

    def content(self, path: str) -> bytes | None:
        """A file's content, None where there is none.

        :raises RootFailed: it cannot be read, or is no plain file.
        """
        try:
            with self._folder(path) as folder:
                handle = os.open(posixpath.basename(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
                with os.fdopen(handle, "rb") as stream:
                    return stream.read(_LARGEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RootFailed(f"{path} cannot be read in the container: {error.strerror}") from error

    def changed(self, path: str) -> float | None:
        """When what stands at a path was last put there or changed (UNIX time); of what is not there, when its folder was.

        None where that folder is not there either. The kernel keeps this moment, whatever times a file is given.
        """
        try:
            with self._folder(path) as folder:
                with contextlib.suppress(FileNotFoundError):
                    return os.stat(posixpath.basename(path), dir_fd=folder, follow_symlinks=False).st_ctime
                return os.fstat(folder).st_ctime
        except (OSError, RootFailed):
            return None

    def put(self, files: Mapping[str, tuple[bytes | None, int]]) -> None:
        """Bring files to these contents, None for no file, and take away what Python has compiled of them.

        One that is there keeps its owner and mode; a new one gets the owner of its folder and the mode given. All are written
        beside those they replace before the first is replaced.

        :raises RootFailed: nothing was replaced, or the disk was filled by others in between.
        """
        ready: list[tuple[str, str]] = []
        try:
            for path, (content, mode) in files.items():
                if content is not None:
                    ready.append((path, self._beside(path, content, mode)))
            for path, name in ready:
                with self._folder(path) as folder:
                    os.rename(name, posixpath.basename(path), src_dir_fd=folder, dst_dir_fd=folder)
            for path, (content, _mode) in files.items():
                self._clean(path, content is None)
        except OSError as error:
            raise RootFailed(f"nothing can be written in the container: {error.strerror}") from error
        finally:
            for path, name in ready:
                with contextlib.suppress(OSError, RootFailed), self._folder(path) as folder:
                    os.unlink(name, dir_fd=folder)

    def _beside(self, path: str, content: bytes, mode: int) -> str:
        """Write a new file beside another; returns its name."""
        base = posixpath.basename(path)
        name = f".{base[:200]}.{secrets.token_hex(4)}.tmp"
        with self._folder(path, make=True) as folder:
            try:
                like = os.stat(base, dir_fd=folder, follow_symlinks=False)
                mode = like.st_mode & 0o7777
            except FileNotFoundError:
                like = os.fstat(folder)
            handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fchown(stream.fileno(), like.st_uid, like.st_gid)
                    os.fchmod(stream.fileno(), mode)
                    os.fsync(stream.fileno())
            except BaseException:
                os.unlink(name, dir_fd=folder)
                raise
        return name

    def _clean(self, path: str, away: bool) -> None:
        base = posixpath.basename(path)
        with contextlib.suppress(FileNotFoundError), self._folder(path) as folder:
            if away:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(base, dir_fd=folder)
            if base.endswith(".py"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{base}c", dir_fd=folder)
        # A folder that is opened only as a way cannot be listed.
        with contextlib.suppress(FileNotFoundError), self._folder(f"{posixpath.dirname(path)}/__pycache__/x") as cache:
            listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=cache)
            try:
                for name in compiled_of(base, os.listdir(listing)):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=cache)
            finally:
                os.close(listing)
