# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``django_migrate`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..engine.options import PROJECT_SPEC, project_options
from ..migrations.bridges import KINDS, USUAL
from ..migrations.host import migrate as migrations_migrate
from ..migrations.host.request import Request
from ..operation.host.progress import PROGRESS_SPEC, progress_options
from ..operation.options import LOCK_SPEC, lock_options

STATES = ["planned", "expanded", "contracted", "abandoned", "migrated", "reversed"]
_OWN: dict[str, Any] = {
    "service": {"type": "str", "required": True},
    "state": {"type": "str", "choices": STATES, "required": True},
    "release": {"type": "str"},
    "lock_timeout": {"type": "str", "default": "2s"},
    "retries": {"type": "int", "default": 8},
    "wait": {"type": "str", "default": "1m"},
    "allow_data_loss": {"type": "list", "elements": "str", "default": []},
    "additive_only": {"type": "bool", "default": False},
    "interrupted": {"type": "dict", "default": {}},
    "databases": {"type": "list", "elements": "str", "default": []},
    "canary_database": {"type": "str"},
    "allow_downtime": {"type": "bool", "default": False},
    "target": {"type": "str"},
    "declared_phases": {"type": "dict", "default": {}},
    "bridges": {"type": "list", "elements": "str", "choices": list(KINDS), "default": list(USUAL)},
    "only_data_moves": {"type": "bool", "default": False},
    "nothing_written": {"type": "bool", "default": False},
    "manage_py": {"type": "str", "default": "manage.py"},
    "take_over_from": {"type": "str"},
    "timeout": {"type": "str", "default": "1h"},
}
SPEC: dict[str, Any] = {
    **PROJECT_SPEC,
    **LOCK_SPEC,
    **PROGRESS_SPEC,
    **_OWN,
    # Not given is another thing than an empty list: that no release comes next, or one that has none of them.
    "only": {"type": "list", "elements": "str"},
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    only = params.get("only")
    request = read(
        Request, _OWN, params, project=project_options(params), lock=lock_options(params),
        progress=progress_options(params), only=None if only is None else tuple(only),
    )  # fmt: skip
    return migrations_migrate.migrate(request, check_mode)
