# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``django_check`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..engine.options import PROJECT_SPEC, project_options
from ..migrations.bridges import KINDS, USUAL
from ..operation.host.progress import PROGRESS_SPEC, progress_options
from ..operation.options import LOCK_SPEC, lock_options
from ..rehearsal.host import checks

CHECKS = ["deploy", "migrations"]
_OWN: dict[str, Any] = {
    "service": {"type": "str", "required": True},
    "checks": {"type": "list", "elements": "str", "choices": CHECKS, "default": CHECKS},
    "plan": {"type": "bool", "default": False},
    "bridges": {"type": "list", "elements": "str", "choices": list(KINDS), "default": list(USUAL)},
    "declared_phases": {"type": "dict", "default": {}},
    "allow_data_loss": {"type": "list", "elements": "str", "default": []},
    "test_command": {"type": "raw"},
    "service_options": {"type": "dict", "default": {}},
    "manage_py": {"type": "str", "default": "manage.py"},
    "take_over_from": {"type": "str"},
    "timeout": {"type": "str", "default": "1h"},
}
SPEC: dict[str, Any] = {**PROJECT_SPEC, **LOCK_SPEC, **PROGRESS_SPEC, **_OWN}
#: It changes nothing that serves, and the processors belong to those who are served.
POLITE = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(
        checks.Request, _OWN, params, project=project_options(params), lock=lock_options(params),
        progress=progress_options(params),
    )  # fmt: skip
    return checks.check(request, check_mode)
