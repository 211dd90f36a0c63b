# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``nginx_reload`` keeps in the state directory: the content before a change, until it is proven, and backups."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from ...base.host.files import private_directory, read_json, sync_directory, write_private

_STAMP = re.compile(r"\.\d{8}T\d{6}\.\d{6}Z$")


@dataclass(frozen=True)
class Pending:
    """A change that was begun and not proven: the contents from before it (None for no file), what it wanted (digests)."""

    before: dict[str, bytes | None]
    wanted: dict[str, str]

    def knows(self, contents: Mapping[str, bytes | None]) -> bool:
        """Whether each of the contents is one of the two."""
        return all(
            (d in self.before and c == self.before[d]) or digest(c) == self.wanted.get(d) for d, c in contents.items()
        )


def digest(content: bytes | None) -> str:
    """What a content is recognized by, empty for no file."""
    return "" if content is None else hashlib.sha256(content).hexdigest()


class Memory:
    """The records of the changes of one file, or of all files of a release, of one nginx.

    :param state_dir: the app's state directory.
    :param name: the service, empty for the host's own nginx.
    :param what: the file, empty for those of a release.
    """

    def __init__(self, state_dir: str, name: str, what: str) -> None:
        self.folder = os.path.join(state_dir, "nginx")
        self.name = name
        self.path = os.path.join(self.folder, f"pending-{self.key_of(what)}.json")

    def key_of(self, dest: str) -> str:
        """What the records of a file are called by."""
        return hashlib.sha256(f"{self.name}\0{dest}".encode()).hexdigest()[:8]

    def pending(self) -> Pending | None:
        """The change that an ended call left unproven, None when there is none."""
        known = read_json(self.path)
        if "before" not in known:
            return None
        before = {d: None if text is None else base64.b64decode(text) for d, text in known["before"].items()}
        return Pending(before, {d: str(text) for d, text in known["wanted"].items()})

    def begin(self, before: Mapping[str, bytes | None], wanted: Mapping[str, bytes | None]) -> None:
        """Keep the contents to go back to, on the disk before anything is changed."""
        private_directory(os.path.dirname(self.folder))
        private_directory(self.folder)
        kept = {d: None if c is None else base64.b64encode(c).decode("ascii") for d, c in before.items()}
        known = {"before": kept, "wanted": {d: digest(c) for d, c in wanted.items()}}
        write_private(self.path, json.dumps(known) + "\n")

    def end(self) -> None:
        """The change is proven, or taken back."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
            sync_directory(self.folder)

    def back_up(self, dest: str, content: bytes, keep: int) -> str:
        """Keep a copy (mode 0600) and only the latest ``keep`` of a file; returns its path.

        Not beside the file: an ``include`` would read it there.
        """
        folder = private_directory(os.path.join(private_directory(self.folder), "backups"))
        stem = f"{os.path.basename(dest)}-{self.key_of(dest)}"
        # Microseconds keep them in order, also several of one second.
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        path = os.path.join(folder, f"{stem}.{stamp}")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        mine = sorted(n for n in os.listdir(folder) if n.startswith(f"{stem}.") and _STAMP.search(n))
        for name in mine[: max(0, len(mine) - max(1, keep))]:
            os.unlink(os.path.join(folder, name))
        sync_directory(folder)
        return path
