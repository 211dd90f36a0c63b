# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``update_rehearsal`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backup.host.external_database import EXTERNAL_DATABASE_SPEC, external_database_options
from ..base.options import read
from ..engine.options import PROJECT_SPEC, project_options
from ..migrations.bridges import KINDS, USUAL
from ..operation.host.progress import PROGRESS_SPEC, progress_options
from ..operation.options import LOCK_SPEC, lock_options
from ..rehearsal.host import rehearse as rehearsal_rehearse
from ..rehearsal.host.request import Request

_STRINGS = {"type": "list", "elements": "str", "default": []}
_OWN: dict[str, Any] = {
    "state": {"type": "str", "choices": ["rehearsed", "compared"], "default": "rehearsed"},
    "service": {"type": "str"},
    "database_service": {"type": "str"},
    "databases": _STRINGS,
    "dest": {"type": "path"},
    "service_options": {"type": "dict", "default": {}},
    "environment": _STRINGS,
    "serving_src": {"type": "path"},
    "contract": {"type": "str", "choices": ["next", "now", "manual"], "default": "next"},
    "bridges": {"type": "list", "elements": "str", "choices": list(KINDS), "default": list(USUAL)},
    "declared_phases": {"type": "dict", "default": {}},
    "allow_data_loss": _STRINGS,
    "additive_only": {"type": "bool", "default": False},
    "allow_downtime": {"type": "bool", "default": False},
    "release": {"type": "str"},
    "memory": {"type": "str", "default": "512M"},
    "io_rate": {"type": "str", "default": "100M"},
    "min_free": {"type": "str", "default": "1G"},
    "timeout": {"type": "str", "default": "1h"},
    "manage_py": {"type": "str", "default": "manage.py"},
    "ran": {"type": "dict", "default": {}},
}
SPEC: dict[str, Any] = {
    **PROJECT_SPEC,
    **LOCK_SPEC,
    **PROGRESS_SPEC,
    **EXTERNAL_DATABASE_SPEC,
    **_OWN,
    # Not given is another thing than an empty list, which says that nothing is asked.
    "prove": {"type": "list", "elements": "raw"},
}
RULES = {"required_if": [("state", "rehearsed", ("service", "dest"))]}
#: It changes nothing that serves, and the processors belong to those who are served.
POLITE = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    prove = params.get("prove")
    request = read(
        Request, _OWN, params, project=project_options(params), lock=lock_options(params),
        progress=progress_options(params), external=external_database_options(params),
        prove=None if prove is None else tuple(prove),
    )  # fmt: skip
    return rehearsal_rehearse.rehearse(request, check_mode)
