# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``change_plan`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..operation.options import LOCK_SPEC, lock_options
from ..plan.host import change_plan

_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "to_ref": {"type": "str", "required": True},
    "from_ref": {"type": "str"},
    "version": {"type": "str"},
    "app_name": {"type": "str", "required": True},
    "service": {"type": "str", "default": "api"},
    "compose_files": {"type": "list", "elements": "str", "default": []},
    "rolled": {"type": "dict", "default": {}},
    "migrations": {"type": "dict", "default": {}},
    "built": {"type": "list", "elements": "str", "default": []},
    "containers": {"type": "bool", "default": True},
    "backup": {"type": "bool", "default": False},
    "strategy": {
        "type": "str",
        "choices": ["auto", "rolling", "canary", "blue_green", "quick"],
        "default": "auto",
    },
    "owner": {"type": "str"},
}
SPEC: dict[str, Any] = {**LOCK_SPEC, **_OWN}
#: It changes nothing that serves, and the processors belong to those who are served.
POLITE = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return change_plan.change_plan(read(change_plan.Request, _OWN, params, lock=lock_options(params)), check_mode)
