# SPDX-License-Identifier: GPL-3.0-or-later
"""Acts on several containers at once: an act is over when every part of it is."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.host.engine import EngineFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.machine import ComposeMachine
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.roller import StepFailed


class Slow:
    """An engine on which the first removal fails at once, and each other one takes its time."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.lock = threading.Lock()

    def remove(self, container_id: str, **_options: Any) -> None:
        with self.lock:
            self.begun.append(container_id)
        if container_id == "c0":
            raise EngineFailed("no space left on device")
        time.sleep(0.05)
        with self.lock:
            self.ended.append(container_id)


def test_nothing_goes_on_or_begins_once_an_act_has_failed() -> None:
    engine = Slow()
    compose: Any = None
    machine = ComposeMachine(compose, cast(Any, engine), "shop", [])
    ids = [f"c{number}" for number in range(20)]
    with pytest.raises(StepFailed, match="c0 could not be removed: no space left"):
        machine.remove(ids)
    at_the_end = (sorted(engine.begun), sorted(engine.ended))
    time.sleep(0.2)
    assert at_the_end == (sorted(engine.begun), sorted(engine.ended)) == (sorted(ids), sorted(ids[1:]))
