# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``publish_build`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..build.host import publish as build_publish
from ..engine.options import PROJECT_SPEC, project_options
from ..operation.options import LOCK_SPEC, lock_options

_OWN: dict[str, Any] = {
    "django_service": {"type": "str", "required": True},
    "service_options": {"type": "dict", "default": {}},
    "services": {"type": "list", "elements": "str", "default": []},
    "refuse_broken": {"type": "bool", "default": False},
    "refuse_same": {"type": "bool", "default": False},
    "drop_edits": {"type": "bool", "default": False},
    "releases_dir": {"type": "path"},
    "state": {"type": "str", "choices": ["offered", "published", "restored"], "default": "published"},
    "timeout": {"type": "str", "default": "10m"},
}
SPEC: dict[str, Any] = {**PROJECT_SPEC, **LOCK_SPEC, **_OWN}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(build_publish.Request, _OWN, params, project=project_options(params), lock=lock_options(params))
    return build_publish.publish(request, check_mode)
