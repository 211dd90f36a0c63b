# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``release_command`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..operation.host import progress
from ..operation.options import LOCK_SPEC
from ..releases.host import release_command

SPEC: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "release": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["prepared", "reloaded"], "required": True},
    "commands": {"type": "list", "elements": "list", "required": True},
    "timeout": {"type": "int", "default": 900},
    "owner": {"type": "str"},
    **progress.PROGRESS_ARGUMENTS,
    **LOCK_SPEC,
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return release_command.run_commands(params, check_mode)
