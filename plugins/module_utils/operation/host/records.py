# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence on the target: an append-only journal, and one record per operation.  Never a secret in either."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from ...base.host import known_secrets
from ...base.host.files import private_directory, read_json, write_private_somehow
from ..lease import is_run

#: A reason may quote a program's output, which may quote anything: its first line says what happened.
_LONGEST = 300


def iso(moment: float) -> str:
    """A UNIX time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def first_line(text: str) -> str:
    """The first line that says something, without what may follow it: logs and their secrets."""
    # Before it is cut: half of a secret is told as well.
    text = known_secrets.masked_text(text)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line[len("What: ") if line.startswith("What: ") else 0 :][:_LONGEST]


#: Bytes of a journal that is put aside: some thousand operations.
FULL = 8 * 1024 * 1024


class Journal:
    """Lines of JSON that are only ever appended, each on the disk before the next thing happens.

    A full one is put aside as ``<path>.1``, in place of the one before it: the last two are kept.

    :param path: the file; made with mode 0600.
    :param full: bytes after which it is put aside.
    """

    def __init__(self, path: str, full: int = FULL) -> None:
        self.path = path
        self._full = full

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one line whole, or nothing.  A torn line before it stays alone: it gets its own end.

        The caller holds the lock of the records, so that there is one writer.

        :raises OSError: full disk, no permission.
        """
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self.path).st_size > self._full:
                os.replace(self.path, f"{self.path}.1")
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            data = (
                (b"\n" if torn else b"")
                + json.dumps(known_secrets.masked(line), separators=(",", ":")).encode()
                + b"\n"
            )
            try:
                written = os.write(handle, data)
                if written < len(data):
                    raise OSError(errno.ENOSPC, "No space left on device", self.path)
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every whole line, in order; torn ones are passed over."""
        for path in (f"{self.path}.1", self.path):
            with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as stream:
                for text in stream:
                    try:
                        value = json.loads(text)
                    except ValueError:
                        continue
                    if isinstance(value, dict):
                        yield value

    def highest_number(self) -> int:
        """The highest fencing number it has seen, 0 for none."""
        numbers = [line["number"] for line in self.lines() if isinstance(line.get("number"), int)]
        return max(numbers, default=0)


class Records:
    """``operations/<run id>.json``: who did what, from where, in which steps, and how to go back.

    :param directory: the state directory.
    """

    def __init__(self, directory: str) -> None:
        self.folder = os.path.join(directory, "operations")

    def path_of(self, run: str) -> str:
        """The file of one run."""
        if not is_run(run):
            raise ValueError(f"{run!r} is no run id")
        return os.path.join(self.folder, f"{run}.json")

    def read(self, run: str) -> dict[str, Any]:
        """One record, empty when there is none."""
        return read_json(self.path_of(run)) if is_run(run) else {}

    def _runs(self) -> list[str]:
        names = os.listdir(self.folder) if os.path.isdir(self.folder) else []
        return [run for run in (name[: -len(".json")] for name in names) if is_run(run)]

    def newest(self, but: str = "") -> dict[str, Any]:
        """The record of the run that began last, empty when there is none.

        :param but: a run that is passed over.
        """
        runs = [run for run in self._runs() if run != but]
        # Names begin with a second, in which there may be several.
        second = max((run.partition("-")[0] for run in runs), default="")
        found = [self.read(run) for run in runs if run.startswith(f"{second}-")]
        return max(found, key=lambda record: int(record.get("number") or 0), default={})

    def last(self, playbook: str, most: int) -> list[dict[str, Any]]:
        """The records of the last runs of a playbook that ended well, the newest first.

        :param most: how many at most; only the newest hundred are looked at.
        """
        found = (self.read(run) for run in sorted(self._runs(), reverse=True)[:100])
        good = (record for record in found if record.get("playbook") == playbook and record.get("result") == "ok")
        return list(itertools.islice(good, most))

    def write(self, run: str, record: Mapping[str, Any]) -> None:
        """Write one record whole (mode 0600).

        :raises OSError: full disk, no permission.
        """
        private_directory(self.folder)
        write_private_somehow(self.path_of(run), json.dumps(known_secrets.masked(record), indent=1) + "\n")

    def note(self, run: str, **news: Any) -> None:
        """Add to a record that is there.

        :raises OSError: full disk, no permission.
        """
        record = self.read(run)
        if record:
            self.write(run, {**record, **news})

    def add_step(self, run: str, step: Mapping[str, Any]) -> None:
        """Add a step to a record that is there.

        :raises OSError: full disk, no permission.
        """
        self.note(run, steps=[*self.read(run).get("steps", []), dict(step)])

    def remove(self, run: str) -> None:
        """Forget a run that changed nothing."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path_of(run))
