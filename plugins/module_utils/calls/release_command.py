# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``release_command`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..operation.host import progress
from ..operation.options import LOCK_SPEC, lock_options
from ..releases.host import release_command

_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "release": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["prepared", "reloaded"], "required": True},
    "commands": {"type": "list", "elements": "list", "required": True},
    "timeout": {"type": "str", "default": "15m"},
    "owner": {"type": "str"},
}
SPEC: dict[str, Any] = {**LOCK_SPEC, **progress.PROGRESS_SPEC, **_OWN}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    asked = {"lock": lock_options(params), "progress": progress.progress_options(params)}
    request = read(release_command.Request, _OWN, params, **asked)
    return release_command.run_commands(request, check_mode)
