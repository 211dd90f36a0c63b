# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``compose_build`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..build.host import build
from ..engine.options import PROJECT_SPEC, project_options
from ..operation.host.progress import PROGRESS_SPEC, progress_options
from ..operation.options import LOCK_SPEC, lock_options

_OWN: dict[str, Any] = {
    "rebuild": {"type": "bool", "default": False},
    "build": {"type": "str", "choices": ["policy", "never"], "default": "policy"},
    "memory": {"type": "str"},
    "brief": {"type": "bool", "default": False},
    "registry": {
        "type": "dict",
        "default": {},
        "options": {
            "url": {"type": "str"},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "password_file": {"type": "path", "no_log": False},
        },
    },
}
SPEC: dict[str, Any] = {**PROJECT_SPEC, **LOCK_SPEC, **PROGRESS_SPEC, **_OWN}
#: It changes nothing that serves, and the processors belong to those who are served.
POLITE = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    options = {"project": project_options(params), "lock": lock_options(params), "progress": progress_options(params)}
    return build.build_images(read(build.Request, _OWN, params, **options), check_mode)
