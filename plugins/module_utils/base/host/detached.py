# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that goes on when the one who asked for it has been answered."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable

from ..runtime import JOB
from . import waiting_process
from .clock import identity

# The lowest there is: those who are served come first.
_NICENESS = 19
# Bytes that are kept for a result.
_ROOM = 1 << 16
_RESULT = "result"


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
            waiting_process.leave_everything()
            os.nice(_NICENESS)
            work()
    finally:
        # No clean-up of the process that it is a copy of.
        os._exit(0)


def answer_and_go_on(work: Callable[[], None]) -> None:
    """End an Ansible module for whoever called it, and do its work in a process of its own, without a terminal.

    The answer is a result with ``JOB`` in it: ``pid``, ``started`` (in ticks, as ``/proc/PID/stat`` has it) and ``results``, the path
    of a file in a private folder of its own.  It is there as soon as ``work`` has ended, and has all that ``work`` printed; who is
    killed leaves none.  Where no such folder can be made ``work`` is done while the caller waits.

    What ``work`` raises goes on to the caller, in the new process.
    """
    folder = ""
    try:
        folder = tempfile.mkdtemp(prefix="evenkeel-")
        part = os.open(f"{folder}/part", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        # The disk may be full when there is something to say.
        os.posix_fallocate(part, 0, _ROOM)
    except OSError:
        if folder:
            # What cannot be removed either is no reason to leave the work undone.
            shutil.rmtree(folder, ignore_errors=True)
        return work()
    mine, other = os.pipe()
    pid = os.fork()
    if pid:
        os.close(other)
        # It has a session of its own before the one of this process ends.
        os.read(mine, 1)
        process = identity(pid)
        job = {"pid": pid, "started": process.start if process else 0, "results": f"{folder}/{_RESULT}"}
        answer = {"changed": False, JOB: job}
        os.write(1, json.dumps(answer).encode())
        waiting_process.tell(0)
        # No clean-up of what the new process uses.
        os._exit(0)
    os.setsid()
    waiting_process.part()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.write(other, b".")
    os.close(other)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            work()
    finally:
        with os.fdopen(part, "w", encoding="utf-8") as stream:
            stream.write(said.getvalue())
            stream.truncate()
        os.rename(f"{folder}/part", f"{folder}/{_RESULT}")
