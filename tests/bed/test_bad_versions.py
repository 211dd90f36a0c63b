# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook ``update`` on the real stack, under load: nothing lost, whatever version it is given."""

from __future__ import annotations

import json
import re

import pytest

from demo.run import roll_line
from tests.bed.killed_roll import CHAINS, PLACES, QUICK, kill_roll
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Shop, run


def test_a_second_run_changes_nothing(shop: Shop) -> None:
    version = shop.version()
    assert version
    assert shop.leftovers() == []
    again = shop.update(version)
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]
    assert (shop.root / "current/compose.yaml").stat().st_mode & 0o777 == 0o600


def test_check_mode_tells_what_would_be_replaced_and_touches_nothing(shop: Shop) -> None:
    before = shop.inspections()
    # A version that nobody has built yet.
    play = shop.update("bad-oom", "--check", "--diff")
    assert play.returncode == 0, play.output[-4000:]
    assert "unknown until built" in play.output
    assert [(i["Id"], i["State"]["StartedAt"]) for i in shop.inspections()] == [
        (i["Id"], i["State"]["StartedAt"]) for i in before
    ]
    commit = run(["git", "--git-dir", str(shop.repository), "rev-parse", "--short=7", "bad-oom"]).strip()
    assert not list((shop.root / "releases").glob(f"*-{commit}"))


def test_an_update_under_load_loses_nothing(shop: Shop) -> None:
    nginx, before = shop.container("nginx"), shop.version()
    version = "v3" if before == "v2" else "v2"
    with shop.load() as load:
        load.mark("update-start")
        play = shop.update(version)
        load.mark("update-end")
        result = load.stop()
    assert play.returncode == 0, play.output[-6000:]
    assert shop.version() == version
    assert shop.leftovers() == []
    assert shop.container("nginx") == nginx
    assert_nothing_lost(shop, load, result)
    assert {before, version} <= set(result.versions)
    # What the demo tells about it is read from the record that the operation left.
    assert "lower bound" in roll_line(shop.root / ".evenkeel/operations")[1]


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        # make evidence has them all.
        ("bad-500", "answered 500"),
        pytest.param("bad-crash", "ended|was not answered", marks=pytest.mark.matrix),
        pytest.param("bad-import", "ended", marks=pytest.mark.matrix),
    ],
)
def test_a_bad_version_is_undone_before_a_user_meets_it(shop: Shop, version: str, reason: str) -> None:
    serving = shop.version()
    api = {i["Name"]: i["Id"] for i in shop.inspections()}
    with shop.load() as load:
        play = shop.update(version)
        result = load.stop()
    assert play.returncode != 0
    assert re.search(reason, play.message.splitlines()[0]), play.message
    assert all(word in play.message for word in ("What:", "Now:", "Next:")), play.message
    assert shop.version() == serving
    # Only the scheduler, of which there are never two, may have been stopped and started again.
    assert {i["Name"]: i["Id"] for i in shop.inspections()} == api
    assert shop.leftovers() == []
    assert version not in result.versions
    assert_nothing_lost(shop, load, result)
    recycle_a_worker(shop)
    assert "Even Keel Travel" in run(["curl", "--silent", "--fail", f"{shop.url}/"])


def recycle_a_worker(shop: Shop) -> None:
    """End gunicorn's workers: new ones of the old version read code and static manifest anew."""
    script = "kill -TERM $(cat /proc/1/task/1/children); sleep 2; test $(wc -w < /proc/1/task/1/children) -ge 2"
    run(["docker", "exec", shop.container("api"), "sh", "-c", script])


@pytest.mark.parametrize(
    ("chains", "undone"),
    [
        # Where the machine is left half changed by one act; make evidence has them all, singly too.
        pytest.param((("inside:Start", "inside:Join", "inside:Remove"),), (), id="inside"),
        pytest.param(CHAINS, ("undo:Quiesce", "undo:Remove"), id="every", marks=pytest.mark.matrix),
    ],
)
def test_killed_at_a_step_the_same_playbook_converges(
    shop: Shop, chains: tuple[tuple[str, ...], ...], undone: tuple[str, ...]
) -> None:
    assert sorted(place for chain in CHAINS for place in chain) == sorted(PLACES)
    quick = {"app_services": QUICK}
    # A killed roll is one to a release that is there.
    there = {json.loads(p.read_text())["version"] for p in shop.root.glob("releases/*/.evenkeel/manifest.json")}
    for version in sorted({"v2", "v3"} - there):
        assert shop.update(version, **quick).returncode == 0
    with shop.load(seconds=900) as load:
        # Every run but the last of a chain is killed.
        for chain in chains:
            version = "v2" if shop.version() == "v3" else "v3"
            for place in chain:
                kill_roll(shop, version, place, QUICK)
            play = shop.update(version, **quick)
            assert play.returncode == 0, play.output[-4000:]
            assert shop.version() == version
            assert shop.leftovers() == []
        # And on the way back from a bad version: the good one is then asked for again.
        version = shop.version()
        assert not undone or shop.update("bad-500", **quick).returncode != 0
        for place in undone:
            kill_roll(shop, "bad-500", place, QUICK)
            assert shop.update(version, **quick).returncode == 0, place
            assert (shop.version(), shop.leftovers()) == (version, []), place
        result = load.stop()
    assert_nothing_lost(shop, load, result)
