# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``hotfix_live`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..hotfix.host import given_files, live_files, staging
from ..operation.host import single_call
from ..operation.options import LOCK_SPEC
from ..traffic.host import smoke_test

SPEC: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    **given_files.FILES_ARGUMENTS,
    "kind": {"type": "str", "choices": ["media", "frontend"], "default": "media"},
    "target": {"type": "str"},
    "file_owner": {"type": "str"},
    "mode": {"type": "str"},
    "name": {"type": "str"},
    "state": {"type": "str", "choices": ["applied", "reverted", "checked"], "default": "applied"},
    "service_options": {"type": "dict", "default": {}},
    "django_service": {"type": "str", "required": True},
    "timeout": {"type": "float", "default": 300},
    "owner": {"type": "str"},
    **smoke_test.AS_USERS_ARGUMENTS,
    **staging.STAGING_ARGUMENTS,
    **LOCK_SPEC,
    **single_call.OPERATION_ARGUMENTS,
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return live_files.change(params, check_mode)
