# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers with the oldest engine and SDK that are supported, and with the newest: a life of the shop, by ssh, with users from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.code_hotfix import VERSION, said
from tests.bed.load.result import Result
from tests.bed.nested import NEWER, OLDER
from tests.bed.server import Server


@pytest.fixture(scope="module", params=[OLDER, NEWER])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(f"engine-of-{request.param}", suite=request.param) as made:
        version = made.engine.docker("version", "--format", "{{.Server.Version}}").strip()
        compose = made.engine.docker("compose", "version", "--short").strip()
        python = made.engine.exec("python3", "--version").split()[1]
        sdk = made.engine.exec("python3", "-c", "import docker; print(docker.__version__)").strip()
        print(f"\nevidence: engine {version}, Compose {compose}, Python {python}, Docker SDK {sdk}")
        # What is supported has to be what is tried.
        assert request.param != OLDER or version.startswith("20.10.")
        first = made.update("v1")
        assert first.returncode == 0, first.output[-4000:]
        yield made


def nobody_failed(server: Server, result: Result) -> None:
    result = server.judged(result)
    assert result.failed_beyond_race == 0 and result.total > 200, result.failures[:5]


def test_an_update_loses_nothing_and_is_done_once(server: Server) -> None:
    with server.load() as load:
        play = server.update("v2")
        result = load.stop()
    assert play.returncode == 0, play.output[-4000:]
    assert (server.version(), server.leftovers()) == ("v2", [])
    nobody_failed(server, result)
    print(f"\nevidence: an update: {result.total:,} requests, 0 failed, {play.seconds:.0f} s")
    again = server.update("v2")
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]


def test_a_bad_version_is_undone(server: Server) -> None:
    with server.load() as load:
        play = server.update("bad-500")
        result = load.stop()
    assert play.returncode != 0 and "answered 500" in play.message, play.output[-4000:]
    assert (server.version(), server.leftovers()) == ("v2", [])
    nobody_failed(server, result)


def test_a_hotfix_of_code_and_the_ways_back(server: Server) -> None:
    source = server.folder / "dev"
    (source / VERSION).parent.mkdir(parents=True)
    (source / VERSION).write_text(said("v2-h"), encoding="utf-8")
    with server.load() as load:
        fixed = server.begin_playbook("hotfix", hotfix_files=VERSION, hotfix_source=str(source)).end()
        assert fixed.returncode == 0 and server.version() == "v2-h", fixed.output[-4000:]
        back = server.rollback()
        assert back.returncode == 0 and server.version() == "v2", back.output[-4000:]
        before = server.rollback(rollback_to="v1-server")
        result = load.stop()
    assert before.returncode == 0, before.output[-4000:]
    assert (server.version(), server.leftovers()) == ("v1", [])
    nobody_failed(server, result)
