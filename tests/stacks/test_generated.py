# SPDX-License-Identifier: GPL-3.0-or-later
"""Four generated stacks on the real engine, the beginning of their lives, other ones at each commit; ``make stacks`` runs hundreds.

At night whole lives, and those that something did not hold in once: a change of ``drawn_stacks.py`` draws others by these seeds.
"""

from __future__ import annotations

import pytest

from tests.property.seeded_histories import FIRST
from tests.stacks.drawn_stacks import CHANGES, OPERATIONS, draw
from tests.stacks.generated import run

#: Seed → what was wrong, of lives in which it comes back every time.
KEPT = {
    5: "a service that went from the depends_on of nginx made its definition another, and the roll was refused",
    24: "an nginx in a restart loop was not named as the reason",
    206: "a bad version that a health check of the port alone calls healthy was let in",
    343: "after a power cut, an nginx that waits for the name of the api was replaced as if it were one",
    378: "the same, and the way back could not be led either",
    2113: "a service that came into the depends_on of nginx had a plain up --detach create that anew, and nobody said so",
    3125: "requests hung at the address of a bad container that had ended before nginx was told to avoid it",
    3254: "a bad version that boots in a tenth of a second answered users before it was kept from them",
}


# Each group is one worker's.
@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=pytest.mark.xdist_group(f"stacks/{n % 2}")) for n in range(4)]
)
def test_a_stack_of_any_shape_comes_through_its_life(number: int) -> None:
    run(FIRST + number, most=1)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=pytest.mark.xdist_group(f"stacks/{number % 2}"))
        for number, seed in enumerate([*KEPT, *range(FIRST + 4, FIRST + 20)])
    ],
)
def test_a_whole_life(seed: int) -> None:
    run(seed)


def test_what_is_drawn_is_decided_by_the_seed_alone_and_everything_is_drawn() -> None:
    drawn = [draw(seed) for seed in range(FIRST, FIRST + 300)]
    assert drawn == [draw(seed) for seed in range(FIRST, FIRST + 300)]
    features = frozenset().union(*(one.features for one in drawn))
    assert {f"life: {operation}" for operation in (*OPERATIONS, *CHANGES)} <= features
    assert {
        "an nginx behind another",
        "two services behind one nginx",
        "nginx: resolver",
        "waits for health",
        "replicas",
    } <= features
    needs = {
        f"{one} needs {other}" for one in ("web", "worker", "scheduler") for other in ("web", "worker", "database")
    }
    assert needs <= features
