# SPDX-License-Identifier: GPL-3.0-or-later
"""Canary and blue-green under load: few users meet a bad version, and the way back is a moment, not a start."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bed.migrated_shop import commit, models_of
from tests.bed.nothing_lost import assert_nothing_lost, update_under_load
from tests.bed.running_update import Running
from tests.bed.shop import ROOT, BedError, Shop, deployed, run
from tests.bed.shop_snapshot import ids_of

#: Healthy, and right in all that is asked of it; what users send it, it fails.
BAD = {
    "tours/views.py": (ROOT / "demo/shop/tours/views.py")
    .read_text(encoding="utf-8")
    .replace(
        "def orders(request: HttpRequest) -> JsonResponse:\n",
        "def orders(request: HttpRequest) -> JsonResponse:\n    1 / 0\n",
    )
}


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop of its own at v2, and versions that differ from it in code alone, and have nothing of each other."""
    assert "1 / 0" in BAD["tours/views.py"]
    with deployed("strategies", version="v2") as made:
        commit(made, "s-bad", "v2", models_of(""), files=BAD)
        for number in range(1, 8):
            commit(made, f"s{number}", "v2", models_of(""))
        yield made


def webs(shop: Shop) -> dict[str, str]:
    """The running containers of the web service: id → restart policy."""
    every = [i for i in shop.inspections() if i["Config"]["Labels"]["com.docker.compose.service"] == "api"]
    return {i["Id"]: i["HostConfig"]["RestartPolicy"]["Name"] for i in every if i["State"]["Running"]}


def timeline(shop: Shop) -> list[dict[str, Any]]:
    """The steps of the last operation's roll."""
    folder = shop.root / ".evenkeel" / "operations"
    newest = max(folder.glob("*.json"), key=lambda p: p.stat().st_mtime)
    steps = [s for s in json.loads(newest.read_text())["steps"] if s.get("timeline")]
    return [entry for step in steps for entry in step["timeline"]]


def versions_met(shop: Shop, number: int) -> dict[str, int]:
    """Which version answers how many of so many requests."""
    found: dict[str, int] = {}
    for _each in range(number):
        name = shop.version()
        found[name] = found.get(name, 0) + 1
    return found


def test_a_canary_is_met_by_its_share_and_then_serves(shop: Shop) -> None:
    with shop.load() as load:
        update = Running(shop, "s1", update_strategy="canary", update_canary_time="15s", update_canary_share=10)
        update.until_event("rotate api")
        time.sleep(1)
        met = versions_met(shop, 60)
        play = update.end()
        result = load.stop()
    assert play.returncode == 0, play.output[-6000:]
    assert 2 <= met["s1"] <= 12 and met["v2"] >= 48, met
    assert shop.version() == "s1" and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)


def test_a_version_that_fails_users_alone_is_taken_back_after_few_of_them(shop: Shop) -> None:
    before, served = ids_of(shop)["api"], shop.version()
    with shop.load() as load:
        play = shop.update("s-bad", update_strategy="canary", update_canary_time="2m", update_canary_share=5)
        result = load.stop()
    assert play.returncode != 0 and "users got an answer of 5xx" in play.flat, play.output[-6000:]
    assert (shop.version(), ids_of(shop)["api"]) == (served, before)
    assert shop.leftovers() == []
    # Its own failures are all there are, and of the orders that were acknowledged none is lost.
    assert set(result.failed_by_kind) <= {"status_5xx"}, result.failed_by_kind
    verdict = shop.settle_accounts(load, result)
    assert verdict.acknowledged > 0 and not (verdict.lost_rows or verdict.lost_tasks or verdict.double_rows), verdict
    assert 0 < result.failed < 40, result.failed
    print(f"\nevidence: canary of 5 %: {result.failed} of {result.total:,} requests met the bad version")


