# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``postgres_backup`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backup.host import backup as backup_backup
from ..backup.host.external_database import EXTERNAL_DATABASE_SPEC, external_database_options
from ..backup.host.request import Request
from ..base.options import read
from ..engine.options import PROJECT_SPEC, project_options
from ..operation.host.progress import PROGRESS_SPEC, progress_options
from ..operation.options import LOCK_SPEC, lock_options

_OWN: dict[str, Any] = {
    "service": {"type": "str"},
    "service_options": {"type": "dict", "default": {}},
    "database": {"type": "str"},
    "django_service": {"type": "str"},
    "manage_py": {"type": "str", "default": "manage.py"},
    "dest": {"type": "path", "required": True},
    "keep": {"type": "int", "default": 7},
    "state": {"type": "str", "choices": ["present", "verified", "restored"], "default": "present"},
    "backup": {"type": "str"},
    "allow_downtime": {"type": "bool", "default": False},
    "again": {"type": "bool", "default": False},
    "newer_than": {"type": "str"},
    "release": {"type": "str"},
    "releases_dir": {"type": "path"},
    "optional": {"type": "bool", "default": False},
    "lock_timeout": {"type": "str", "default": "30s"},
    "min_free": {"type": "str", "default": "256M"},
    "verify_memory": {"type": "str", "default": "512M"},
    "take_over_from": {"type": "str"},
    "timeout": {"type": "str", "default": "2h"},
}
SPEC: dict[str, Any] = {
    **PROJECT_SPEC,
    **LOCK_SPEC,
    **PROGRESS_SPEC,
    **EXTERNAL_DATABASE_SPEC,
    **_OWN,
    # The only one that there is.
    "format": {"type": "str", "choices": ["custom"], "default": "custom"},
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(
        Request, _OWN, params, project=project_options(params), lock=lock_options(params),
        progress=progress_options(params), external=external_database_options(params),
    )  # fmt: skip
    return backup_backup.backup(request, check_mode)
