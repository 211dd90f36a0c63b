# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers use of processors and memory, by an SDK that can ask for one moment, and by one that cannot."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.status.host import engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.host.engine import EngineView

MIB = 1024 * 1024
MEMORY = {"usage": 120 * MIB, "stats": {"total_inactive_file": 20 * MIB}}


def moment(worked: int, passed: int) -> dict[str, Any]:
    return {"cpu_usage": {"total_usage": worked}, "system_cpu_usage": passed, "online_cpus": 2}


class Api:
    """The engine's counters, which go on from one question to the next."""

    def __init__(self) -> None:
        self.asked = 0

    def stats(self, _container: str, stream: bool = True, one_shot: bool | None = None) -> dict[str, Any]:
        assert not stream and one_shot
        self.asked += 1
        return {"cpu_stats": moment(self.asked * 500, self.asked * 2000), "precpu_stats": {}, "memory_stats": MEMORY}


class OldApi:
    """As SDK 5.0 has it: the engine itself waits between two moments."""

    def stats(self, _container: str, stream: bool = True) -> dict[str, Any]:
        assert not stream
        return {"cpu_stats": moment(1000, 4000), "precpu_stats": moment(500, 2000), "memory_stats": MEMORY}


class Gone:
    def stats(self, _container: str, **_how: Any) -> dict[str, Any]:
        raise engine.DockerException("no such container")


def view(api: Any) -> EngineView:
    class Engine:
        def __init__(self) -> None:
            self.api = api

        def containers(self, _labels: Any) -> list[dict[str, Any]]:
            state = {"Running": True, "Pid": 4_000_001}
            return [{"Id": "a", "Name": "/shop-api-1", "State": state}, {"Id": "b", "Name": "/shop-job-1", "State": {}}]

    made: Any = Engine()
    return EngineView(made, "shop", {}, "", "/nowhere")


@pytest.mark.parametrize("api", [Api(), OldApi()])
def test_half_of_one_of_two_processors_and_memory_without_what_could_be_dropped(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.time, "sleep", lambda _seconds: None)
    assert view(api).use() == {"shop-api-1": (50.0, 100 * MIB)}


def test_one_that_has_just_ended_is_left_out() -> None:
    assert view(Gone()).use() == {}
