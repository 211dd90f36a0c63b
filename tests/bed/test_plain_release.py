# SPDX-License-Identifier: GPL-3.0-or-later
"""PHP behind nginx without an engine: under load users get one release or the other, whole, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.php_load import PageLoad
from tests.bed.php_server import WAYS, PhpServer, page
from tests.bed.plain_evidence import THROWS, flawless, good, plain, refused
from tests.bed.shop import BEDS

RECOMMENDED = next(iter(WAYS))


@pytest.fixture
def server() -> Iterator[PhpServer]:
    """A server on which nothing is deployed, and no Docker is."""
    with PhpServer(BEDS / "php", ("opcache.validate_timestamps=0",)) as made:
        yield made


def test_users_get_whole_releases_and_never_meet_one_that_fails(server: PhpServer) -> None:
    app = server.app
    app.commit("v0", page("v0"))
    foretold = app.update("v0", "--check", "--diff")
    assert foretold.returncode == 0 and "the first release would be" in foretold.output, foretold.output
    assert server.run("ls", "-A", "/srv/blog") == ""
    good(app, "v0")
    with PageLoad({way: port for way, port in server.ports.items() if way == RECOMMENDED}) as load:
        good(app, "v1")
        load.left("v0")
        said = refused(app, "throws", **{"lib/c.php": THROWS})
    assert "before anyone met throws" in said and "500" in said
    seen = load.seen[RECOMMENDED]
    assert flawless(seen), seen
    assert seen.requests > 500 and set(seen.releases) == {"v0", "v1"}
    assert server.run("stat", "-c", "%U", "/srv/blog/current/public/index.php").strip() == "deploy"


@pytest.mark.matrix
def test_however_long_and_however_it_ends_the_recommended_way_loses_and_mixes_nothing() -> None:
    """What `make evidence` measures, beside ways that do."""
    text = plain()
    print(text)
    assert "**not ok**" not in text
