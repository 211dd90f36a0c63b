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
from collections.abc import Iterable, Iterator, Mapping

from ...base.host.directory_handles import LinkMet, open_below, open_file, write_beside

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
            with open_below(handle, posixpath.dirname(path), 0o755 if make else None, like_above=True) as folder:
                yield folder
        except LinkMet as error:
            raise RootFailed(f"{path} lies behind a link in the container") from error
        finally:
            os.close(handle)

    def content(self, path: str) -> bytes | None:
        """A file's content, None where there is none.

        :raises RootFailed: it cannot be read, or is no plain file.
        """
        try:
            with self._folder(path) as folder, open_file(posixpath.basename(path), folder) as stream:
                return stream.read(_LARGEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RootFailed(f"{path} cannot be read in the container: {error.strerror}") from error

    def link(self, path: str) -> str:
        """Where a link leads by its own words, empty for what is none.

        :raises RootFailed: a link is on the way.
        """
        try:
            with self._folder(path) as folder:
                return os.readlink(posixpath.basename(path), dir_fd=folder)
        except OSError:
            return ""

    def grown(self, path: str, position: int) -> tuple[bytes, int]:
        """What was written to a file behind a position, and the position behind that.

        :param position: in bytes; negative ones count from the end. Of a file that is shorter by now all counts.
        :raises OSError: it cannot be read. :raises RootFailed: a link is on the way.
        """
        with self._folder(path) as folder, open_file(posixpath.basename(path), folder) as stream:
            size = stream.seek(0, os.SEEK_END)
            start = max(0, size + position) if position < 0 else position if position <= size else 0
            stream.seek(start)
            data = stream.read(_LARGEST)
            return data, start + len(data)

    def names(self, folder: str) -> list[str]:
        """What lies in a folder, nothing where there is none.

        :raises RootFailed: a link is on the way, or it cannot be read.
        """
        try:
            with self._folder(posixpath.join(folder, "x")) as handle:
                return sorted(os.listdir(handle))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RootFailed(f"{folder} cannot be read in the container: {error.strerror}") from error

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
        with self._folder(path, make=True) as folder:
            try:
                like = os.stat(base, dir_fd=folder, follow_symlinks=False)
                mode = like.st_mode & 0o7777
            except FileNotFoundError:
                like = os.fstat(folder)
            return write_beside(folder, [content], mode, (like.st_uid, like.st_gid))

    def _clean(self, path: str, away: bool) -> None:
        base = posixpath.basename(path)
        with contextlib.suppress(FileNotFoundError), self._folder(path) as folder:
            if away:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(base, dir_fd=folder)
            if base.endswith(".py"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{base}c", dir_fd=folder)
        with contextlib.suppress(FileNotFoundError), self._folder(f"{posixpath.dirname(path)}/__pycache__/x") as cache:
            for name in compiled_of(base, os.listdir(cache)):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=cache)


def compiled_of(name: str, there: Iterable[str]) -> list[str]:
    """Of the files in ``__pycache__`` those that Python made of a module."""
    stem, ending = posixpath.splitext(name)
    if ending != ".py":
        return []
    return sorted(n for n in there if n.endswith(".pyc") and n.startswith(f"{stem}."))
