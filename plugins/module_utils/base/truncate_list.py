# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long lists as people read them: the first ones, and how many there are besides."""

from __future__ import annotations

from collections.abc import Sequence


def some(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first ``most`` names, joined, and how many more there are."""
    left = len(names) - most
    return separator.join(names[:most]) + (f" and {left} more" if left > 0 else "")
