# SPDX-License-Identifier: GPL-3.0-or-later
"""What beds share: one stack, whose first start is the first deployment and tested by being needed; one PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.migrations.truth import VERSIONS, django_python, postgres
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


@pytest.fixture(scope="session")
def port() -> Iterator[str]:
    """Where a PostgreSQL in memory listens, in which each project makes its databases anew."""
    with postgres("migrations") as port:
        yield port


@pytest.fixture(params=[v if v == "5.2" else pytest.param(v, marks=pytest.mark.matrix) for v in VERSIONS])
def python(request: pytest.FixtureRequest) -> str:
    """A Python with one version of Django: one version in every run, the others with the evidence."""
    found = django_python(request.param)
    if not found:
        pytest.skip(f"no Python here can have Django {request.param}")
    return found
