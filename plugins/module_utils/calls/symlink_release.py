# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``symlink_release`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..hotfix.host import release
from ..operation.options import LOCK_SPEC, lock_options
from ..releases import archives

_OWN: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "state": {
        "type": "str",
        "choices": ["present", "found", "built", "next", "active", "bad", "absent"],
        "default": "present",
    },
    "repo": {"type": "str"},
    "version": {"type": "str", "default": "main"},
    "release": {"type": "str"},
    "verified": {"type": "bool", "default": True},
    "asked": {"type": "bool", "default": True},
    "left": {"type": "str", "choices": ["kept", "bad"], "default": "kept"},
    "accept_bad": {"type": "str"},
    "drop_hotfixes": {"type": "list", "elements": "str", "default": []},
    "drop_edits": {"type": "bool", "default": False},
    "activate_at": {"type": "str"},
    "keep": {"type": "int", "default": 0},
    "archive": {"type": "str", "choices": list(archives.POLICIES)},
    "shared": {"type": "list", "elements": "str", "default": []},
    "inputs": {"type": "dict", "default": {}},
    "owner": {"type": "str"},
}
SPEC: dict[str, Any] = {**LOCK_SPEC, **_OWN}
_OF_RELEASE = ("built", "next", "active", "bad", "absent")
RULES = {"required_if": [("state", "present", ["repo"]), *(("state", state, ["release"]) for state in _OF_RELEASE)]}
#: It changes nothing that serves, and the processors belong to those who are served.
POLITE = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(release.Request, _OWN, params, lock=lock_options(params))
    return release.manage_release(request, check_mode)
