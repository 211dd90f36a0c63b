# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers and the scheduler on the real stack: no task lost, doubled or cut, and all services back together."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.bed.killed_roll import QUICK, kill_roll
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.queued_tasks import all_run_once, send
from tests.bed.shop import Shop
from tests.bed.shop_snapshot import images_of

QUICKLY = {"app_services": QUICK}
#: Seconds between two beats.
BEAT = 2.0


def other(shop: Shop) -> str:
    return "v2" if shop.version() == "v3" else "v3"


def rolled(shop: Shop, **parameters: Any) -> dict[str, Any]:
    """One call of the module, by ``ansible`` as a user would do it; its result."""
    state = {"project_src": str(shop.root / "current"), "state_dir": str(shop.root / ".evenkeel")}
    argv = [str(Path(sys.executable).parent / "ansible"), "all", "-i", str(shop.folder / "inventory.json")]
    argv += ["-m", "evenkeel.deploy.compose_rolling", "-a", json.dumps({**state, **parameters})]
    done = subprocess.run(
        argv,
        env={**shop.environment, "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1])
    result: dict[str, Any] = found["plays"][0]["tasks"][0]["hosts"]["shop"]
    return result


def test_long_tasks_and_a_full_queue_outlive_an_update(shop: Shop) -> None:
    old = {i["Config"]["Hostname"] for i in shop.inspections() if "-celery-" in i["Name"]}
    version = other(shop)
    began = time.time()
    with shop.load() as load:
        # Two run, the others are fetched and wait: a minute of work for the old one, which outlives it.
        send(shop, "long", 5, 20)
        time.sleep(1)
        send(shop, "queue", 300, 0.05)
        play = shop.update(version, **QUICKLY)
        assert play.returncode == 0, play.output[-4000:]
        assert shop.version() == version
        result = load.stop()
    long = all_run_once(shop, "long")
    queue = all_run_once(shop, "queue")
    assert {w.partition("@")[2] for workers in long.values() for w in workers} <= old, (
        "a running task was not waited for"
    )
    newer = [r for r, workers in queue.items() if workers[0].partition("@")[2] not in old]
    assert newer, "the new worker fetched nothing while the old one finished"
    assert "fetches no more tasks" in play.output, play.output[-3000:]
    assert_nothing_lost(shop, load, result)
    beats = shop.heartbeats(began, time.time())
    print(
        f"longest gap between two beats {beats.longest_gap:.1f} s (due every {BEAT:g} s); double: {len(beats.double_slots)}"
    )
    assert not beats.double_slots


def test_a_verify_that_fails_brings_every_service_back(shop: Shop) -> None:
    serving = shop.version()
    revision = images_of(shop)
    with shop.load(seconds=200) as load:
        play = shop.update(other(shop), **QUICKLY, app_verify_paths=[{"path": "/", "contains": "Atlantis"}])
        result = load.stop()
    assert play.returncode != 0 and "Atlantis" in play.output, play.output[-3000:]
    assert (shop.version(), images_of(shop), shop.leftovers()) == (serving, revision, [])
    assert_nothing_lost(shop, load, result)


def test_whoever_wants_the_old_version_back_gets_a_worker_that_fetches(shop: Shop) -> None:
    """Killed while the old worker was told to fetch nothing more; then that very worker is to stay."""
    serving, target = shop.version(), other(shop)
    assert shop.update(target, **QUICKLY).returncode == 0
    kill_roll(shop, serving, "after:Quiesce", QUICK)
    play = shop.update(target, **QUICKLY)
    assert play.returncode == 0, play.output[-4000:]
    send(shop, "back", 20, 0)
    all_run_once(shop, "back")
    assert (shop.version(), shop.leftovers()) == (target, [])


def test_a_restart_happens_once_per_request(shop: Shop) -> None:
    before = {i["Name"]: i["Id"] for i in shop.inspections()}
    ids = {i["Id"] for i in shop.inspections() if "-celery-" in i["Name"] and "beat" not in i["Name"]}
    asked = {"services": ["celery"], "generation": f"bed-{time.time()}", "service_options": QUICK}
    first = rolled(shop, **asked)
    assert first["changed"] and not first.get("failed"), first
    now = {i["Id"] for i in shop.inspections() if "-celery-" in i["Name"] and "beat" not in i["Name"]}
    assert len(now) == 1 and not now & ids
    assert not rolled(shop, **asked)["changed"]
    others = {n: i for n, i in before.items() if i not in ids}
    assert others.items() <= {i["Name"]: i["Id"] for i in shop.inspections()}.items()
    assert shop.leftovers() == []
