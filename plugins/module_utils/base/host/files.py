# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private files of the collection on the target: written whole or not at all, readable by their owner only."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from typing import Any

from ..errors import BadInput
from ..secret_values import MARK
from . import known_secrets
from .directory_handles import give_away, open_file, open_folder, read_file, write_below, write_over


class FilesFailed(BadInput):
    """A file or directory cannot be used; the message is for the user."""


def private_directory(path: str) -> str:
    """Make a directory (mode 0700) where there is none, and return its path.

    :raises FilesFailed: it cannot be made or written to.
    """
    try:
        with open_folder(path, make=0o700):
            pass
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
    folder, name = os.path.split(path)
    with open_folder(folder) as inside:
        return write_private_below(inside, name, text)


def write_private_somehow(path: str, text: str) -> bool:
    """As :func:`write_private`; where the disk is full, over what the file was, as far as its own blocks have room.

    Torn by a power cut, it is neither then.

    :raises OSError: it is not there yet, or too long for that.
    """
    folder, name = os.path.split(path)
    with open_folder(folder) as inside:
        try:
            return write_private_below(inside, name, text)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            with contextlib.suppress(FileNotFoundError):
                write_over(inside, name, text)
                return True
            raise


def write_private_below(folder: int, name: str, text: str) -> bool:
    """As :func:`write_private`, in a folder that is open."""
    content = text.encode()
    with contextlib.suppress(OSError), open_file(name, folder) as stream:
        if stream.read() == content:
            if os.fstat(stream.fileno()).st_mode & 0o077:
                give_away(stream.fileno(), None, 0o600)
            return False
    write_below(folder, name, content)
    return True


def replace_file(path: str, content: bytes, like: os.stat_result | None = None) -> None:
    """Write a private file (mode 0600) whole or not at all: by a temporary one beside it, fsynced and renamed.

    :param like: whose mode it gets instead, and, from root, whose owner.
    """
    folder, name = os.path.split(path)
    with open_folder(folder) as inside:
        if like:
            write_below(inside, name, content, like.st_mode & 0o777, (like.st_uid, like.st_gid))
        else:
            write_below(inside, name, content)


def sync_directory(path: str) -> None:
    """Make renames in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: str) -> dict[str, Any]:
    """A JSON object from a file, empty when there is none or it is torn; the secrets of a release's project are told nowhere."""
    try:
        value = json.loads(read_file(path))
    except (OSError, ValueError):
        return {}
    if not isinstance(value, dict):
        return {}
    if MARK in value:
        known_secrets.learn_project(value)
    return value


#: Name of the file that holds the key of a state directory's fingerprints.
KEY = "fingerprint.key"


def secret_key(directory: str) -> bytes:
    """The key of this state directory's fingerprints, made on first use."""
    path = os.path.join(directory, KEY)
    if not os.path.exists(path):
        write_private(path, secrets.token_hex(32))
    with open(path, encoding="ascii") as stream:
        return stream.read().encode()
