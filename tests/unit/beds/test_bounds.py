# SPDX-License-Identifier: GPL-3.0-or-later
"""The least that an operation could take, which its figures are held against."""

from __future__ import annotations

import pytest

from tests.bed.baselines import Bound
from tests.bed.quiet_speed import PROOF_AND_WATCH, Least
from tests.bed.tasks import Run, Task

SERVICES = {
    "api": Bound(1.5, 0.5, (), (), in_flight=0.0),
    "celery": Bound(3.0, 2.0, (), (), in_flight=0.0),
    "celery-beat": Bound(1.0, 0.5, (), (), in_flight=0.0),
}
LEAST = Least(ping=2.0, django=1.0, services=SERVICES)


def run(*steps: str) -> Run:
    """A playbook that rolled in these steps of 1 s."""
    return Run(30.0, (Task("Roll", "compose_rolling", 20.0, tuple((step, 1.0) for step in steps)),))


def test_the_parts_of_a_bound_are_told_with_their_sum() -> None:
    said = str(Bound(2.65, 1.35, (), (), in_flight=2.0))
    assert said == "6.0: create and boot 2.6 + longest request in flight 2 + stop 1.4"


@pytest.mark.parametrize(
    ("steps", "roll"),
    [
        (("start celery, api", "prove api"), 5.0),
        (("start api", "stop api"), 2.0),
        (("stop celery-beat", "start celery-beat"), 1.5),
        ((), 0.0),
    ],
    ids=["the slowest of several", "one", "not one whose name begins another's", "nothing rolled"],
)
def test_services_roll_at_the_same_time(steps: tuple[str, ...], roll: float) -> None:
    done = run(*steps)
    assert LEAST.roll(done) == roll
    assert LEAST.whole(done) == 3.0 + (roll + PROOF_AND_WATCH if steps else 0.0)
