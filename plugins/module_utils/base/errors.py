# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every part of the shell raises where it cannot begin: nothing was touched, and this is what to do."""

from __future__ import annotations


class BadInput(Exception):
    """The call cannot be carried out as it is; nothing was touched.  ``advice`` is what to do about it."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.advice = advice

    def message(self) -> str:
        """What a user reads."""
        advice = self.advice or "correct that and run the same command again"
        return f"What: {self}\nNow: nothing was touched, what was serving still is\nNext: {advice}"
