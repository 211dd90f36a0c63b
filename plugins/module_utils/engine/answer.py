# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one question to a container brought."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What one question to a container brought: ``text`` as a user would report it, ``status`` of HTTP, 0 for none."""

    ok: bool
    text: str = ""
    status: int = 0
