# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``hotfix_in_place`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..hotfix.host import in_place_change
from ..hotfix.host.given_files import FILES_SPEC, given_files
from ..hotfix.host.source import SOURCE_SPEC, source_options
from ..hotfix.host.staging import STAGING_SPEC, staging_options
from ..operation.host.single_call import OPERATION_SPEC, operation_options
from ..operation.options import LOCK_SPEC, lock_options

_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["applied", "reverted"], "default": "applied"},
    "name": {"type": "str"},
    "service_options": {"type": "dict", "default": {}},
    "django_service": {"type": "str", "required": True},
    "canary": {"type": "list", "elements": "dict"},
    "log_lines": {"type": "int", "default": 50},
    "allow_downtime": {"type": "bool", "default": False},
}
SPEC: dict[str, Any] = {
    **FILES_SPEC,
    **SOURCE_SPEC,
    **STAGING_SPEC,
    **LOCK_SPEC,
    **OPERATION_SPEC,
    **_OWN,
    "prove": {"type": "list", "elements": "dict"},
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    prove = params.get("prove")
    request = read(
        in_place_change.Request,
        _OWN,
        params,
        given=given_files(params),
        source=source_options(params),
        staging=staging_options(params),
        lock=lock_options(params),
        operation=operation_options(params),
        # An empty list is an answer too: nothing is asked, whatever the services say.
        prove=None if prove is None else tuple(prove),
    )
    return in_place_change.change(request, check_mode)
