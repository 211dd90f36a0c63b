# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``deploy_info`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..status.host import status
from ..traffic.host import smoke_test

_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "project_name": {"type": "str", "required": True},
    "state_dir": {"type": "path"},
    "backups_dir": {"type": "path"},
    "owner": {"type": "str"},
    "django_service": {"type": "str", "default": "api"},
    "manage_py": {"type": "str", "default": "manage.py"},
    "look_at": {
        "type": "list",
        "elements": "str",
        "choices": list(status.PARTS),
        "default": list(status.PARTS),
    },
}
SPEC: dict[str, Any] = {**smoke_test.SMOKE_TEST_SPEC, **_OWN}
#: It changes nothing that serves, and the processors belong to those who are served.
POLITE = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return status.deploy_info(read(status.Request, _OWN, params, smoke_test=smoke_test.smoke_test_options(params)))
