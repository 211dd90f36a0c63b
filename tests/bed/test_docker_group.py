# SPDX-License-Identifier: GPL-3.0-or-later
"""Without root: what a user can do who may speak to the engine, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.fronts import FRONTS, fronted
from tests.bed.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server on which ``deploy`` owns the app's folder and is in the group of the engine's socket."""
    with Server("docker-group", become=False) as made:
        yield made


def raze(server: Server) -> None:
    """Take the app away as if it had never been there, but for its ``.env``."""
    script = (
        "docker ps -aq | xargs -r docker rm -fv; docker volume ls -q | xargs -r docker volume rm; cd /srv/travel && "
        "rm -rf current releases mounts mirror.git .evenkeel"
    )
    server.engine.exec("sh", "-c", script)


def test_an_update_loses_nothing(server: Server) -> None:
    first = server.update("v1")
    assert first.returncode == 0, first.output[-5000:]
    with server.load() as load:
        play = server.update("v2")
        result = load.stop()
    assert play.returncode == 0, play.output[-6000:]
    assert "other containers that call it by its name may reach a new one before it is proven" in play.output
    assert (server.version(), server.leftovers()) == ("v2", [])
    log = server.engine.docker("logs", server.nginx())
    met = [f for f in result.failures if not f.get("agent") or f'{f["agent"]}"' in log]
    assert result.total > 200 and not met, met[:5]
    again = server.update("v2")
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]
    others = server.engine.exec("find", "/srv/travel", "!", "-user", "deploy")
    assert others == "", "something is not the user's own"
    print(f"\nevidence: with the docker group only: {result.total} requests, 0 failed, {play.seconds:.0f} s")


@pytest.mark.parametrize(("front", "namespace"), [("resolver valid=5s", "network"), ("unix socket", "mount")])
def test_what_needs_root_is_refused_before_anything_is_touched(server: Server, front: str, namespace: str) -> None:
    first, second = (fronted(server, f"{tag}-server", FRONTS[front]) for tag in ("v1", "v2"))
    server.push()
    raze(server)
    play = server.update(first)
    assert play.returncode == 0, play.output[-5000:]
    before = server.engine.docker("ps", "--all", "--quiet", "--no-trunc")
    play = server.update(second)
    assert play.returncode != 0
    assert f"entering the {namespace} namespace of a container needs root (become: true)" in play.message, play.output
    assert server.engine.docker("ps", "--all", "--quiet", "--no-trunc") == before
    assert server.version() == "v1"
    print(f"\nevidence: {front}, with the docker group only: {play.message.splitlines()[0]}")
