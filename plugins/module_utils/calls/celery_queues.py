# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``celery_queues`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..engine.options import PROJECT_SPEC, project_options
from ..operation.host import progress
from ..operation.options import LOCK_SPEC, lock_options
from ..rolling.host import worker_queues

_OWN: dict[str, Any] = {
    "state": {"type": "str", "choices": ["known", "returned"], "default": "known"},
    "timeout": {"type": "str", "default": "1m"},
    "leave_unread": {"type": "bool", "default": False},
    "removed": {"type": "list", "elements": "str", "default": []},
    "service_options": {"type": "dict", "default": {}},
}
SPEC: dict[str, Any] = {**PROJECT_SPEC, **LOCK_SPEC, **progress.PROGRESS_SPEC, **_OWN}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(
        worker_queues.Request,
        _OWN,
        params,
        project=project_options(params),
        lock=lock_options(params),
        progress=progress.progress_options(params),
    )
    return worker_queues.queues(request, check_mode)
