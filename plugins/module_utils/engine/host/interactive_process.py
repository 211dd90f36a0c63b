# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that is read line by line while it works, and told something in between."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable

from .compose import ComposeFailed, stderr_summary


class InteractiveProcess:
    """One process with pipes.

    :raises ComposeFailed: it has none.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        if process.stdin is None or process.stdout is None:
            raise ComposeFailed("docker compose was started without pipes")
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        self._errors: list[str] = []
        self._reader = threading.Thread(target=lambda: self._errors.extend(process.stderr or ()), daemon=True)
        self._reader.start()

    def read(self, on_line: Callable[[str], bool], limit: float, on_late: Callable[[], None] | None = None) -> bool:
        """Read lines until ``on_line`` returns true or there are no more; False where it was killed after ``limit`` seconds.

        :param on_late: called then, in a thread of its own: what is killed is a client, and its plugin may read on until the
            container ends.
        """
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()
            if on_late:
                on_late()

        timer = threading.Timer(limit, end)
        timer.daemon = True
        timer.start()
        try:
            for line in self._stdout:
                if on_line(line.rstrip("\r\n")):
                    break
        finally:
            timer.cancel()
            if late.is_set():
                # What it takes away is gone when the caller goes on.
                timer.join(60.0)
        return not late.is_set()

    def tell(self, text: str) -> None:
        """Give it its input, all that there is."""
        # One that has ended meanwhile is seen by what it did not say.
        with contextlib.suppress(OSError):
            self._stdin.write(text)
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.close()

    def end(self, patience: float) -> str:
        """Wait for its end, at most ``patience`` seconds; returns its last words where it failed."""
        self._close()
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join(5.0)
        return stderr_summary("".join(self._errors)) if code else ""
