# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private files of the collection on the target: written whole or not at all, readable by their owner only."""

from __future__ import annotations

import json
import os
import secrets
import stat
import tempfile
from typing import Any

from .refusal import BadInput


class FilesFailed(BadInput):
    """A file or directory cannot be used; the message is for the user."""


def private_directory(path: str) -> str:
    """Make a directory (mode 0700) where there is none, and return its path.

    :raises FilesFailed: it cannot be made or written to.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise FilesFailed(
            f"the state directory {path} cannot be made: {error.strerror}; run with become: true or name another as state_dir"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise FilesFailed(
            f"the state directory {path} cannot be written to; run with become: true or name another as state_dir"
        )
    return path


def write_private(path: str, text: str) -> bool:
    """Write a file (mode 0600) by a temporary one beside it, fsynced and renamed.

    :returns: whether its content changed.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            same = stream.read() == text
            if same and stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                os.fchmod(stream.fileno(), 0o600)
        if same:
            return False
    except (OSError, UnicodeDecodeError):
        pass
    replace_file(path, text.encode())
    return True


def replace_file(path: str, content: bytes, like: os.stat_result | None = None) -> None:
    """Write a private file (mode 0600) whole or not at all: by a temporary one beside it, fsynced and renamed.

    :param like: whose mode it gets instead, and, from root, whose owner.
    """
    handle, temporary = tempfile.mkstemp(prefix=".evenkeel-", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as stream:
            if like:
                os.fchmod(stream.fileno(), like.st_mode & 0o777)
                if os.geteuid() == 0:
                    os.fchown(stream.fileno(), like.st_uid, like.st_gid)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path))


def sync_directory(path: str) -> None:
    """Make renames in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: str) -> dict[str, Any]:
    """A JSON object from a file, empty when there is none or it is torn."""
    try:
        with open(path, encoding="utf-8") as stream:
            value = json.load(stream)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


#: Name of the file that holds the key of a state directory's fingerprints.
KEY = "fingerprint.key"


def secret_key(directory: str) -> bytes:
    """The key of this state directory's fingerprints, made on first use."""
    path = os.path.join(directory, KEY)
    if not os.path.exists(path):
        write_private(path, secrets.token_hex(32))
    with open(path, encoding="ascii") as stream:
        return stream.read().encode()


def regular_content(path: str, limit: int) -> bytes | None:
    """What a file holds, None where it is another thing (a FIFO would hang us), holds more than ``limit`` bytes, or may not be read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            known = os.fstat(stream.fileno())
            return stream.read() if stat.S_ISREG(known.st_mode) and known.st_size <= limit else None
    except OSError:
        return None
