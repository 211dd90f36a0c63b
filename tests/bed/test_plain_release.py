# SPDX-License-Identifier: GPL-3.0-or-later
"""PHP behind nginx without an engine: under load users get one release or the other, whole, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.php_load import PageLoad
from tests.bed.php_server import WAYS, PhpServer, page
from tests.bed.plain_evidence import CASES, flawless, good, measure, refused, storm
from tests.bed.shop import BEDS

RECOMMENDED = next(iter(WAYS))
_THROWS = "<?php throw new RuntimeException('not in this version');\n"


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
        said = refused(app, "throws", **{"lib/c.php": _THROWS})
    assert "before anyone met throws" in said and "500" in said
    seen = load.seen[RECOMMENDED]
    assert flawless(seen), seen
    assert seen.requests > 500 and set(seen.releases) == {"v0", "v1"}
    assert server.run("stat", "-c", "%U", "/srv/blog/current/public/index.php").strip() == "deploy"


@pytest.mark.matrix
def test_several_updates_and_two_bad_ones_lose_and_mix_nothing() -> None:
    found = measure(CASES[0])
    for way in list(WAYS)[:2]:
        assert flawless(found.seen[way]), found.seen[way]
        assert "throws" not in found.seen[way].releases
    assert "before anyone met throws" in found.said[0] and "no-reload" in found.said[1]


@pytest.mark.matrix
def test_without_the_real_path_and_a_reload_pages_are_of_the_past() -> None:
    """The comparison can fail: where it finds nothing, the bed sees nothing."""
    found = measure(CASES[2])
    assert flawless(found.seen[RECOMMENDED]), found.seen[RECOMMENDED]
    through_the_link = found.seen["`$document_root`"]
    assert through_the_link.stale + through_the_link.mixed > 100, through_the_link


@pytest.mark.matrix
def test_a_link_that_never_rests_mixes_nothing_where_it_is_followed_once() -> None:
    switched = storm(15.0)
    assert switched.switches > 500 and flawless(switched.seen[RECOMMENDED]), switched
    assert len(switched.seen[RECOMMENDED].releases) == 2
