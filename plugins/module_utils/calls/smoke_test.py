# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``smoke_test`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..operation.options import LOCK_SPEC
from ..status.host import smoke
from ..traffic.host.smoke_test import SMOKE_TEST_SPEC, smoke_test_options

_OWN: dict[str, Any] = {
    "project_name": {"type": "str"},
    "service": {"type": "str"},
    "tries": {"type": "int", "default": 6},
    "brief": {"type": "bool", "default": False},
    "advice": {"type": "str", "default": "look at the messages above and run the same command again"},
}
SPEC: dict[str, Any] = {**SMOKE_TEST_SPEC, **LOCK_SPEC, **_OWN}
#: Those who are served need the processors more.
STEPS_BACK = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    return smoke.verify(read(smoke.Request, _OWN, params, site=smoke_test_options(params)), check_mode)
