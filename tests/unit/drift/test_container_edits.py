# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts of the differences of containers as somebody's edit of a file of the tree, and what stops who would lose it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.drift.drift import (
    ADDED,
    CHANGED,
    REMOVED,
    UNREAD,
    Difference,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.drift.host import container_edits
from ansible_collections.evenkeel.deploy.plugins.module_utils.drift.host.containers import GONE, ContainerDrift
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.container_files import TooMuch
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine, EngineFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import hand_edits
from tests.unit.engine_in_memory import NOBODY

INSPECTION = {"Id": "1", "State": {"Pid": NOBODY, "Running": True}, "Config": {"WorkingDir": "/app", "Image": "shop"}}
TREE = {"shop/views.py": "old", "db.dump": "dump"}


def sum_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


EDITED = Difference("/app/shop/views.py", CHANGED, sum_of("old"), "new")
LOG = Difference("/app/written.bin", ADDED, "", "log")
CODE = Difference("/app/shop/more.py", ADDED, "", "code")
LARGE = Difference("/app/db.dump", UNREAD, sum_of("dump"), "", why="larger than 8 MiB")


class Seen:
    """What would be read of containers, and what was."""

    def __init__(self, found: ContainerDrift) -> None:
        self.found, self.read = found, list[str]()

    def __call__(self, *_args: Any) -> Seen:
        return self

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *_args: object) -> None:
        pass

    def of_each(self, inspections: Sequence[Any]) -> list[ContainerDrift]:
        return [self.found for _inspection in inspections]

    def edits(self, _inspection: Any, found: ContainerDrift) -> Iterator[tuple[Difference, bytes, bytes]]:
        for difference in found.differences:
            self.read.append(difference.path)
            yield difference, b"", difference.after.encode()


Edits = Callable[..., dict[str, "bytes | None"]]


@pytest.fixture
def edits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edits:
    """The edits in a container, by their paths in the tree."""
    for path, text in TREE.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)

    def edits(seen: Seen, **more: Any) -> dict[str, bytes | None]:
        monkeypatch.setattr(container_edits, "Drifts", seen)
        monkeypatch.setattr(hand_edits, "Drifts", seen)
        found = hand_edits.of_tree(Engine.__new__(Engine), "shop", [INSPECTION], str(tmp_path), **more)
        return {edit.inside: edit.content for edit in found}

    return edits


def drift_of(*differences: Difference, **more: Any) -> ContainerDrift:
    return ContainerDrift("api-1", "api", "shop", differences, **more)


def test_only_files_of_the_tree_are_read_and_of_added_ones_those_that_count(edits: Edits) -> None:
    is_external = Difference("/usr/lib/python3/site.py", CHANGED, "theirs", "other")
    seen = Seen(drift_of(EDITED, LOG, CODE, is_external))
    assert edits(seen, added=lambda path: path.endswith(".py")) == {
        "shop/views.py": b"new",
        "shop/more.py": b"code",
    }
    assert seen.read == [EDITED.path, CODE.path]


def test_what_the_tree_has_and_cannot_be_read_stops_it_and_what_it_has_not_does_not(edits: Edits) -> None:
    with pytest.raises(TooMuch, match=r"api-1: /app/db\.dump: larger than 8 MiB"):
        edits(Seen(drift_of(EDITED, LARGE)))
    theirs = Difference("/app/cache.bin", UNREAD, "", "", why="larger than 8 MiB")
    assert edits(Seen(drift_of(EDITED, theirs))) == {"shop/views.py": b"new"}


def test_a_container_that_cannot_be_looked_at_passes_for_none_without_edits(edits: Edits) -> None:
    with pytest.raises(EngineFailed, match="api-1: no such image"):
        edits(Seen(drift_of(unseen="no such image")))
    # What has ended meanwhile is replaced already.
    assert edits(Seen(drift_of(unseen=GONE))) == {}
    several = [Difference(f"/app/{number}", REMOVED, "x", "") for number in range(3)]
    with pytest.raises(EngineFailed, match="7 more files differ"):
        edits(Seen(drift_of(*several, more=7)))
    # Where added ones are told, only added ones are left out.
    assert edits(Seen(drift_of(EDITED, LOG, more=7)))["shop/views.py"] == b"new"
