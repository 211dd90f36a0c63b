# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``make demo`` says last, and whether it may end with 0: only where it is shown that nothing was lost."""

from __future__ import annotations

from typing import Any

import pytest

from demo.run import last_sentence
from tests.bed.load.audit import Acknowledged, audit
from tests.bed.load.record import Recorder
from tests.bed.load.result import Result

NOTHING = audit([], [], [], [])
A_ROW = audit([Acknowledged("a", 1)], [], [], [])


def result(**counts: int) -> Result:
    """A run of a thousand requests with these counts, and no other failure."""
    recorder = Recorder()
    recorder.arrivals_end(10.0)
    raw: dict[str, Any] = {
        "format": 1, "started": "2026-01-01T00:00:00.000Z", "ended": "2026-01-01T00:00:10.000Z", "seconds": 10.0,
        "ended_by": "control", "overflow": 0, "abandoned": 0, "acknowledged": 0, "unknown_orders": {}, "rate": {},
        "generator": {},
    }  # fmt: skip
    return Result.from_json(raw | recorder.finish() | {"total": 1000} | counts)


@pytest.mark.parametrize(
    ("run", "orders", "words"),
    [
        (result(), NOTHING, "Nothing was lost."),
        (result(failed=1, keepalive_race=1), NOTHING, "Nothing was lost."),
        (result(failed=1), NOTHING, "Requests were lost, but no row and no task"),
        (result(failed=3, overflow=2), NOTHING, "Requests were lost, but no row and no task"),
        (result(failed=2882, overflow=2882), NOTHING, "2,882 requests could not be sent"),
        (result(failed=3, overflow=2, keepalive_race=1), NOTHING, "2 requests could not be sent"),
        (result(abandoned=1), NOTHING, "nothing is proven"),
        (result(total=0), NOTHING, "nothing is proven"),
        (result(), A_ROW, "Rows or tasks were lost"),
        (result(failed=2, overflow=2), A_ROW, "Rows or tasks were lost"),
    ],
)
def test_what_is_said_of_a_run(run: Result, orders: Any, words: str) -> None:
    shown, sentence = last_sentence(run, orders)
    assert words in sentence
    assert shown is (words == "Nothing was lost.")
