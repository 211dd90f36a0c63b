# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shop of all scenarios, whose first start is the first deployment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.one_shop import OneShop, one_shop
from tests.bed.shop import Shop


@pytest.fixture(scope="session")
def kept() -> Iterator[OneShop]:
    # A backup of some kilobytes needs no gigabyte of room.
    with one_shop("scenarios", {"app_keep_releases": 20, "backup_min_free": "0"}) as made:
        yield made


@pytest.fixture
def shop(kept: OneShop, request: pytest.FixtureRequest) -> Shop:
    """The shop at some version that was found good, with nothing left over."""
    return kept.hand_out(request.session.testsfailed)
