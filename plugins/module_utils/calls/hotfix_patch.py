# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``hotfix_patch`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..hotfix.host import end, patch
from ..hotfix.host.given_files import FILES_SPEC, given_files
from ..hotfix.host.source import SOURCE_SPEC, source_options
from ..hotfix.host.staging import STAGING_SPEC, staging_options
from ..operation.host.single_call import OPERATION_SPEC, operation_options
from ..operation.options import LOCK_SPEC, lock_options
from ..traffic.host.smoke_test import SMOKE_TEST_SPEC, smoke_test_options

_VARIABLE = {
    "name": {"type": "str", "required": True},
    "text": {"type": "str", "no_log": True},
    "value": {"type": "str", "no_log": True},
}
_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "capture": {"type": "bool", "default": False},
    "revert": {"type": "str"},
    "revert_files": {"type": "list", "elements": "str", "default": []},
    "env": {"type": "list", "elements": "dict", "default": [], "options": _VARIABLE},
    "name": {"type": "str"},
    "service_options": {"type": "dict", "default": {}},
    "django_service": {"type": "str", "required": True},
    "max_chain": {"type": "int", "default": 5},
    "drop_edits": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": [patch.MADE, patch.SERVED], "default": patch.MADE},
    "release": {"type": "str"},
    "keep": {"type": "int", "default": 0},
    "push": {"type": "bool", "default": True},
}
SPEC: dict[str, Any] = {
    **FILES_SPEC,
    **SOURCE_SPEC,
    **SMOKE_TEST_SPEC,
    **STAGING_SPEC,
    **LOCK_SPEC,
    **OPERATION_SPEC,
    **_OWN,
}
RULES = {"required_if": [("state", "served", ["release", "lock_token"])]}
#: It changes nothing that serves, and the processors belong to those who are served.
POLITE = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(
        patch.Request,
        _OWN,
        params,
        given=given_files(params),
        source=source_options(params),
        staging=staging_options(params),
        lock=lock_options(params),
        smoke_test=smoke_test_options(params),
        operation=operation_options(params),
    )
    return end.patch(request, check_mode)
