# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether engine and Compose are new enough is asked once in an operation, and by every call that is part of none."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import project
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import Compose
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import Keeper, working
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.lease import Operation
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions


class Engine:
    def version(self) -> str:
        return "28.2.2"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often Compose was asked for its version, which is too old."""
    found: list[str] = []

    def version(_self: Compose) -> str:
        found.append("asked")
        return "2.20.0"

    monkeypatch.setattr(project, "Engine", Engine)
    monkeypatch.setattr(Compose, "version", version)
    return found


def test_what_an_operation_has_found_holds_for_it_alone(tmp_path: Path, asked: list[str]) -> None:
    directory = str(tmp_path / "state")
    keeper = Keeper(directory)
    first = keeper.take(Operation("update", "shop", "v2"), "somebody").lock.token
    lock = LockOptions(directory, first)
    with pytest.raises(BadInput, match="Docker Compose"):
        project.connect("/srv", lock)
    assert len(asked) == 1
    with working(lock, directory, "compose_build of shop") as fence:
        fence.note(**{project.TOOLS_FIT: True})
    project.connect("/srv", lock)
    assert len(asked) == 1
    # Whoever does not say which operation it is part of asks, and so does the next operation.
    keeper.release(first)
    second = keeper.take(Operation("update", "shop", "v3"), "somebody").lock.token
    for others in (
        None,
        LockOptions(),
        LockOptions(directory),
        LockOptions(directory, second),
        LockOptions(directory, "x"),
    ):
        with pytest.raises(BadInput):
            project.connect("/srv", others)
    assert len(asked) == 6


def test_a_call_alone_leaves_no_word_of_it(tmp_path: Path, asked: list[str]) -> None:
    directory = str(tmp_path / "state")
    with working(LockOptions(directory), directory, "compose_build of shop") as fence:
        fence.note(**{project.TOOLS_FIT: True})
        token = fence.token
    with pytest.raises(BadInput):
        project.connect("/srv", LockOptions(directory, token))
    assert asked
