# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``requests_hold`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..engine.options import PROJECT_SPEC, project_options
from ..operation.host import progress
from ..operation.options import LOCK_SPEC, lock_options
from ..rolling.host.holding import HELD, RELEASED, Request, hold

_OWN: dict[str, Any] = {
    "state": {"type": "str", "choices": [HELD, RELEASED], "default": HELD},
    "service_options": {"type": "dict", "default": {}},
    "hold_timeout": {"type": "str", "default": "20s"},
    "expected": {"type": "str", "default": "0s"},
    "page": {"type": "str"},
    "health_url": {"type": "str"},
    "about": {
        "type": "dict",
        "options": {
            "migrations": {"type": "list", "elements": "str", "default": []},
            "stores": {"type": "list", "elements": "str", "default": []},
            "backups": {"type": "list", "elements": "dict", "default": []},
        },
    },
}
SPEC: dict[str, Any] = {**PROJECT_SPEC, **LOCK_SPEC, **progress.PROGRESS_SPEC, **_OWN}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: requests go where they went before.
    """
    request = read(
        Request,
        _OWN,
        params,
        project=project_options(params),
        lock=lock_options(params),
        progress=progress.progress_options(params),
    )
    return hold(request, check_mode)
