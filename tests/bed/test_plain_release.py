# SPDX-License-Identifier: GPL-3.0-or-later
"""PHP behind nginx without an engine: under load users get one release or the other, whole, whatever happens."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.bed.php_load import PageLoad
from tests.bed.php_server import WAYS, PhpServer, page
from tests.bed.plain_evidence import THROWS, flawless, good, plain, refused
from tests.bed.shop import BEDS, run

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


def test_however_long_and_however_it_ends_the_recommended_way_loses_and_mixes_nothing() -> None:
    """What `make evidence` measures, beside ways that do."""
    text = plain()
    print(text)
    assert "**not ok**" not in text


# Not by one long sleep, which the signal to end would end.
_SLOW = "<?php touch('/tmp/begun'); $end = microtime(true) + 4; while (microtime(true) < $end) usleep(50000); echo 'slow';\n"


@pytest.mark.parametrize("patience", ["30s", "0"])
def test_what_a_reload_of_php_fpm_costs_those_who_are_served(patience: str) -> None:
    """Either it ends what is worked on, or whoever comes waits for that: why none is recommended."""
    with PhpServer(BEDS / "php", (), patience) as server:
        files = {"public/slow.php": _SLOW, "public/fast.php": "<?php echo 'fast';\n"}
        server.app.commit("v0", page("v0", **files))
        play = server.app.update("v0", update_reload=[])
        assert play.returncode == 0, play.output
        argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{server.ports[RECOMMENDED]}/"]
        slow = subprocess.Popen([*argv[:-1], f"{argv[-1]}slow.php"], stdout=subprocess.PIPE, text=True)
        server.run("sh", "-c", "while [ ! -e /tmp/begun ]; do sleep 0.05; done")
        server.run("sh", "-ec", "kill -USR2 $(cat /run/php/php8.4-fpm.pid); sleep 0.5")
        fast = run([*argv[:-1], f"{argv[-1]}fast.php"])
        overtaken = slow.poll() is None
        status = slow.communicate()[0]
        assert fast == "200"
        if patience == "0":
            assert status == "502"
        else:
            assert status == "200" and not overtaken, "whoever comes has waited for the slow one"
