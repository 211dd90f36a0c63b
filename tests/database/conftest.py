# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of databases share: one PostgreSQL for each worker, and warm processes of each version of Django."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.database.migrations.forked import WarmDjango
from tests.database.migrations.versions import VERSIONS, django_python
from tests.database.postgres_server import Postgres
from tests.database.postgres_server import postgres as started


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The worker's PostgreSQL in memory, in which each project makes its databases anew."""
    with started("database") as made:
        yield made


@pytest.fixture(scope="session")
def address(postgres: Postgres) -> str:
    """The server's address; it listens on the usual port."""
    return postgres.address


@pytest.fixture(scope="session")
def warm() -> Iterator[Callable[[str], WarmDjango]]:
    """Gives the worker's warm process of a version, which is started when it is asked for first."""
    made: dict[str, WarmDjango] = {}

    def of(version: str) -> WarmDjango:
        if version not in made:
            found = django_python(version)
            if not found:
                pytest.skip(f"no Python here can have Django {version}")
            made[version] = WarmDjango(found)
        return made[version]

    yield of
    for one in made.values():
        one.close()


@pytest.fixture(params=[v if v == "5.2" else pytest.param(v, marks=pytest.mark.nightly) for v in VERSIONS])
def django(request: pytest.FixtureRequest, warm: Callable[[str], WarmDjango]) -> WarmDjango:
    """One version of Django: 5.2 in every run, the others each night."""
    return warm(request.param)
