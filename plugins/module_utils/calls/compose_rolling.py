# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``compose_rolling``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..guard.host.standby import standing_by
from ..rolling.host import roll as rolling


def roll(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call, with a guard standing by.

    :raises BadInput: before anything is touched.
    """
    return rolling.roll(params, check_mode, standing_by)
