# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``hotfix_patch`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..hotfix.host import end, given_files, source, staging
from ..operation.host import single_call
from ..operation.options import LOCK_SPEC
from ..traffic.host import smoke_test

_VARIABLE = {
    "name": {"type": "str", "required": True},
    "text": {"type": "str", "no_log": True},
    "value": {"type": "str", "no_log": True},
}
SPEC: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    **given_files.FILES_ARGUMENTS,
    **source.SOURCE_ARGUMENTS,
    "capture": {"type": "bool", "default": False},
    "revert": {"type": "str"},
    "revert_files": {"type": "list", "elements": "str", "default": []},
    "env": {"type": "list", "elements": "dict", "default": [], "options": _VARIABLE},
    "name": {"type": "str"},
    "service_options": {"type": "dict", "default": {}},
    "django_service": {"type": "str", "required": True},
    "max_chain": {"type": "int", "default": 5},
    "drop_edits": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": [end.MADE, end.SERVED], "default": end.MADE},
    "release": {"type": "str"},
    "keep": {"type": "int", "default": 0},
    "push": {"type": "bool", "default": True},
    **smoke_test.AS_USERS_ARGUMENTS,
    **staging.STAGING_ARGUMENTS,
    **LOCK_SPEC,
    **single_call.OPERATION_ARGUMENTS,
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return end.patch(params, check_mode)
