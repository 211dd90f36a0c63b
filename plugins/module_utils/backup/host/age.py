# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption by ``age``: for public keys, so that nothing on this host can read again what was written."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ...base.errors import BadInput
from .summary import BackupFailed

_CHUNK = 1024 * 1024
_RECIPIENT = re.compile(r"(age1[0-9a-z]{20,}|ssh-(ed25519|rsa) [A-Za-z0-9+/=]+( [\w.@-]+)?)")


def refuse_without_age(recipients: Sequence[str]) -> None:
    """Look whether something can be encrypted for these.

    :raises BadInput: it cannot.
    """
    for recipient in recipients:
        if not _RECIPIENT.fullmatch(recipient):
            raise BadInput(f"encrypt_to: {recipient[:40]!r} is no public key of age (age1…) or of SSH")
    if recipients and shutil.which("age") is None:
        raise BadInput("age is not installed on this host, so nothing can be encrypted", "install the package age")


class Sealed:
    """Something to write to, of which ``age`` makes what is handed on.

    :param sink: takes what is encrypted; what it raises is raised at the end of the block.
    :raises BackupFailed: age failed.
    """

    def __init__(self, recipients: Sequence[str], sink: Callable[[bytes], None]) -> None:
        argv = ["age", "--encrypt"]
        for recipient in recipients:
            argv += ["--recipient", recipient]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)
        self._sink, self._problem = sink, None
        self._thread = threading.Thread(target=self._hand_on, daemon=True)

    _problem: Exception | None

    def __enter__(self) -> Sealed:
        self._thread.start()
        return self

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is not None:
            self._process.kill()
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._thread.join()
        code = self._process.wait()
        if self._problem is not None:
            raise self._problem
        if code != 0 and kind is None:
            said = self._process.stderr.read().decode("utf-8", "replace").strip() if self._process.stderr else ""
            raise BackupFailed(f"age ended with exit code {code}: {said[:200]}")

    def write(self, data: bytes) -> int:
        """Give it more.

        :raises BackupFailed: age ended.
        """
        if self._problem is not None:
            raise self._problem
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(data)
        except BrokenPipeError as error:
            raise self._problem or BackupFailed("age ended before everything was written") from error
        return len(data)

    def _hand_on(self) -> None:
        try:
            while self._process.stdout is not None:
                part = self._process.stdout.read(_CHUNK)
                if not part:
                    return
                self._sink(part)
        except Exception as error:
            # Raised where it is written; age must not wait for a reader any more.
            self._problem = error
            self._process.kill()
