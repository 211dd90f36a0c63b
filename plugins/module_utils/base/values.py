# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values as Compose and people write them: durations, sizes, whole numbers."""

from __future__ import annotations

import re
from typing import Any


def seconds(value: Any, default: float = 0.0) -> float:
    """A Compose duration (``1m30s``, ``500ms``, a number of seconds) in seconds.

    :raises ValueError: when it is none.
    """
    if value is None or value == "":
        return default
    # What comes from a command line (``-e``) is text, numbers too.
    if not isinstance(value, bool) and re.match(r"^\d+(\.\d+)?(e[+-]?\d+)?$", str(value)):
        return float(value)
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)", str(value))
    if not parts or "".join(n + u for n, u in parts) != str(value):
        raise ValueError(f"{value!r} is not a duration such as 30s or 1m30s")
    return float(sum(float(number) * units[unit] for number, unit in parts))


def size(value: Any) -> int:
    """A Compose byte value (``512m``, ``1.5gb``, ``1073741824``) in bytes; 0 for none.

    :raises ValueError: when it is none.
    """
    if value in (None, ""):
        return 0
    match = re.match(r"^(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?$", str(value).lower())
    if not match:
        raise ValueError(f"{value!r} is not a size such as 512m")
    return int(float(match.group(1)) * 1024 ** " kmgt".index(match.group(2) or " "))


def whole(value: Any, key: str) -> int:
    if isinstance(value, bool) or not re.match(r"^\d+$", str(value)):
        raise ValueError(f"{key} {value!r} is not a whole number")
    return int(value)
