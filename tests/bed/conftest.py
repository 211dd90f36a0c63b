# SPDX-License-Identifier: GPL-3.0-or-later
"""What beds share: one stack, whose first start is the first deployment and tested by being needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.one_shop import OneShop, one_shop
from tests.bed.shop import Shop


@pytest.fixture(scope="session")
def kept() -> Iterator[OneShop]:
    with one_shop("bed") as made:
        yield made


@pytest.fixture
def shop(kept: OneShop, request: pytest.FixtureRequest) -> Shop:
    """The worker's shop at some version that was found good, with nothing left over."""
    return kept.hand_out(request.session.testsfailed)
