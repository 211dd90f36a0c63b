# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that modules share which work under an operation's lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..base import options

#: What every module takes that changes something.
LOCK_SPEC: dict[str, dict[str, Any]] = {
    "state_dir": {"type": "path"},
    # A number and a run id: it orders, and opens nothing.
    "lock_token": {"type": "str", "no_log": False},
}


@dataclass(frozen=True)
class LockOptions:
    """Under which lock a call works: the operation's, or one of its own where there is no token."""

    state_dir: str = ""
    lock_token: str = ""


def lock_options(params: Mapping[str, Any]) -> LockOptions:
    """The lock that a module was given."""
    return options.read(LockOptions, LOCK_SPEC, params)
