# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of databases share: one PostgreSQL for each worker, and the versions of Django."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.database.migrations.versions import VERSIONS, django_python
from tests.database.postgres_server import postgres


@pytest.fixture(scope="session")
def port() -> Iterator[str]:
    """Where a PostgreSQL in memory listens, in which each project makes its databases anew."""
    with postgres("migrations") as port:
        yield port


@pytest.fixture(params=[v if v == "5.2" else pytest.param(v, marks=pytest.mark.nightly) for v in VERSIONS])
def python(request: pytest.FixtureRequest) -> str:
    """A Python with one version of Django: one version in every run, the others each night."""
    found = django_python(request.param)
    if not found:
        pytest.skip(f"no Python here can have Django {request.param}")
    return found
