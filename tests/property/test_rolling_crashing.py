# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Away from a version whose containers crash again and again: nobody is led back to them once something better serves."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import View
from tests.property.crashing_rolls import check
from tests.property.seeded_histories import hold, in_parts, is_noticed


@in_parts
def test_nobody_is_led_back_to_what_crashes(part: int) -> None:
    hold(check, part)


def test_a_broken_rule_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(View, "sound", property(lambda self: tuple(c for c in self.old if c.running)))
    assert is_noticed(check)
