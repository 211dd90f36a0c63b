# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``hotfix_database`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backup.host import external_database
from ..hotfix.host import database, given_files, staging
from ..operation.options import LOCK_SPEC

SPEC: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    **given_files.FILES_ARGUMENTS,
    "check": {"type": "str"},
    "name": {"type": "str"},
    "state": {"type": "str", "choices": ["applied", "reverted", "checked"], "default": "applied"},
    "optional": {"type": "bool", "default": False},
    "migration_app": {"type": "str"},
    "service": {"type": "str"},
    "database": {"type": "str"},
    "service_options": {"type": "dict", "default": {}},
    "django_service": {"type": "str"},
    **external_database.ELSEWHERE_ARGUMENTS,
    **staging.STAGING_ARGUMENTS,
    "lock_timeout": {"type": "float", "default": 2},
    "retries": {"type": "int", "default": 5},
    "statement_timeout": {"type": "float", "default": 5},
    "take_over_from": {"type": "str"},
    "timeout": {"type": "float", "default": 120},
    **LOCK_SPEC,
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return database.change(params, check_mode)
