# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an app's nginx needs a guard, and whether one runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...base.errors import BadInput
from ...base.host import processes
from ...engine.host.engine import Engine, EngineFailed
from ...nginx.host.nginx import Master, NginxFailed
from ...nginx.syntax import UnreadableConfig, load
from ..guard import is_proxied
from ..notes import missing_min_timeout, unguarded, version_of
from .view import View, Watched

_MODULE = "evenkeel.guard.host.guard"


def guard_info(app: str) -> dict[str, Any]:
    """Tell whether an app's nginx needs a guard, and whether one runs; it changes nothing.

    :param app: its Compose project.
    :raises BadInput: the engine cannot be asked.
    """
    try:
        watched = View(Engine(), app).look()
    except EngineFailed as error:
        raise BadInput(str(error)) from error
    proxies = [w for w in watched if is_proxied(w.seen)]
    running = is_guarded(app, (processes.words(p.pid) for p in processes.processes()))
    notes = [w.problem for w in watched if w.problem]
    notes += [] if running else [unguarded(app, w.nginx.name, _hosts(w)) for w in proxies]
    notes += [note for note in (_gentler(w.nginx) for w in proxies) if note]
    msg = "; ".join(notes) or (f"a guard of {app} runs" if running else f"{app} needs no guard")
    return {"changed": False, "needed": bool(proxies), "running": running, "notes": notes, "msg": msg}


def _hosts(watched: Watched) -> list[str]:
    return [name.host for name in watched.seen.names if name.backends]


def is_guarded(app: str, commands: Iterable[Sequence[str]]) -> bool:
    """Whether one of these command lines is the guard of an app."""
    return any(
        command[n : n + 2] == ["-m", _MODULE] and app in _values(command[n + 2 :], "--app")
        for command in map(list, commands)
        for n in range(len(command))
    )


def _values(words: Sequence[str], option: str) -> list[str]:
    return [value for word, value in zip(words, words[1:]) if word == option]


def _gentler(nginx: Master) -> str:
    try:
        return missing_min_timeout(nginx.name, version_of(nginx.command("-v")[1]), load(nginx.dump()))
    except (NginxFailed, UnreadableConfig):
        # Told already where it matters.
        return ""
