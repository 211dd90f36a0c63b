# SPDX-License-Identifier: GPL-3.0-or-later
"""Which restart policy Compose gives a container, and whether one has it; that it is so is held on the real engine by a bed."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.restart import restart_of, wanted_policy
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.restart_policy import is_unkept


@pytest.mark.parametrize(
    ("definition", "name", "count"),
    [
        ({}, "no", 0),
        ({"restart": "no"}, "no", 0),
        ({"restart": "always"}, "always", 0),
        ({"restart": "unless-stopped"}, "unless-stopped", 0),
        ({"restart": "on-failure"}, "on-failure", 0),
        ({"restart": "on-failure:5"}, "on-failure", 5),
        ({"deploy": {"restart_policy": {"condition": "any"}}}, "always", 0),
        ({"deploy": {"restart_policy": {"condition": "none"}}, "restart": "always"}, "no", 0),
        ({"deploy": {"restart_policy": {"condition": "on-failure", "max_attempts": 2}}}, "on-failure", 2),
        ({"deploy": {"replicas": 2}, "restart": "always"}, "always", 0),
    ],
)
def test_what_compose_asks_for(definition: dict[str, Any], name: str, count: int) -> None:
    assert wanted_policy(definition) == {"Name": name, "MaximumRetryCount": count}
    assert is_unkept({"HostConfig": {"RestartPolicy": {"Name": "no"}}}, definition) is (name != "no")
    assert not is_unkept({"HostConfig": {"RestartPolicy": {"Name": "always"}}}, definition)


def test_what_is_written_and_what_is_left_out() -> None:
    assert restart_of({}) == "" and restart_of({"restart": "on-failure:5"}) == "on-failure"
    assert restart_of({"deploy": {"restart_policy": {"condition": "none"}}}) == "no"
