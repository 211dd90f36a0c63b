# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``update_rehearsal`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backup.host import external_database
from ..engine.options import PROJECT_SPEC
from ..operation.host import progress
from ..operation.options import LOCK_SPEC
from ..rehearsal.host import rehearse as rehearsal_rehearse

_STRINGS = {"type": "list", "elements": "str", "default": []}
SPEC: dict[str, Any] = {
    **PROJECT_SPEC,
    **LOCK_SPEC,
    "state": {"type": "str", "choices": ["rehearsed", "compared"], "default": "rehearsed"},
    "service": {"type": "str"},
    "database_service": {"type": "str"},
    "databases": _STRINGS,
    **external_database.ELSEWHERE_ARGUMENTS,
    "dest": {"type": "path"},
    "service_options": {"type": "dict", "default": {}},
    "prove": {"type": "list", "elements": "raw"},
    "environment": _STRINGS,
    "serving_src": {"type": "path"},
    "contract": {"type": "str", "choices": ["next", "now", "manual"], "default": "next"},
    "declared_phases": {"type": "dict", "default": {}},
    "allow_data_loss": _STRINGS,
    "additive_only": {"type": "bool", "default": False},
    "allow_downtime": {"type": "bool", "default": False},
    "release": {"type": "str"},
    "memory": {"type": "str", "default": "512M"},
    "io_rate": {"type": "str", "default": "100M"},
    "min_free": {"type": "str", "default": "1G"},
    "timeout": {"type": "float", "default": 3600.0},
    "manage_py": {"type": "str", "default": "manage.py"},
    "ran": {"type": "dict", "default": {}},
    **progress.PROGRESS_ARGUMENTS,
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return rehearsal_rehearse.rehearse(params, check_mode)
