# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The old containers that were left running for a quick way back: which they are, beside what, and until when.

``spares.json`` in the state directory is written once nobody is led to them any more.  It counts only while what has
taken their place is what is wanted: for whoever wants something else they are old containers as any others.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from ...base.host.detached import go_on_detached
from ...base.host.files import private_directory, read_json, write_private
from ..stack import SPARE, SPENT

# Seconds between two attempts to take them away, while somebody else has the lock or the engine is away.
_AGAIN = 20.0
# How long that is attempted, from when it was due (seconds).
_PATIENCE = 86400.0


@dataclass(frozen=True)
class Spares:
    """What was left running.

    :ivar containers: id → name.
    :ivar beside: service → configuration hash and image id of what has taken their place.
    :ivar until: UNIX time at which they are no longer wanted.
    """

    containers: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    until: float = 0.0

    def state_of(self, container_id: str, service: str, config_hash: str, image: str) -> str:
        """What a container is to a roll that wants this of its service (:attr:`..stack.Container.spare`)."""
        if container_id not in self.containers:
            return ""
        return SPARE if self.beside.get(service) == (config_hash, image) else SPENT

    @property
    def ends(self) -> str:
        """When that is, for people."""
        return datetime.fromtimestamp(self.until, timezone.utc).strftime("%H:%M UTC")


def _path(state_dir: str) -> str:
    return os.path.join(state_dir, "spares.json")


def read(state_dir: str) -> Spares:
    """What is on record, empty where nothing is."""
    known = read_json(_path(state_dir)) or {}
    beside = {str(name): (str(one[0]), str(one[1])) for name, one in (known.get("beside") or {}).items()}
    return Spares(dict(known.get("containers") or {}), beside, float(known.get("until") or 0.0))


def write(state_dir: str, spares: Spares) -> None:
    """Put these in the place of those before.

    :raises OSError: full disk; what was on record is.
    """
    private_directory(state_dir)
    text = {"containers": dict(spares.containers), "beside": dict(spares.beside), "until": spares.until}
    write_private(_path(state_dir), json.dumps(text) + "\n")


def drop(state_dir: str, ids: Collection[str]) -> None:
    """These serve again, or are gone.

    :raises OSError: full disk; what was on record is.
    """
    known = read(state_dir)
    left = {identity: name for identity, name in known.containers.items() if identity not in ids}
    if left:
        write(state_dir, replace(known, containers=left))
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_path(state_dir))


def still_there(state_dir: str, running: Collection[str]) -> dict[str, Any]:
    """What a module returns of them: ``containers`` (names) of those that run, ``until`` (UNIX time); empty for none."""
    spares = read(state_dir)
    names = sorted(name for identity, name in spares.containers.items() if identity in running)
    return {"containers": names, "until": spares.until} if names else {}


def end_when_due(state_dir: str, take_away: Callable[[Spares], None]) -> None:
    """Leave a process behind that takes them away when their time is over, unless something else has happened to them by then.

    :param take_away: does so, given what was on record when this was called.
    :raises OSError: no process can be made.
    """
    spares = read(state_dir)
    if spares.containers:
        go_on_detached(lambda: _end(state_dir, spares, take_away))


def _end(state_dir: str, spares: Spares, take_away: Callable[[Spares], None]) -> None:
    while read(state_dir) == spares and time.time() < spares.until + _PATIENCE:
        left = spares.until - time.time()
        if left > 0:
            # Not all at once: what ends them earlier is noticed, and a clock that is set.
            time.sleep(min(left, _AGAIN))
            continue
        # What is in the way ends some time; until then `status` tells of it.
        with contextlib.suppress(Exception):
            take_away(spares)
        if read(state_dir) == spares:
            time.sleep(_AGAIN)
