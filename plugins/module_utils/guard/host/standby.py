# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guard that stands by while a roll has pins in an nginx, and begins where the roll is killed.

A pin has no end: after a kill, what a person does by hand (``docker compose up -d``, a reload) would lead to an address that
is gone. Until then it is a shell that waits for a pipe to end; it leaves once a later roll has taken the pins away.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from ...base.host import processes, runtime
from .guard import Guard
from .info import is_guarded

_WAIT = 'umask 077; read -r _ && exit 0; log=$1; shift; exec "$@" 2>> "$log"'
_BEGIN = f"{runtime.IMPORTING}; import sys; from {__name__} import main; sys.exit(main(*sys.argv[1:]))"
#: Its words, in the app's state directory.
LOG = "standby.log"


@contextlib.contextmanager
def standing_by(app: str, state_dir: str) -> Iterator[None]:
    """Have a guard of an app begin where this process is killed while the block runs; none where one runs already.

    :raises OSError: it cannot be made to wait.
    """
    if is_guarded(app, (processes.words(p.pid) for p in processes.processes())):
        yield
        return
    log = os.path.join(state_dir, LOG)
    argv = ["sh", "-c", _WAIT, "sh", log, sys.executable, "-S", "-c", _BEGIN, app, state_dir]
    quiet = subprocess.DEVNULL
    waiting = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, env=runtime.environment(), start_new_session=True
    )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            waiting.communicate(b"ended\n")


def main(app: str, state_dir: str) -> int:
    """Guard an app until none of its nginx has a pin any more; returns the exit code."""
    return Guard(app, state_dir, until_unpinned=True).run()
