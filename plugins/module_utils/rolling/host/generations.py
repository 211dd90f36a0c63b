# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a restart was asked for: containers created before that are outdated, so it happens once however often it is asked.

One file per request, named after a hash of its name, so that a run that was killed goes on with the same moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import time

from ...base.host.files import private_directory, read_json, write_private

KEPT = 50


def _path(state_dir: str, generation: str) -> str:
    name = hashlib.sha256(generation.encode()).hexdigest()[:16]
    return os.path.join(state_dir, "generations", f"{name}.json")


def moment_of(state_dir: str, generation: str) -> float:
    """UNIX time of a request, now where it is a new one, 0 where none is made."""
    if not generation:
        return 0.0
    known = read_json(_path(state_dir, generation)) or {}
    return float(known.get("since") or 0.0) or time.time()


def keep(state_dir: str, generation: str, since: float) -> None:
    """Remember a request before anything is done about it; the oldest ones are forgotten.

    :raises OSError: full disk; nothing was touched.
    """
    path = _path(state_dir, generation)
    if not generation or os.path.exists(path):
        return
    folder = private_directory(os.path.dirname(path))
    write_private(path, json.dumps({"generation": generation, "since": since}) + "\n")
    entries = sorted((os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".json")), key=os.path.getmtime)
    for old in entries[:-KEPT]:
        os.remove(old)
