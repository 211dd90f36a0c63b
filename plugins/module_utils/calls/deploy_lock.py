# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``deploy_lock`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..operation.host import lock as operation_lock
from ..operation.host.progress import PROGRESS_SPEC, progress_options

_OWN: dict[str, Any] = {
    "state": {"type": "str", "choices": ["held", "renewed", "released"], "default": "held"},
    "state_dir": {"type": "path", "required": True},
    "former_state_dir": {"type": "path"},
    "lock_token": {"type": "str", "no_log": False},
    "playbook": {"type": "str", "default": "manual"},
    "app_name": {"type": "str", "default": ""},
    "target": {"type": "str", "default": ""},
    "who": {"type": "str"},
    "lease": {"type": "str", "default": "30m"},
    "wait": {"type": "str", "default": "0s"},
    "at_once": {"type": "bool", "default": False},
    "take_over": {"type": "bool", "default": False},
    "goal": {"type": "str", "choices": ["forward", "undo", "undone"]},
    "before": {"type": "dict"},
    "revision": {"type": "str"},
    "release": {"type": "str"},
    "reason": {"type": "str"},
    "result": {"type": "str", "choices": ["ok", "failed"], "default": "ok"},
    "go_back": {"type": "str"},
    "steps": {"type": "list", "elements": "dict", "default": []},
}
SPEC: dict[str, Any] = {**PROGRESS_SPEC, **_OWN}
RULES = {"required_if": [("state", "renewed", ["lock_token"]), ("state", "released", ["lock_token"])]}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(operation_lock.Request, _OWN, params, progress=progress_options(params))
    return operation_lock.lock(request, check_mode)
