# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stop signal where a shell is a container's first process: it must reach what the shell runs."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from typing import Any

from ...base.host import processes
from .engine import Engine
from .inspection import pid_of, stop_signal_of


def signal_behind_shell(engine: Engine, inspection: Mapping[str, Any]) -> None:
    """Where a shell is process 1, it swallows the stop signal: send it to what the shell runs as well."""
    pid = pid_of(inspection)
    master = behind_shell(pid) if pid else None
    if master is None:
        return
    number = stop_signal_of(inspection)

    def send() -> None:
        if os.geteuid() == 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(master, number)
        else:
            inner = str(processes.inner_pid(master))
            engine.run_inside(str(inspection["Id"]), ["kill", f"-{number}", inner], user="0")

    # A moment after the engine's own stop, which tells the restart policy that this ending is meant.
    timer = threading.Timer(0.3, send)
    timer.daemon = True
    timer.start()


def behind_shell(pid: int) -> int | None:
    """The process a shell or a small init at ``pid`` runs, None when ``pid`` is the service itself."""
    family = processes.tree(pid)
    here = next((p for p in family if p.pid == pid), None)
    shell_seen = False
    while here is not None:
        program = os.path.basename((here.command.split() or [""])[0])
        children = [p for p in family if p.parent == here.pid]
        is_shell = program in ("sh", "bash", "dash", "ash")
        if not (is_shell or program in ("docker-init", "tini", "dumb-init")) or len(children) != 1:
            return here.pid if shell_seen and here.pid != pid else None
        shell_seen = shell_seen or is_shell
        here = children[0]
    return None
