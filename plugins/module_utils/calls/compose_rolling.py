# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``compose_rolling``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.options import PROJECT_SPEC
from ..guard.host.standby import standing_by
from ..operation.host import progress
from ..operation.options import LOCK_SPEC
from ..rolling.host import roll as rolling

_PROVE = {
    "path": {"type": "str", "required": True},
    "status": {"type": "int", "default": 200},
    "contains": {"type": "str"},
    "method": {"type": "str", "default": "GET"},
}
SPEC: dict[str, Any] = {
    **PROJECT_SPEC,
    **LOCK_SPEC,
    **progress.PROGRESS_ARGUMENTS,
    "services": {"type": "list", "elements": "str", "default": []},
    "service_options": {"type": "dict", "default": {}},
    "only": {"type": "str", "choices": ["workers", "others"]},
    "leave_workers": {"type": "bool", "default": False},
    "backward": {"type": "bool", "default": False},
    "order": {"type": "str", "choices": ["start-first", "stop-first"]},
    "parallelism": {"type": "int"},
    "delay": {"type": "float"},
    "monitor": {"type": "float"},
    "failure_action": {"type": "str", "choices": ["rollback", "pause"]},
    "ready_path": {"type": "str"},
    "health_url": {"type": "str"},
    "ready_port": {"type": "int"},
    "ready_timeout": {"type": "float"},
    "prove": {"type": "list", "elements": "dict", "options": _PROVE},
    "canary": {"type": "list", "elements": "dict", "options": _PROVE},
    "canary_service": {"type": "str"},
    "log_lines": {"type": "int", "default": 0},
    "prove_seconds": {"type": "float"},
    "drain_timeout": {"type": "float"},
    "drain_policy": {"type": "str", "choices": ["cut", "wait"]},
    "stop_timeout": {"type": "float"},
    "proxy_service": {"type": "str"},
    "proxy_mode": {"type": "str", "choices": ["auto", "pin", "none"], "default": "auto"},
    "generation": {"type": "str"},
    "images": {"type": "dict", "default": {}},
    "allow_downtime": {"type": "bool", "default": False},
    "remove_orphans": {"type": "bool", "default": False},
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call, with a guard standing by.

    :raises BadInput: before anything is touched.
    """
    return rolling.roll(params, check_mode, standing_by)
