# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that a long module tells its progress in: private, appended line by line, read by whoever asked for it.

Telling never breaks the work: what cannot be written is not told.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...base.host import known_secrets
from ...base.host.files import FilesFailed, private_directory
from ...base.options import read
from ..progress import Line, as_json, is_id

#: The option by which the action plugin names the file.
PROGRESS_SPEC: dict[str, Any] = {"progress_id": {"type": "str"}}
_KEPT = 20


@dataclass(frozen=True)
class ProgressOptions:
    """Which file a call tells its progress in.

    :ivar progress_id: its name, empty where nobody listens.
    """

    progress_id: str = ""


def progress_options(params: Mapping[str, Any]) -> ProgressOptions:
    """The file that a module was given."""
    return read(ProgressOptions, PROGRESS_SPEC, params)


class Progress:
    """The lines of one call.

    :param path: the file, empty where nobody listens.
    """

    def __init__(self, path: str = "", handle: int = -1) -> None:
        self.path = path
        self._handle = handle
        self._count = 0

    @classmethod
    def open(cls, state_dir: str, progress_id: str) -> Progress:
        """Begin the file ``<state_dir>/progress/<progress_id>.jsonl``; silent where nobody asked or it cannot be made."""
        if not is_id(progress_id):
            return cls()
        try:
            folder = private_directory(os.path.join(private_directory(state_dir), "progress"))
            _prune(folder)
            path = os.path.join(folder, f"{progress_id}.jsonl")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
            return cls(path, os.open(path, flags, 0o600))
        except (OSError, FilesFailed):
            return cls()

    def tell(self, *lines: Line) -> None:
        """Append lines."""
        for line in lines:
            if self._handle >= 0:
                line = replace(line, text=known_secrets.masked_text(line.text))
                # One write a line: a reader never sees half of one for longer than a moment.
                with contextlib.suppress(OSError):
                    os.write(self._handle, f"{as_json(line, self._count + 1)}\n".encode())
                    self._count += 1

    def say(self, text: str, step: str = "", service: str = "", container: str = "", seconds: float = 0.0) -> None:
        """Append one line."""
        self.tell(Line(step, service, container, seconds, text))

    def close(self) -> None:
        """Nothing more will be told; the file stays for whoever has not read its end."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


#: Where nobody listens.
SILENT = Progress()


class Relay:
    """Tells what another call tells, for a call that waits for that one.

    :param last: how many of the lines that are there already are told as well.
    """

    def __init__(self, mine: Progress, state_dir: str, last: int = 3) -> None:
        self._mine = mine
        self._state_dir = state_dir
        self._last = last
        self._path = ""
        self._offset = 0

    def pump(self) -> None:
        """Tell what is new since the last time."""
        newest = latest(self._state_dir, self._mine.path)
        if not newest:
            return
        begun = newest != self._path
        lines, self._offset = _read_from(newest, 0 if begun else self._offset)
        if not self._path:
            lines = lines[-self._last :] if self._last else []
            self._mine.say("another run is at work on this; what it does:")
        self._path = newest
        self._mine.tell(*lines)


def latest(state_dir: str, but: str = "") -> str:
    """The file that was begun or written to last, empty when there is none.

    :param but: a file that does not count, one's own.
    """
    folder = os.path.join(state_dir, "progress")
    return next((path for path in _newest_first(folder) if path != but), "")


def _newest_first(folder: str) -> list[str]:
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if is_id(name[: -len(".jsonl")]) and name.endswith(".jsonl"):
                    found.append((os.lstat(path).st_mtime, path))
    return [path for _time, path in sorted(found, reverse=True)]


def _prune(folder: str) -> None:
    for path in _newest_first(folder)[_KEPT:]:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _read_from(path: str, offset: int) -> tuple[list[Line], int]:
    """Whole lines after a number of bytes, and where the next ones begin."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return [], offset
    with os.fdopen(handle, "rb") as stream:
        stream.seek(offset)
        whole = stream.read()
    whole = whole[: whole.rfind(b"\n") + 1]
    lines = []
    for row in whole.decode("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            known = json.loads(row)
            lines.append(
                Line(known["step"], known["service"], known["container"], float(known["seconds"]), known["text"])
            )
    return lines, offset + len(whole)
