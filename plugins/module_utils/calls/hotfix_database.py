# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``hotfix_database`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backup.host.external_database import EXTERNAL_DATABASE_SPEC, external_database_options
from ..base.options import read
from ..hotfix.host import database
from ..hotfix.host.given_files import FILES_SPEC
from ..hotfix.host.staging import STAGING_SPEC, staging_options
from ..operation.options import LOCK_SPEC, lock_options

_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    **FILES_SPEC,
    "check": {"type": "str"},
    "name": {"type": "str"},
    "state": {"type": "str", "choices": ["applied", "reverted", "checked"], "default": "applied"},
    "optional": {"type": "bool", "default": False},
    "migration_app": {"type": "str"},
    "service": {"type": "str"},
    "database": {"type": "str"},
    "service_options": {"type": "dict", "default": {}},
    "django_service": {"type": "str"},
    "lock_timeout": {"type": "str", "default": "2s"},
    "retries": {"type": "int", "default": 5},
    "statement_timeout": {"type": "str", "default": "5s"},
    "take_over_from": {"type": "str"},
    "timeout": {"type": "str", "default": "2m"},
}
SPEC: dict[str, Any] = {**EXTERNAL_DATABASE_SPEC, **STAGING_SPEC, **LOCK_SPEC, **_OWN}
RULES = {"required_if": [("state", "reverted", ["name"])]}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was changed, or all of it was and comes back with ``state: reverted``.
    """
    request = read(
        database.Request, _OWN, params, lock=lock_options(params), staging=staging_options(params),
        external=external_database_options(params),
    )  # fmt: skip
    return database.change(request, check_mode)
