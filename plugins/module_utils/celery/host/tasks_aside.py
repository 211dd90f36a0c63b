# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of tasks that a way back has kept from older workers, in lists that nobody fetches from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from ...base.host.files import read_json, write_private

#: What of a project lies aside: by list, names and how many.  Written before anything is moved.
RECORD = "tasks-aside.json"


def recorded(state_dir: str) -> dict[str, dict[str, int]]:
    """What was moved aside and not put back yet, by list."""
    kept = read_json(os.path.join(state_dir, RECORD)).get("aside")
    return kept if isinstance(kept, dict) else {}


def record(state_dir: str, aside: Mapping[str, Mapping[str, int]]) -> None:
    """Write down what lies aside now."""
    path = os.path.join(state_dir, RECORD)
    if aside:
        write_private(path, json.dumps({"aside": aside}, indent=1, sort_keys=True) + "\n")
    elif os.path.exists(path):
        os.unlink(path)


def summed(by_list: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """By name, how many there are in all lists."""
    total: dict[str, int] = {}
    for names in by_list.values():
        for name, count in names.items():
            total[name] = total.get(name, 0) + int(count)
    return total
