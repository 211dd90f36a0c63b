# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that an app is made of, as far as they say how it starts."""

from __future__ import annotations

import os
import stat

#: Bytes of a file that are read; more than that nobody has written by hand.
_MOST_BYTES = 65536
#: Folders below the root that are looked into, and how many in all.
_DEEPEST, _MOST_FOLDERS = 6, 2000
_NOT_OURS = {"node_modules", "site-packages", "__pycache__", "venv", "env", "static", "media", "dist", "build", "vendor"}  # fmt: skip


def text_of(path: str) -> str:
    """The beginning of a regular file; empty where there is none, or none that may be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(handle, encoding="utf-8", errors="replace") as stream:
            return stream.read(_MOST_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else ""
    except OSError:
        return ""


class SourceTree:
    """What lies below a folder; looked at when it is first asked.

    :param root: the project's folder; empty for none.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._paths: list[str] | None = None

    @property
    def paths(self) -> list[str]:
        """Relative paths of its files, those nearest to the root first."""
        if self._paths is None:
            self._paths = sorted(self._walk(), key=lambda path: (path.count("/"), path)) if self.root else []
        return self._paths

    def _walk(self) -> list[str]:
        found: list[str] = []
        for seen, (folder, folders, files) in enumerate(os.walk(self.root)):
            if seen >= _MOST_FOLDERS:
                break
            inside = os.path.relpath(folder, self.root)
            depth = 0 if inside == "." else inside.count("/") + 1
            folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _NOT_OURS and depth < _DEEPEST)
            found += [os.path.normpath(os.path.join(inside, name)) for name in files]
        return found

    def ended_by(self, *ends: str) -> list[str]:
        """Absolute paths of the files whose names end in one of these."""
        return [os.path.join(self.root, path) for path in self.paths if path.endswith(ends)]

    def ending(self, end: str) -> str:
        """The text of the file nearest to the root whose path ends like this; empty for none."""
        near = next((path for path in self.paths if path == end or path.endswith(f"/{end}")), "")
        return text_of(os.path.join(self.root, near)) if near else ""
