# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work of the engine's that goes on when an operation has ended, such as the archive of images: one at a time.

Users come first in that too, so the engine has its usual share of the processors only when the last one has ended.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ...base.host import processor_share
from ...base.host.file_lock import flock, flock_if_there


def _lock_of(state_dir: str) -> str:
    return os.path.join(state_dir, "image_archive.lock")


@contextmanager
def alone(state_dir: str) -> Iterator[None]:
    """Wait for others that do the same, and let the engine leave the processors to users while the block runs.

    :raises FilesFailed: the lock cannot be opened.
    """
    with flock(_lock_of(state_dir), fcntl.LOCK_EX):
        processor_share.lower_engine()
        try:
            yield
        finally:
            # An operation that has begun meanwhile is the less polite: there is nobody to ask.
            processor_share.restore_engine()


def goes_on(state_dir: str) -> bool:
    """Whether such work is under way."""
    with flock_if_there(_lock_of(state_dir)) as free:
        return not free


def operation_has_ended(state_dir: str) -> None:
    """Let the engine have its usual share again, unless something was left behind that has it work."""
    if not goes_on(state_dir):
        processor_share.restore_engine()
