# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``files_backup`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backup.host import files_backup
from ..base.options import read
from ..operation.options import LOCK_SPEC, lock_options

_OWN: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "path": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "restored"], "default": "present"},
    "backup": {"type": "str"},
    "replace": {"type": "bool", "default": False},
    "encrypt_to": {"type": "list", "elements": "str", "default": []},
    "vault_password": {"type": "str", "no_log": True},
    "keep": {"type": "int", "default": 7},
    "min_free": {"type": "str", "default": "256M"},
}
SPEC: dict[str, Any] = {**LOCK_SPEC, **_OWN}
RULES = {"required_if": [("state", "restored", ["backup"])]}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(files_backup.Request, _OWN, params, lock=lock_options(params))
    return files_backup.files_backup(request, check_mode)
