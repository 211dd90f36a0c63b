# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that has answered a module's script and stays for that of another one: Django in it is started once for both.

Its client (``docker compose run``) goes on after the module that began it, and the other finds the client's input and output in
``/proc``.  Who does not find them, or gets no answer, starts a container of its own.
"""

from __future__ import annotations

import os
import time
from typing import Callable

from .app_script import as_given
from .compose import Compose, ComposeFailed

#: The label of such containers, see ``one_offs.sweep``; its value is the project's name.
LABEL = "evenkeel.stays"
#: Seconds for which one waits: modules of one operation follow each other at once, and somebody may want its memory.
PATIENCE = 10.0
# Seconds between two looks at what it has printed.
_GLANCE = 0.02


def ask(name: str, compose: Compose, service: str, script: str, enough: Callable[[str], bool], timeout: float) -> str:
    """What the container of a name prints to a script; empty where it is not there, is of other code, or ends without enough.

    :raises ComposeFailed: it took longer than ``timeout`` seconds.
    """
    client = _client_of(name, compose.project_src, service) if name else ""
    if not client:
        return ""
    try:
        with open(f"{client}/fd/1", "rb", buffering=0) as printed:
            before = os.fstat(printed.fileno()).st_size
            _give(f"{client}/fd/0", as_given(script))
            deadline = time.monotonic() + timeout
            while True:
                ended = not os.path.exists(f"{client}/fd/1")
                size = os.fstat(printed.fileno()).st_size
                text = os.pread(printed.fileno(), size - before, before).decode("utf-8", "replace")
                if enough(text):
                    return text
                if ended:
                    return ""
                if time.monotonic() > deadline:
                    raise ComposeFailed(f"docker compose run did not end in {timeout:g} s")
                time.sleep(_GLANCE)
    except OSError:
        return ""


def _client_of(*words: str) -> str:
    """Where ``/proc`` shows a client of this user's that was started with these words."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                argv = stream.read().decode("utf-8", "replace").split("\0")
            if "--no-deps" in argv and set(words) <= set(argv) and os.stat(f"/proc/{pid}").st_uid == os.geteuid():
                return f"/proc/{pid}"
        except OSError:
            continue
    return ""


def _give(path: str, text: bytes) -> None:
    # Where nobody reads any more, to open it is an error, and nothing to wait for.
    handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    with open(handle, "wb", buffering=0) as stream:
        os.set_blocking(handle, True)
        stream.write(text)
