# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was begun in a gap, kept from before it is begun until the gap is over: whoever comes after a kill brings it back."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ...base.host.files import private_directory, read_json, write_private

#: ``migrations`` (``app.name``) that may have been run, ``stores`` (services of databases and brokers) that may have been created
#: anew, ``backups`` (``database``, ``file``) that were made in it.
KEYS = ("migrations", "stores", "backups")


def _path(state_dir: str) -> str:
    return os.path.join(state_dir, "gap.json")


def read(state_dir: str) -> dict[str, list[Any]]:
    """What was begun, empty where no gap is open."""
    found = read_json(_path(state_dir)) or {}
    return {key: list(found.get(key) or []) for key in KEYS} if found else {}


def add(state_dir: str, about: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Remember what is about to be begun, beside what was before; returns all of it.

    :raises OSError: full disk; what was remembered before still is.
    """
    known = read(state_dir)
    whole = {key: list(known.get(key) or []) for key in KEYS}
    for key in KEYS:
        whole[key] += [one for one in about.get(key) or [] if one not in whole[key]]
    private_directory(state_dir)
    write_private(_path(state_dir), json.dumps({"open": True, **whole}) + "\n")
    return whole


def forget(state_dir: str) -> None:
    """The gap is over."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_path(state_dir))
