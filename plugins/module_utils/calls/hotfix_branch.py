# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``hotfix_branch`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..hotfix import branches
from ..hotfix.host import branch
from ..operation.options import LOCK_SPEC, lock_options

_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "repo": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "finished"], "required": True},
    "name": {"type": "str"},
    "pick": {"type": "list", "elements": "str", "default": []},
    "into": {"type": "list", "elements": "str", "default": []},
    "how": {"type": "str", "choices": list(branches.HOWS), "default": "merge"},
    "delete": {"type": "bool", "default": True},
    "push": {"type": "bool", "default": True},
    "timeout": {"type": "str", "default": "1m"},
    "owner": {"type": "str"},
}
SPEC: dict[str, Any] = {**LOCK_SPEC, **_OWN}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(branch.Request, _OWN, params, lock=lock_options(params))
    return branch.change(request, check_mode)
