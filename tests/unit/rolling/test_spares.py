# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of containers that go on running, and the process that removes them when their time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host import chosen_strategy, spares
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.spares import Spares
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import SPARE, SPENT

KEPT = Spares({"c1": "shop-api-1", "c2": "shop-api-2"}, {"api": ("hash-2", "image-2")}, 1000.0)


def until(met: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_it_counts_only_beside_what_took_their_place(tmp_path: Path) -> None:
    spares.write(str(tmp_path), KEPT)
    known = spares.read(str(tmp_path))
    assert known == KEPT
    assert known.state_of("c1", "api", "hash-2", "image-2") == SPARE
    assert known.state_of("c1", "api", "hash-3", "image-2") == SPENT
    assert known.state_of("c1", "web", "hash-2", "image-2") == SPENT
    assert known.state_of("c9", "api", "hash-2", "image-2") == ""


def test_what_is_gone_is_forgotten_and_with_the_last_the_file(tmp_path: Path) -> None:
    spares.write(str(tmp_path), KEPT)
    spares.drop(str(tmp_path), ["c1", "c9"])
    assert spares.still_there(str(tmp_path), {"c1", "c2"}) == {"containers": ["shop-api-2"], "until": 1000.0}
    assert spares.still_there(str(tmp_path), {"c1"}) == {}
    spares.drop(str(tmp_path), ["c2"])
    assert list(tmp_path.iterdir()) == [] and spares.read(str(tmp_path)) == Spares()


def test_they_are_taken_away_when_their_time_is_over(tmp_path: Path) -> None:
    due = Spares(KEPT.containers, KEPT.beside, time.time() + 0.5)
    spares.write(str(tmp_path), due)
    mark = tmp_path / "taken"

    def take_away(given: Spares) -> None:
        mark.write_text(f"{given == due and time.time() >= due.until}")
        spares.drop(str(tmp_path), list(given.containers))

    spares.end_when_due(str(tmp_path), take_away)
    assert not mark.exists()
    until(lambda: mark.exists() and mark.read_text() == "True")


def test_they_are_left_alone_where_others_have_taken_their_place(tmp_path: Path) -> None:
    spares.write(str(tmp_path), Spares(KEPT.containers, KEPT.beside, time.time() + 0.3))
    mark = tmp_path / "taken"
    spares.end_when_due(str(tmp_path), lambda _given: mark.write_text("yes"))
    spares.write(str(tmp_path), Spares({"c3": "shop-api-3"}, KEPT.beside, time.time() + 500))
    time.sleep(1)
    assert not mark.exists()


@pytest.mark.parametrize(
    "strategy, share, keep, words",
    [
        ("canary", 2, 900.0, "between 3 and 50"),
        ("canary", 51, 900.0, "between 3 and 50"),
        ("blue_green", 0, 0.0, "keep_old"),
        ("blue_green", 0, 90000.0, "keep_old"),
    ],
)
def test_values_that_cannot_be_are_refused(strategy: str, share: int, keep: float, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        chosen_strategy.refuse_values(strategy, share, keep)
