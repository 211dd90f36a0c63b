# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``django_static`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..build.host import static
from ..engine.options import PROJECT_SPEC, project_options
from ..operation.options import LOCK_SPEC, lock_options

_OWN: dict[str, Any] = {
    "service": {"type": "str", "required": True},
    "revision": {"type": "str"},
    "state": {"type": "str", "choices": ["published", "restored"], "default": "published"},
    "releases_dir": {"type": "path"},
    "asked_in": {"type": "str"},
    "manage_py": {"type": "str", "default": "manage.py"},
    "timeout": {"type": "str", "default": "10m"},
}
SPEC: dict[str, Any] = {**PROJECT_SPEC, **LOCK_SPEC, **_OWN}
#: It changes nothing that serves, and the processors belong to those who are served.
POLITE = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(static.Request, _OWN, params, project=project_options(params), lock=lock_options(params))
    return static.static_files(request, check_mode)
