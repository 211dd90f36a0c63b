# SPDX-License-Identifier: GPL-3.0-or-later
"""One change at a time, on the real stack: two at once, a zombie, a lease that runs out, kills forward and in undo."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.host import processes
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import ROOT, BedError, Play, Shop

QUICKLY = {"app_services": QUICK}


class Running:
    """An ``ansible-playbook`` of the update, while it runs."""

    def __init__(self, shop: Shop, version: str, **variables: Any) -> None:
        self.shop = shop
        self.began = time.monotonic()
        self.before = len(journal(shop))
        self.file = (shop.folder / f"run-{time.monotonic_ns()}.txt").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            shop.playbook_argv(update_version=version, **QUICKLY, **variables),
            cwd=ROOT, env=shop.environment, stdin=subprocess.DEVNULL, stdout=self.file, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def until(self, met: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
        """Wait for something that this run does."""
        end = time.monotonic() + seconds
        while not met():
            if time.monotonic() > end or self.process.poll() is not None:
                raise BedError(f"never met: {what}\n{self.output()[-3000:]}")
            time.sleep(0.02)

    def until_event(self, start: str) -> None:
        """Wait until the journal has a line of this run that starts so."""

        def met() -> bool:
            return any(line["event"].startswith(start) for line in journal(self.shop)[self.before :])

        self.until(met, start)

    def output(self) -> str:
        self.file.flush()
        return Path(self.file.name).read_text(encoding="utf-8")

    def end(self) -> Play:
        """Wait until it has ended by itself."""
        code = self.process.wait(300)
        return Play(code, self.output(), time.monotonic() - self.began)

    def kill(self) -> None:
        """Kill -9 of the controller and of everything it started on the target."""
        roots = [self.process.pid, worker(self.shop)]
        for _round in range(3):
            for pid in {p.pid for root in roots if root for p in processes.tree(root)}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


def journal(shop: Shop) -> list[dict[str, Any]]:
    path = shop.root / ".evenkeel/journal.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def lock(shop: Shop) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shop.root / ".evenkeel/lock").read_text(encoding="utf-8"))
    return found


def worker(shop: Shop) -> int:
    """The module that works under the lock now, 0 for none."""
    return int((lock(shop)["process"] or {}).get("pid", 0))


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
    assert (lock(shop)["run"], lock(shop)["owed"]) == ("", "")


@pytest.mark.matrix  # test_status.py asks beside a run that works as well
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


@pytest.mark.matrix
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


@pytest.mark.matrix
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


@pytest.mark.matrix
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


@pytest.mark.matrix  # killed while the proxy changes over: test_status.py
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


@pytest.mark.matrix
@pytest.mark.usefixtures("unharmed")
def test_killed_in_undo_the_next_run_goes_back_first_and_names_the_bad_version(shop: Shop) -> None:
    serving = shop.version()
    run = Running(shop, "bad-500")
    run.until_event("goal undo")
    run.kill()
    assert lock(shop)["owed"]
    play = shop.update("bad-500", **QUICKLY)
    assert play.returncode != 0
    assert "bad-500" in play.message and "is bad" in play.message, play.output[-4000:]
    assert all(word in play.message for word in ("What:", "Now:", "Next:"))
    assert shop.version() == serving
    records = sorted((shop.root / ".evenkeel/operations").glob("*.json"))
    undone = [r for r in (json.loads(p.read_text(encoding="utf-8")) for p in records) if r.get("undone")]
    assert [(r["goal"], r["result"], r["target"]) for r in undone[-1:]] == [("undo", "interrupted", "bad-500")]


@pytest.mark.matrix
@pytest.mark.usefixtures("unharmed")
def test_killed_in_undo_the_way_back_is_finished_where_another_version_is_asked_for(shop: Shop) -> None:
    run = Running(shop, "bad-500")
    run.until_event("goal undo")
    run.kill()
    version = others(shop)[0]
    play = shop.update(version, **QUICKLY, app_lock_take_over=True)
    assert play.returncode == 0, play.output[-4000:]
    assert "Bring every service back" in play.output
    assert shop.version() == version
