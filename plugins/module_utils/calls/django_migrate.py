# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``django_migrate`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.options import PROJECT_SPEC
from ..migrations.host import migrate as migrations_migrate
from ..operation.host import progress
from ..operation.options import LOCK_SPEC

STATES = ["planned", "expanded", "contracted", "abandoned", "migrated", "reversed"]
SPEC: dict[str, Any] = {
    **PROJECT_SPEC,
    **LOCK_SPEC,
    "service": {"type": "str", "required": True},
    "state": {"type": "str", "choices": STATES, "required": True},
    "release": {"type": "str"},
    "lock_timeout": {"type": "float", "default": 2.0},
    "retries": {"type": "int", "default": 8},
    "wait": {"type": "float", "default": 60.0},
    "allow_data_loss": {"type": "list", "elements": "str", "default": []},
    "additive_only": {"type": "bool", "default": False},
    "interrupted": {"type": "dict", "default": {}},
    **progress.PROGRESS_ARGUMENTS,
    "databases": {"type": "list", "elements": "str", "default": []},
    "canary_database": {"type": "str"},
    "allow_downtime": {"type": "bool", "default": False},
    "target": {"type": "str"},
    "declared_phases": {"type": "dict", "default": {}},
    "only": {"type": "list", "elements": "str"},
    "only_data_moves": {"type": "bool", "default": False},
    "manage_py": {"type": "str", "default": "manage.py"},
    "take_over_from": {"type": "str"},
    "timeout": {"type": "float", "default": 3600.0},
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return migrations_migrate.migrate(params, check_mode)
