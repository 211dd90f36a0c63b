# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks of the kernel on files: gone with the last process that has them open, however that one ended."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from .files import FilesFailed

#: Descriptors that hold a flock for an act.  Commands started meanwhile inherit them (``pass_fds``): where we are
#: killed in the middle, what we started goes on for a while, and nobody else may act before that has ended too.
held_for_acts: set[int] = set()


@contextmanager
def flock(path: str, how: int, for_act: bool = False) -> Iterator[bool]:
    """Hold a flock while the block runs; yields False where ``LOCK_NB`` was asked for and it is taken.

    :raises FilesFailed: the file cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FilesFailed(f"the lock {path} cannot be opened: {error.strerror}; run with become: true") from error
    try:
        try:
            fcntl.flock(handle, how)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            yield False
        else:
            if for_act:
                held_for_acts.add(handle)
            yield True
    finally:
        held_for_acts.discard(handle)
        os.close(handle)


@contextmanager
def flock_if_there(path: str) -> Iterator[bool]:
    """Hold a flock exclusively while the block runs, writing nothing: True where no file is there yet.

    Yields False where somebody else has it.  For one who only has to keep out of the others' way: a file made here
    would be root's, and whoever deploys with the docker group only could not open it.

    :raises FilesFailed: the file may not be opened.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    except OSError as error:
        raise FilesFailed(f"the lock {path} cannot be opened: {error.strerror}; run with become: true") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
