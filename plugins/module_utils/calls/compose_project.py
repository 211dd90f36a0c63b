# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``compose_project`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..engine.options import PROJECT_SPEC, project_options
from ..operation.options import LOCK_SPEC, lock_options
from ..releases.host import project as releases_project

_OWN: dict[str, Any] = {
    "revision": {"type": "str", "required": True},
    "mounts_dir": {"type": "path", "required": True},
    "service_options": {"type": "dict", "default": {}},
    "regenerate": {"type": "bool", "default": True},
    "live_dir": {"type": "path"},
    "data_dir": {"type": "path"},
    "serving_src": {"type": "path"},
    "reuse_images": {"type": "bool", "default": False},
}
SPEC: dict[str, Any] = {**PROJECT_SPEC, **LOCK_SPEC, **_OWN}
#: It changes nothing that serves, and the processors belong to those who are served.
POLITE = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(releases_project.Request, _OWN, params, project=project_options(params), lock=lock_options(params))
    return releases_project.resolve(request, check_mode)
