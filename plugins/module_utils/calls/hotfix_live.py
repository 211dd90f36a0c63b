# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``hotfix_live`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..hotfix.host import live_files
from ..hotfix.host.given_files import FILES_SPEC, given_files
from ..hotfix.host.staging import STAGING_SPEC, staging_options
from ..operation.host.single_call import OPERATION_SPEC, operation_options
from ..operation.options import LOCK_SPEC, lock_options
from ..traffic.host.smoke_test import SMOKE_TEST_SPEC, smoke_test_options

_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "kind": {"type": "str", "choices": ["media", "frontend"], "default": "media"},
    "target": {"type": "str"},
    "file_owner": {"type": "str"},
    "mode": {"type": "str"},
    "name": {"type": "str"},
    "state": {"type": "str", "choices": ["applied", "reverted", "checked"], "default": "applied"},
    "service_options": {"type": "dict", "default": {}},
    "django_service": {"type": "str", "required": True},
    "timeout": {"type": "str", "default": "5m"},
    "owner": {"type": "str"},
}
SPEC: dict[str, Any] = {
    **FILES_SPEC,
    **SMOKE_TEST_SPEC,
    **STAGING_SPEC,
    **LOCK_SPEC,
    **OPERATION_SPEC,
    **_OWN,
}
RULES = {"required_if": [("state", "reverted", ["name"])]}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(
        live_files.Request,
        _OWN,
        params,
        given=given_files(params),
        staging=staging_options(params),
        lock=lock_options(params),
        smoke_test=smoke_test_options(params),
        operation=operation_options(params),
    )
    return live_files.change(request, check_mode)
