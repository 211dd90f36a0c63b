# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundreds of simulated rolls, with crashes and failures, and what must hold in every one of them.

A history is one seed: it draws the services, the behaviour of the new version and the misfortunes, so a
failing one is run again by its number alone.
"""

from __future__ import annotations

from tests.property.rolling_invariants import check, check_a_change_of_mind
from tests.property.seeded_histories import hold, in_parts


@in_parts
def test_invariants_hold_in_every_history(part: int) -> None:
    hold(check, part)


@in_parts
def test_the_old_version_can_be_asked_for_after_any_kill(part: int) -> None:
    hold(check_a_change_of_mind, part)
