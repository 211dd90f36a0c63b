# SPDX-License-Identifier: GPL-3.0-or-later
"""One change at a time, on the real stack: two at once, a zombie, a lease that runs out, kills forward and in undo."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.running_update import QUICKLY, Running, lock, worker
from tests.bed.shop import Shop


def others(shop: Shop) -> list[str]:
    return [v for v in ("v1", "v2", "v3") if v != shop.version()]


def ids(shop: Shop) -> dict[str, str]:
    return {i["Name"]: i["Id"] for i in shop.inspections()}


@pytest.fixture
def unharmed(shop: Shop) -> Iterator[None]:
    """Hold a load beside the test: no request may fail, and nobody holds the lock afterwards."""
    with shop.load(seconds=600, mix="new=3,keepalive=3,static=1") as load:
        yield
        result = load.stop()
    assert_nothing_lost(shop, load, result)
    assert shop.leftovers() == []
    assert (lock(shop)["run"], lock(shop)["pending_undo"]) == ("", "")


@pytest.mark.usefixtures("unharmed")
def test_another_version_at_the_same_time_is_told_whom_to_ask(shop: Shop) -> None:
    first, second = others(shop)
    run = Running(shop, first)
    run.until_event("start ")
    refused = shop.update(second, **QUICKLY)
    assert refused.returncode != 0
    assert f"another change of this project is running: update of {shop.name} to {first}" in refused.message
    assert "ask " in refused.message and "app_lock_wait" in refused.message
    # Asked only, it does not matter who works.
    assert shop.update(second, "--check", **QUICKLY).returncode == 0
    ended = run.end()
    assert ended.returncode == 0, ended.output[-4000:]
    assert shop.version() == first


@pytest.mark.usefixtures("unharmed")
def test_the_same_version_at_the_same_time_goes_on_as_one(shop: Shop) -> None:
    version = others(shop)[0]
    run = Running(shop, version)
    run.until_event("start ")
    play = shop.update(version, **QUICKLY)
    ended = run.end()
    assert play.returncode == 0, play.output[-4000:]
    # The first one's module finished its roll; the task after it met the new number, unless all was done by then.
    assert ended.returncode == 0 or "this run was fenced off" in ended.output, ended.output[-4000:]
    # Whoever attaches sees what the module does that it waits for.
    assert "another run is at work on this" in play.output, play.output[-4000:]
    assert shop.version() == version


@pytest.mark.usefixtures("unharmed")
def test_a_zombie_that_wakes_up_after_the_takeover_touches_nothing(shop: Shop) -> None:
    first, second = others(shop)
    run = Running(shop, first, app_lock_lease=4)
    run.until_event("rotate ")
    number = lock(shop)["number"]
    zombie = stop_between_acts(shop, run)
    play = shop.update(second, **QUICKLY, app_lock_wait=60)
    assert play.returncode == 0, play.output[-4000:]
    before = ids(shop)
    os.kill(zombie, signal.SIGCONT)
    ended = run.end()
    assert ended.returncode != 0
    assert "this run was fenced off" in ended.message, ended.output[-4000:]
    # The one who took over has ended since, and its number is what is left.
    assert f"its number is {number + 1}" in ended.message, ended.message
    assert (shop.version(), ids(shop)) == (second, before)


def stop_between_acts(shop: Shop, run: Running) -> int:
    """Freeze the module that works, but not in the middle of an act, where nobody could take over."""
    found: list[int] = []

    def frozen() -> bool:
        pid = worker(shop)
        if not pid:
            return False
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.05)
        with (shop.root / ".evenkeel/lock.guard").open("a") as guard:
            try:
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.05)
                return False
        found.append(pid)
        return True

    run.until(frozen, "a moment between two acts")
    return found[0]


@pytest.mark.usefixtures("unharmed")
def test_a_killed_run_of_another_version_is_waited_out(shop: Shop) -> None:
    first, second = others(shop)
    run = Running(shop, first, app_lock_lease=8)
    run.until_event("rotate ")
    run.kill()
    refused = shop.update(second, **QUICKLY)
    assert refused.returncode != 0 and "no process works on it now" in refused.message
    play = shop.update(second, **QUICKLY, app_lock_wait=60)
    assert play.returncode == 0, play.output[-4000:]
    assert shop.version() == second


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("event", ["rotate ", "static files", "start ", "stop ", "remove "])
def test_killed_with_the_controller_the_same_command_goes_on_at_once(shop: Shop, event: str) -> None:
    version = others(shop)[0]
    run = Running(shop, version)
    run.until_event(event)
    run.kill()
    play = shop.update(version, **QUICKLY)
    assert play.returncode == 0, play.output[-4000:]
    assert shop.version() == version


@pytest.mark.usefixtures("unharmed")
def test_killed_in_undo_the_next_run_goes_back_first_and_names_the_bad_version(shop: Shop) -> None:
    serving = shop.version()
    run = Running(shop, "bad-500")
    run.until_event("goal undo")
    run.kill()
    assert lock(shop)["pending_undo"]
    play = shop.update("bad-500", **QUICKLY)
    assert play.returncode != 0
    assert "bad-500" in play.message and "is bad" in play.message, play.output[-4000:]
    assert all(word in play.message for word in ("What:", "Now:", "Next:"))
    assert shop.version() == serving
    records = sorted((shop.root / ".evenkeel/operations").glob("*.json"))
    undone = [r for r in (json.loads(p.read_text(encoding="utf-8")) for p in records) if r.get("undone")]
    assert [(r["goal"], r["result"], r["target"]) for r in undone[-1:]] == [("undo", "interrupted", "bad-500")]


@pytest.mark.usefixtures("unharmed")
def test_killed_in_undo_the_way_back_is_finished_where_another_version_is_asked_for(shop: Shop) -> None:
    run = Running(shop, "bad-500")
    run.until_event("goal undo")
    run.kill()
    version = others(shop)[0]
    play = shop.update(version, **QUICKLY, app_lock_take_over=True)
    assert play.returncode == 0, play.output[-4000:]
    assert "Roll services back" in play.output
    assert shop.version() == version
