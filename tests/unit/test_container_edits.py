# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts of the differences of containers as somebody's edit of a file of the tree, and what stops who would lose it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.decide.drift import (
    ADDED,
    CHANGED,
    REMOVED,
    UNREAD,
    Difference,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.host import container_edits, hand_edits
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.container_files import TooMuch
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.drift import GONE, ContainerDrift
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.engine import Engine, EngineFailed

INSPECTION = {"Id": "1", "State": {"Pid": 1, "Running": True}, "Config": {"WorkingDir": "/app", "Image": "shop"}}
TREE = {"shop/views.py": "old", "db.dump": "dump"}
EDITED = Difference("/app/shop/views.py", CHANGED, "old", "new")
LOG = Difference("/app/written.bin", ADDED, "", "log")
CODE = Difference("/app/shop/more.py", ADDED, "", "code")
LARGE = Difference("/app/db.dump", UNREAD, "dump", "", why="larger than 8 MiB")


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


def edits(seen: Seen, monkeypatch: pytest.MonkeyPatch, **more: Any) -> dict[str, bytes | None]:
    monkeypatch.setattr(container_edits, "Drifts", seen)
    monkeypatch.setattr(hand_edits, "Drifts", seen)
    monkeypatch.setattr(hand_edits, "_sums", lambda _tree: TREE)
    found = hand_edits.of_tree(Engine.__new__(Engine), "shop", [INSPECTION], "", **more)
    return {edit.inside: edit.content for edit in found}


def drift_of(*differences: Difference, **more: Any) -> ContainerDrift:
    return ContainerDrift("api-1", "api", "shop", differences, **more)


def test_only_files_of_the_tree_are_read_and_of_added_ones_those_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Difference("/usr/lib/python3/site.py", CHANGED, "theirs", "other")
    seen = Seen(drift_of(EDITED, LOG, CODE, elsewhere))
    assert edits(seen, monkeypatch, added=lambda path: path.endswith(".py")) == {
        "shop/views.py": b"new",
        "shop/more.py": b"code",
    }
    assert seen.read == [EDITED.path, CODE.path]


def test_what_the_tree_has_and_cannot_be_read_stops_it_and_what_it_has_not_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(TooMuch, match=r"api-1: /app/db\.dump: larger than 8 MiB"):
        edits(Seen(drift_of(EDITED, LARGE)), monkeypatch)
    theirs = Difference("/app/cache.bin", UNREAD, "", "", why="larger than 8 MiB")
    assert edits(Seen(drift_of(EDITED, theirs)), monkeypatch) == {"shop/views.py": b"new"}


def test_a_container_that_cannot_be_looked_at_passes_for_none_without_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineFailed, match="api-1: no such image"):
        edits(Seen(drift_of(unseen="no such image")), monkeypatch)
    # What has ended meanwhile is replaced already.
    assert edits(Seen(drift_of(unseen=GONE)), monkeypatch) == {}
    several = [Difference(f"/app/{number}", REMOVED, "x", "") for number in range(3)]
    with pytest.raises(EngineFailed, match="7 more files differ"):
        edits(Seen(drift_of(*several, more=7)), monkeypatch)
    # Where added ones are told, only added ones are left out.
    assert edits(Seen(drift_of(EDITED, LOG, more=7)), monkeypatch)["shop/views.py"] == b"new"
