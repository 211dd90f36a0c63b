# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``celery_queues`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.options import PROJECT_SPEC
from ..operation.host import progress
from ..operation.options import LOCK_SPEC
from ..rolling.host import worker_queues

SPEC: dict[str, Any] = {
    **PROJECT_SPEC,
    **LOCK_SPEC,
    **progress.PROGRESS_ARGUMENTS,
    "state": {"type": "str", "choices": ["known", "returned"], "default": "known"},
    "timeout": {"type": "float", "default": 60},
    "leave_unread": {"type": "bool", "default": False},
    "removed": {"type": "list", "elements": "str", "default": []},
    "service_options": {"type": "dict", "default": {}},
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return worker_queues.queues(params, check_mode)
