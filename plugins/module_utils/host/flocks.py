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
