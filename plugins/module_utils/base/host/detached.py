# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that goes on when the one who asked for it has been answered."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

# The lowest there is: those who are served come first.
_NICENESS = 19


def go_on_detached(work: Callable[[], None]) -> None:
    """Do something in a process of its own, without a terminal, and return at once.

    It has none of this process's files, so it holds no lock of it, and an ssh connection does not wait for it.  What it
    raises ends it without a word.

    :raises OSError: no process can be made.
    """
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return
    try:
        os.setsid()
        if not os.fork():
            _leave_everything()
            work()
    finally:
        # No clean-up of the process that it is a copy of.
        os._exit(0)


def _leave_everything() -> None:
    os.chdir("/")
    for handle in sorted(map(int, os.listdir("/proc/self/fd"))):
        with contextlib.suppress(OSError):
            os.close(handle)
    for _standard in range(3):
        os.open(os.devnull, os.O_RDWR)
    os.nice(_NICENESS)
