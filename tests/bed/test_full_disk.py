# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk fills up in the middle of a change: users notice nothing, the end says what is not on record, and it converges."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.bed.migrated_shop import commit, models_of, named, renamed, sleeping
from tests.bed.server import Server
from tests.bed.shop import Play

# Releases, uploads and the records of operations: all that is written but the engine's own files.
_SMALL = """set -e
cp -a /srv/travel /tmp/kept
mount -t tmpfs -o size=400m,mode=755 tmpfs /srv/travel
cp -a /tmp/kept/. /srv/travel/
chown deploy:deploy /srv/travel
mkdir -p /srv/travel/.state /var/lib/evenkeel
mount --bind /srv/travel/.state /var/lib/evenkeel
"""
_FILL = "dd if=/dev/zero of=/srv/travel/filler bs=64k; dd if=/dev/zero of=/srv/travel/filler2 bs=1 count=65536"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("full-disk") as made:
        made.engine.exec("sh", "-c", _SMALL)
        commit(made, "roll-server", "v2-server", models_of(""))
        commit(
            made,
            "gap-server",
            "v2-server",
            named("beats"),
            "0003_beats",
            "0002_first_tours",
            renamed("beats"),
            sleeping(3),
        )
        made.push()
        for version in ("v1", "v2"):
            play = made.update(version)
            assert play.returncode == 0, play.output[-3000:]
        yield made


def filled_in(server: Server, task: str, version: str, **variables: object) -> Play:
    """An update under load, during which the disk is full from two seconds after a task began."""
    with server.load(patience=60) as load:
        begun = server.begin(version, **variables)
        begun.wait_for(task)
        time.sleep(2)
        server.engine.try_exec("sh", "-c", _FILL)
        play = begun.end()
        result = server.judged(load.stop())
    print(
        f"\nevidence: disk full, {task}: {play.returncode}, {result.total:,} requests, {result.failed_beyond_race} failed"
    )
    assert result.failed_beyond_race == 0, [*map(json.dumps, result.failures[:5])]
    return play


def emptied(server: Server) -> None:
    server.engine.exec("sh", "-c", "rm -f /srv/travel/filler /srv/travel/filler2")


@pytest.mark.parametrize(
    ("task", "version"),
    [("Roll services to", "roll"), ("Run migrations that the running version would not survive", "gap")],
)
def test_it_is_said_what_is_not_on_record_and_the_same_command_converges(
    server: Server, task: str, version: str
) -> None:
    try:
        play = filled_in(server, task, version, update_allow_downtime=True)
        assert play.returncode == 0, play.output[-4000:]
        assert "not all told here" in play.flat and "No space left on device" in play.flat, play.output[-4000:]
        # What was not asked on record is not taken for what is so.
        assert "nobody looked" not in play.flat and "goes back to" not in play.flat, play.output[-4000:]
        seen = server.begin_playbook("status").end()
        assert "0 MiB of 400 MiB free" in seen.flat, seen.output[-3000:]
        assert re.search(rf"update to {version}-server by \S+, ok in", seen.flat), seen.output[-3000:]
    finally:
        emptied(server)
    assert (server.version(), server.leftovers()) == (f"{version}-server", [])
    again = server.update(version, update_allow_downtime=True)
    assert (again.returncode, again.changed) == (0, 0), again.output[-3000:]
    assert "verified" in again.flat and (server.version(), server.leftovers()) == (f"{version}-server", [])
