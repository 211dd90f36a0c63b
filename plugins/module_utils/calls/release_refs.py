# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``release_refs`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..hotfix.host import refs
from ..operation.options import LOCK_SPEC, lock_options

_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "repo": {"type": "str", "required": True},
    "release": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["named", "reverted", "hotfixed"], "default": "named"},
    "tag": {"type": "str"},
    "branch": {"type": "str"},
    "before": {"type": "str"},
    "push": {"type": "bool", "default": True},
    "timeout": {"type": "str", "default": "10s"},
    "owner": {"type": "str"},
}
SPEC: dict[str, Any] = {**LOCK_SPEC, **_OWN}
#: Those who are served need the processors more.
STEPS_BACK = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(refs.Request, _OWN, params, lock=lock_options(params))
    return refs.tell_repository(request, check_mode)
