# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of 2 GB, from empty to the second version, and what happens on it when disk or images run out."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.bed.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("small", memory="2g", slices=True) as made:
        yield made


def limit(server: Server) -> int:
    """Bytes that all of the server may take."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        done = server.engine.try_exec("cat", path)
        if done.returncode == 0:
            return int(done.stdout)
    raise AssertionError("the server has no limit")


def test_two_gigabytes_are_enough_for_the_first_version_and_the_next(server: Server) -> None:
    assert limit(server) == 2 * 2**30
    first = server.update("v1")
    assert first.returncode == 0, first.output[-4000:]
    assert (server.version(), server.leftovers()) == ("v1", [])
    with server.load() as load:
        play = server.update("v2")
        assert play.returncode == 0, play.output[-4000:]
        result = load.stop()
    result = server.judged(result)
    assert result.failed_beyond_race == 0, [*map(json.dumps, result.failures[:5])]
    assert (server.version(), server.leftovers()) == ("v2", [])
    print(f"\nevidence: 2 GB, update under {result.total:,} requests: {result.failed_beyond_race} failed")


def counts_as_the_first_version(server: Server) -> bool:
    """Whether the processors are shared by control groups of version 1."""
    return server.engine.try_exec("test", "-d", "/sys/fs/cgroup/cpu").returncode == 0


def engine_share(server: Server) -> str:
    """What the kernel knows of the engine; empty where it has no group of its own, as on a machine with version 2."""
    return server.engine.try_exec("cat", "/sys/fs/cgroup/cpu/system.slice/docker.service/cpu.shares").stdout.strip()


def has_share(server: Server, share: str, timeout: float) -> bool:
    """Whether the engine has it within some seconds."""
    until = time.monotonic() + timeout
    while engine_share(server) != share and time.monotonic() < until:
        time.sleep(0.1)
    return engine_share(server) == share


def test_the_engine_leaves_the_processors_to_what_serves_until_all_of_an_operation_has_ended(server: Server) -> None:
    usual, low = ("1024", "103") if counts_as_the_first_version(server) else ("", "")
    assert engine_share(server) == usual
    begun = server.begin("v1", app_image_archive="always")
    assert has_share(server, low, 60.0)
    play = begun.end()
    assert play.returncode == 0, play.output[-4000:]
    # What was left behind has begun before, and keeps it to its end.
    assert has_share(server, usual, 120.0)
    packed = server.engine.exec("sh", "-c", "ls /srv/travel/releases/*/.evenkeel/images/")
    assert ".tar.gz" in packed and ".part" not in packed

    killed = server.begin("v2")
    killed.wait_for("Roll services")
    killed.process.kill()
    killed.process.wait()
    assert engine_share(server) == low
    again = server.update("v2")
    assert again.returncode == 0 and server.version() == "v2", again.output[-4000:]
    assert engine_share(server) == usual

    looks = server.begin_playbook("status")
    assert has_share(server, low, 60.0)
    assert looks.end().returncode == 0
    assert engine_share(server) == usual


def has_group(server: Server, group: str, of_first: str, of_second: str) -> None:
    """There is this control group with its share, by the version of control groups, and without processes."""
    first = counts_as_the_first_version(server)
    root, file = ("/sys/fs/cgroup/cpu", "cpu.shares") if first else ("/sys/fs/cgroup", "cpu.weight")
    assert server.engine.exec("cat", f"{root}/{group}/{file}").strip() == (of_first if first else of_second)
    assert server.engine.exec("cat", f"{root}/{group}/cgroup.procs") == "", "what a module started has stayed there"


def test_modules_have_less_of_the_processors_than_what_serves(server: Server) -> None:
    has_group(server, "evenkeel", "102", "10")


def test_a_disk_that_is_nearly_full_or_has_no_inodes_left_is_refused_before_anything_is_touched(server: Server) -> None:
    before = server.containers()
    # A file system of its own over the releases, small in one way or the other, with what is there copied into it.
    for options, words in (("size=40m", "MiB free"), ("size=900m,nr_inodes=900", "more files")):
        copy = "cp -a /srv/travel/releases/. /mnt/ && mount --move /mnt /srv/travel/releases"
        server.engine.exec("sh", "-c", f"mount -t tmpfs -o {options} tmpfs /mnt && {copy}")
        try:
            play = server.update("bad-500")
            assert play.returncode != 0
            assert words in play.message and "Next:" in play.message, play.output[-3000:]
        finally:
            server.engine.exec("umount", "/srv/travel/releases")
        assert server.containers() == before
        assert server.version() == "v2"
    assert server.update("v2").changed == 0


def room(server: Server) -> tuple[int, int]:
    """What an update needs beside what runs, and what is available (MiB), as the plan says it."""
    play = server.begin_playbook("plan", update_version="v1-server").end()
    found = re.search(r"memory +([\d,]+) MiB more for a while, of ([\d,]+) MiB available", play.output)
    assert found, play.output[-3000:]
    needed, available = (int(number.replace(",", "")) for number in found.groups())
    return needed, available


def test_where_both_versions_do_not_fit_it_is_said_with_numbers_and_one_after_the_other_does(server: Server) -> None:
    needed, available = room(server)
    # 24 MiB more than is needed, where 64 are to be left; with 100 MiB less of it both fit.
    ballast = available - needed - 24
    server.engine.exec("sh", "-c", "mkdir -p /ballast && mount -t tmpfs -o size=2g tmpfs /ballast")
    try:
        server.engine.exec("sh", "-c", f"head -c {ballast}M /dev/zero > /ballast/f")
        refused = server.update("v1", update_strategy="blue_green")
        assert refused.returncode != 0 and "no room for blue_green" in refused.flat, refused.output[-3000:]
        assert "MiB are available" in refused.flat and "update_strategy=rolling" in refused.flat, refused.output[-3000:]
        assert server.version() == "v2"
        rolled = server.update("v1")
        assert rolled.returncode == 0 and "one service after the other" in rolled.flat, rolled.output[-3000:]
        server.engine.exec("truncate", "--size", f"{ballast - 100}M", "/ballast/f")
        both = server.update("v2", update_strategy="blue_green")
        assert both.returncode == 0, both.output[-3000:]
    finally:
        server.engine.exec("umount", "/ballast")
    ended = server.update("v2")
    assert ended.returncode == 0 and (server.version(), server.leftovers()) == ("v2", []), ended.output[-3000:]
    print(f"\nevidence: 2 GB: {needed} MiB needed of {available}; refused with 24 MiB to spare, done with 124")


def test_somebody_prunes_everything_and_what_serves_goes_on(server: Server) -> None:
    server.engine.docker("system", "prune", "--all", "--force")
    assert server.serves_within(5) is not None
    again = server.update("v2")
    assert (again.returncode, again.changed) == (0, 0), again.output[-3000:]
    # The image of the version before is gone, and so is what it was built from: that has to be said.
    back = server.update("v1")
    assert back.returncode != 0
    assert "does not build" in back.message and "Next:" in back.message, back.output[-3000:]
    assert (server.version(), server.leftovers()) == ("v2", [])
    server.engine.load_image("evenkeel/python:3.13")
    back = server.update("v1")
    assert back.returncode == 0, back.output[-3000:]
    assert (server.version(), server.leftovers()) == ("v1", [])


def test_a_roll_that_takes_a_bad_version_back_has_a_quarter_of_the_processors(server: Server) -> None:
    usual, before = engine_share(server), server.version()
    play = server.update("bad-500")
    assert play.returncode != 0 and server.version() == before, play.output[-3000:]
    has_group(server, "evenkeel-hurried", "256", "25")
    assert engine_share(server) == usual
