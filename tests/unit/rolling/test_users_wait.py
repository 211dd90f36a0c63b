# SPDX-License-Identifier: GPL-3.0-or-later
"""For the end of which roll users wait, so that it has more of the processors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.roll import users_wait


def waited_for(backward: bool = False, gap: str = "", **orders: str) -> bool:
    targets = [SimpleNamespace(settings=SimpleNamespace(kind=kind, order=order)) for kind, order in orders.items()]
    request = SimpleNamespace(backward=backward)
    call = SimpleNamespace(gap={"playbook": gap} if gap else {}, targets=targets)
    return users_wait(cast(Any, request), cast(Any, call))


@pytest.mark.parametrize(
    ("roll", "waited"),
    [
        ({"web": "start-first", "worker": "start-first", "scheduler": "stop-first"}, False),
        ({"web": "start-first", "backward": True}, True),
        ({"web": "start-first", "gap": "update"}, True),
        ({"web": "stop-first"}, True),
        ({}, False),
    ],
)
def test_they_wait_for_a_version_that_comes_back_and_for_one_that_is_away_meanwhile(
    roll: dict[str, Any], waited: bool
) -> None:
    assert waited_for(**roll) is waited
