# SPDX-License-Identifier: GPL-3.0-or-later
"""Until when the engine leaves the processors to users; what it is told is noted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processor_share
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host import left_behind


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    noted: list[str] = []
    for name in ("lower_engine", "restore_engine"):
        monkeypatch.setattr(processor_share, name, lambda name=name: noted.append(name))
    return noted


def test_it_has_its_share_again_when_the_operation_has_ended(tmp_path: Path, told: list[str]) -> None:
    left_behind.operation_has_ended(str(tmp_path))
    assert told == ["restore_engine"]


def test_what_was_left_behind_keeps_it_to_its_own_end(tmp_path: Path, told: list[str]) -> None:
    with left_behind.alone(str(tmp_path)):
        assert left_behind.goes_on(str(tmp_path))
        left_behind.operation_has_ended(str(tmp_path))
        assert told == ["lower_engine"]
    assert told == ["lower_engine", "restore_engine"] and not left_behind.goes_on(str(tmp_path))


def test_what_fails_gives_it_back_too(tmp_path: Path, told: list[str]) -> None:
    with pytest.raises(OSError, match="full"), left_behind.alone(str(tmp_path)):
        raise OSError("full")
    assert told == ["lower_engine", "restore_engine"]
