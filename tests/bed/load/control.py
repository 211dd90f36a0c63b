# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks from outside: lines in a file (`mark update-start`, `mark update-end`, `stop`), appended by anyone."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Protocol

from .options import MARK

POLL_SECONDS = 0.05


class Listener(Protocol):
    """Who is told."""

    def mark(self, name: str) -> None:
        """A phase begins."""

    def stop(self, why: str = ...) -> None:
        """The run is to end."""


class Control:
    """Follows the file from its end as it was at the start; it may also appear later."""

    def __init__(self, path: Path | None, listener: Listener) -> None:
        self._path = path
        self._listener = listener
        self._position = path.stat().st_size if path and path.exists() else 0

    async def watch(self) -> None:
        """Read new lines for ever."""
        while self._path:
            self.read()
            await asyncio.sleep(POLL_SECONDS)

    def read(self) -> None:
        """Act on the whole lines that are new. Lines that mean nothing are passed over."""
        if not self._path:
            return
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._position)
            whole, newline, _rest = file.read().rpartition(b"\n")
            self._position += len(whole) + len(newline)
            for line in whole.decode("utf-8", "replace").splitlines():
                command, _space, name = line.strip().partition(" ")
                if command == "mark" and MARK.match(name):
                    self._listener.mark(name)
                elif command == "stop":
                    self._listener.stop("control")
