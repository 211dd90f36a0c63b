# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``project_variables`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..init.host import describe

SPEC: dict[str, Any] = {"src": {"type": "list", "elements": "path", "default": []}, "project_name": {"type": "str"}}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return describe.project_variables(read(describe.Request, SPEC, params), check_mode)
