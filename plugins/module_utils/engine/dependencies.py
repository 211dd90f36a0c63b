# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order services are seen to, and which of them others need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .services import ROLLED_KINDS


def in_order(names: Iterable[str], kinds: Mapping[str, str]) -> list[str]:
    """Services in the order in which they go forward: what others may need, workers, schedulers, web."""
    return sorted(names, key=lambda n: ROLLED_KINDS.index(kinds[n]) if kinds.get(n) in ROLLED_KINDS else -1)


def needed_by(services: Mapping[str, Mapping[str, Any]], name: str) -> tuple[str, ...]:
    """All that a service depends on, directly or through others, by ``depends_on`` of the resolved project."""
    found: list[str] = []
    left = [name]
    while left:
        beside = (services.get(left.pop()) or {}).get("depends_on") or {}
        # One that is not required may be in no file, or in a profile that is off.
        fresh = [str(n) for n in beside if n in services and n not in found and n != name]
        found += fresh
        left += fresh
    return tuple(found)