def test_the_old_containers_serve_again_at_once(shop: Shop) -> None:
    before, served = next(iter(webs(shop))), shop.version()
    with shop.load() as load:
        play = shop.update("s3", update_strategy="blue_green", update_keep_old="30m")
        assert play.returncode == 0, play.output[-6000:]
        assert shop.version() == "s3"
        kept = webs(shop)
        assert len(kept) == 2 and kept[before] == "no", kept
        again = shop.update("s3", update_strategy="blue_green", update_keep_old="30m")
        assert again.returncode == 0 and webs(shop) == kept, again.output[-6000:]
        status = shop.play(playbook="status")
        assert "can take over again at once" in status.flat and status.returncode == 0, status.output[-4000:]
        back = shop.rollback()
        result = load.stop()
    assert back.returncode == 0, back.output[-6000:]
    assert shop.version() == served and list(webs(shop)) == [before]
    assert webs(shop)[before] != "no"
    assert shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
    steps = timeline(shop)
    joined = next(n for n, s in enumerate(steps) if s["step"] == "join")
    assert not [s for s in steps[:joined] if s["step"] == "start" and s["service"] == "api"], steps
    took = sum(s["seconds"] for s in steps[: joined + 1])
    print(f"\nevidence: switch back {took:.2f} s after the roll began, whole rollback {back.seconds:.1f} s")


def test_killed_while_it_keeps_them_the_same_command_ends_it(shop: Shop) -> None:
    before = next(iter(webs(shop)))
    with shop.load() as load:
        for event in ("rotate api", "spare", "stop"):
            update = Running(shop, "s4", update_strategy="blue_green", update_keep_old="5s")
            update.until_event(event)
            update.kill()
        play = shop.update("s4", update_strategy="blue_green", update_keep_old="5s")
        assert play.returncode == 0, play.output[-6000:]
        end = time.monotonic() + 90
        while before in webs(shop):
            if time.monotonic() > end:
                raise BedError(f"still there: {webs(shop)}\n{play.output[-3000:]}")
            time.sleep(0.5)
        time.sleep(3)
        result = load.stop()
    assert shop.version() == "s4" and len(webs(shop)) == 1
    assert shop.leftovers() == []
    assert not list(shop.root.glob("**/spares.json"))
    assert_nothing_lost(shop, load, result)


def test_the_next_update_removes_what_was_kept(shop: Shop) -> None:
    kept = next(iter(webs(shop)))
    play = shop.update("s5", update_strategy="blue_green", update_keep_old="1h")
    assert play.returncode == 0 and len(webs(shop)) == 2, play.output[-6000:]
    update_under_load(shop, "s6", "an update after one that kept the old containers")
    assert len(webs(shop)) == 1 and kept not in webs(shop)


def test_what_contradicts_itself_is_refused(shop: Shop) -> None:
    before = webs(shop)
    for variables, words in (
        ({"update_strategy": "blue_green", "update_contract": "now"}, "update_contract now takes away"),
        ({"update_strategy": "blue_green", "update_keep_old": "2d"}, "keep_old"),
        ({"update_strategy": "canary", "update_canary_share": 80}, "between 3 and 50"),
    ):
        play = shop.update("s7", **variables)
        assert play.returncode != 0 and words in play.flat, play.output[-3000:]
    assert webs(shop) == before


def test_the_plan_names_the_strategy(shop: Shop) -> None:
    play = shop.play(playbook="plan", update_version="s7", update_strategy="blue_green")
    assert "blue_green (new containers beside old ones, which go on running)" in play.flat, play.output[-3000:]


def test_a_reboot_does_not_bring_two_versions_back(shop: Shop) -> None:
    served = shop.version()
    play = shop.update("s7", update_strategy="blue_green", update_keep_old="1h")
    assert play.returncode == 0, play.output[-6000:]
    old = next(i for i, policy in webs(shop).items() if policy == "no")
    # What the engine does to a container whose process ends, as it does when the machine starts again.
    run(["docker", "kill", old])
    time.sleep(2)
    assert old not in webs(shop)
    back = shop.rollback()
    assert back.returncode == 0 and shop.version() == served, back.output[-6000:]
    assert shop.leftovers() == []
