# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``nginx_reload`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..base.options import read
from ..engine.options import PROJECT_SPEC, project_options
from ..operation.options import LOCK_SPEC, lock_options
from ..traffic.host import nginx_reload as traffic_nginx_reload
from ..traffic.host.nginx_wanted import Request

_OWN: dict[str, Any] = {
    "service": {"type": "str"},
    "src": {"type": "path"},
    "content": {"type": "str", "no_log": True},
    "dest": {"type": "path"},
    "from_release": {"type": "bool", "default": False},
    "backup": {"type": "bool", "default": True},
    "keep": {"type": "int", "default": 5},
    "validate_only": {"type": "bool", "default": False},
    "url": {"type": "str"},
    "url_host": {"type": "str"},
}
SPEC: dict[str, Any] = {**PROJECT_SPEC, **LOCK_SPEC, **_OWN}
RULES = {
    "mutually_exclusive": [("src", "content", "from_release")],
    "required_one_of": [("src", "content", "from_release")],
    "required_by": {"src": "dest", "content": "dest"},
}
#: Those who are served need the processors more.
STEPS_BACK = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(Request, _OWN, params, project=project_options(params), lock=lock_options(params))
    # A file may be wanted empty.
    request = replace(request, src=params.get("src"), content=params.get("content"))
    return traffic_nginx_reload.nginx_reload(request, check_mode)
