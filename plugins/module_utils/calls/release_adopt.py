# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``release_adopt`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..adopt.host import adopt as adopt_adopt
from ..base.options import read
from ..operation.options import LOCK_SPEC, lock_options

_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "project_name": {"type": "str", "required": True},
    "folder": {"type": "path"},
    "files": {"type": "list", "elements": "path", "default": []},
    "env_file": {"type": "str", "default": ".env"},
    "capture": {"type": "bool", "default": False},
    "stop_sign": {"type": "bool", "default": False},
    "service_options": {"type": "dict", "default": {}},
    "owner": {"type": "str"},
}
SPEC: dict[str, Any] = {**LOCK_SPEC, **_OWN}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return adopt_adopt.adopt(read(adopt_adopt.Request, _OWN, params, lock=lock_options(params)), check_mode)
