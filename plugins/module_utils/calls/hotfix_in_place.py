# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``hotfix_in_place`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..hotfix.host import given_files, in_place_call, source, staging
from ..operation.host import single_call
from ..operation.options import LOCK_SPEC

SPEC: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    **given_files.FILES_ARGUMENTS,
    **source.SOURCE_ARGUMENTS,
    "state": {"type": "str", "choices": ["applied", "reverted"], "default": "applied"},
    "name": {"type": "str"},
    "service_options": {"type": "dict", "default": {}},
    "django_service": {"type": "str", "required": True},
    "prove": {"type": "list", "elements": "dict"},
    "canary": {"type": "list", "elements": "dict"},
    "log_lines": {"type": "int", "default": 50},
    "allow_downtime": {"type": "bool", "default": False},
    **staging.STAGING_ARGUMENTS,
    **LOCK_SPEC,
    **single_call.OPERATION_ARGUMENTS,
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return in_place_call.change(params, check_mode)
