# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back: one command, under load, without git, twice, killed, from a release that crashes, and when it cannot be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processes
from tests.bed.killed_playbook import kill_when
from tests.bed.migrated_shop import columns, commit_versions, sql
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import EVERYTHING, Play, Shop, run
from tests.bed.shop_releases import QUICK, forward, manifests, states


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop that went from v1 to m1 and m2, of which the last has put something off."""
    made = Shop("rollback", {"app_keep_releases": 6})
    made.destroy()
    try:
        made.create()
        commit_versions(made)
        for version in ("m1", "m2"):
            play = made.update(version, app_services=QUICK)
            assert play.returncode == 0, play.output[-4000:]
        yield made
    finally:
        made.destroy()


@contextmanager
def watched(shop: Shop) -> Iterator[dict[str, set[str]]]:
    """The containers of a shop that ran meanwhile, those for one question too, each with the shares that its control group had."""
    seen: dict[str, set[str]] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.03):
            for entry in engine.containers.list(
                filters={"label": f"com.docker.compose.project={shop.name}"}, sparse=True
            ):
                seen.setdefault(entry.attrs["Names"][0].lstrip("/"), set()).add(share_of(entry.id))

    def share_of(container: str) -> str:
        with suppress(docker.errors.NotFound):
            pids.setdefault(container, int(engine.api.inspect_container(container)["State"]["Pid"]))
        pid = pids.get(container, 0)
        group, second = processes.control_group(pid, "cpu") if pid else ("", False)
        return processes.text_of(f"{group}/{'cpu.weight' if second else 'cpu.shares'}").strip()

    engine, pids = docker.from_env(), dict[str, int]()
    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


def went_back(shop: Shop, to: str, **variables: Any) -> Play:
    """Go back under load; nothing may be lost by it."""
    with shop.load(mix=EVERYTHING) as load, watched(shop) as seen:
        play = shop.rollback(app_services=QUICK, **variables)
        result = load.stop()
    # Django was started once for the schema and for static files, and what boots had less of the processors than what served.
    assert len([name for name in seen if "-run-" in name or "-plan-" in name]) == 2, sorted(seen)
    for service in ("api", "celery", "celery-beat"):
        newest = max(
            (n for n in seen if n.startswith(f"{shop.name}-{service}-")), key=lambda n: int(n.rpartition("-")[2])
        )
        assert seen[newest] & {"102", "10"}, (newest, seen[newest])
    assert play.returncode == 0, play.output[-5000:]
    assert shop.version() == to and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
    print(f"\nevidence: back to {to}: {result.total:,} requests, 0 failed, {play.seconds:.1f} s")
    return play


def test_back_under_load_without_git_and_without_building(shop: Shop) -> None:
    away = shop.folder / "away.git"
    shop.repository.rename(away)
    (shop.root / "mirror.git").rename(shop.folder / "mirror.git")
    try:
        play = went_back(shop, "m1")
    finally:
        away.rename(shop.repository)
        (shop.folder / "mirror.git").rename(shop.root / "mirror.git")
    assert "verdict: abandon" in play.output and "is marked bad" in play.output
    assert states(shop) == {"m1": "verified", "m2": "bad"}
    assert "note" in columns(shop) and "channel" in columns(shop)


def test_whoever_runs_it_once_more_is_not_led_further(shop: Shop) -> None:
    if shop.version() != "m1":
        assert shop.rollback(app_services=QUICK).returncode == 0
    again = shop.rollback(app_services=QUICK)
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]
    assert shop.version() == "m1"


def test_by_name_one_goes_wherever_one_likes(shop: Shop) -> None:
    before = shop.version()
    looked = shop.rollback("--check", rollback_to="m2")
    assert looked.returncode == 0 and "verdict: " in looked.output and shop.version() == before, looked.output[-3000:]
    named = shop.rollback(app_services=QUICK, rollback_to="m2")
    assert named.returncode == 0 and shop.version() == "m2", named.output[-4000:]


def test_what_is_not_there_is_said_before_anything_is_touched(shop: Shop) -> None:
    before = shop.version()
    nowhere = shop.rollback(rollback_to="v9")
    assert nowhere.returncode != 0 and "no release is v9; there are: " in nowhere.message
    assert (shop.version(), shop.leftovers()) == (before, [])


def test_from_a_release_that_crashes_all_the_time(shop: Shop) -> None:
    assert forward(shop, "m3").returncode == 0
    # It was found good, and ends whenever it is started.
    for container in shop.containers("api"):
        run(["docker", "exec", "-u", "0", container, "sh", "-c", "echo 'raise SystemExit(3)' > /app/shop/wsgi.py"])
        run(["docker", "restart", "-t", "1", container])
    play = shop.rollback(app_services=QUICK)
    assert play.returncode == 0, play.output[-5000:]
    assert shop.version() == "m2" and shop.leftovers() == []
    assert states(shop)["m3"] == "bad"


@pytest.mark.parametrize("at", ["Roll services to", "Activate the release", "Release the lock"])
def test_killed_in_the_middle_the_same_command_ends_it(shop: Shop, at: str, tmp_path: Path) -> None:
    assert forward(shop, "m2").returncode == 0
    assert forward(shop, "m3").returncode == 0
    with shop.load() as load:
        kill_when(shop, tmp_path / "log", lambda text: f"{at}" in text, playbook="rollback", app_services=QUICK)
        play = shop.rollback(app_services=QUICK, app_lock_take_over=True)
        result = load.stop()
    assert play.returncode == 0, play.output[-5000:]
    assert shop.version() == "m2" and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
    assert states(shop)["m3"] == "bad" and states(shop)["m2"] == "verified"


def test_what_does_not_serve_any_more_is_left_again_and_not_held_for_bad(shop: Shop) -> None:
    assert forward(shop, "m2").returncode == 0
    assert forward(shop, "m3").returncode == 0
    play = shop.rollback(app_services=QUICK, app_verify_paths=[{"path": "/", "contains": "nowhere on this page"}])
    assert play.returncode != 0 and "nowhere on this page" in play.message, play.output[-5000:]
    assert (shop.version(), shop.leftovers()) == ("m3", [])
    assert states(shop)["m2"] == "verified" and "marked bad" not in play.message
    assert "Now: undone, the version from before is serving and nothing of the new one is left: " in play.flat_message


def test_an_image_that_is_gone_and_a_column_that_is_gone_are_said_first(shop: Shop) -> None:
    assert forward(shop, "m3").returncode == 0
    gone = shop.update("m4", app_services=QUICK, update_allow_data_loss=["tours.0004_channel"])
    assert gone.returncode == 0 and "note" not in columns(shop), gone.output[-3000:]
    refused = shop.rollback(rollback_to="m1")
    assert refused.returncode != 0 and "tours.0004_channel" in refused.message and "backup" in refused.message
    assert shop.version() == "m4"
    # A migration that somebody ran by hand is not guessed.
    sql(shop, "INSERT INTO django_migrations (app, name, applied) VALUES ('tours', '0009_by_hand', now())")
    unknown = shop.rollback(rollback_to="m3")
    assert unknown.returncode != 0 and "0009_by_hand" in unknown.message and "rollback_allow_unknown" in unknown.message
    sql(shop, "DELETE FROM django_migrations WHERE name = '0009_by_hand'")
    (revision,) = {m["revision"] for m in manifests(shop) if m["version"] == "m3"}
    run(["docker", "rmi", f"{shop.name}-api:{revision[:12]}"])
    pruned = shop.rollback(rollback_to="m3")
    assert pruned.returncode != 0 and "is not on this host any more" in pruned.message and shop.version() == "m4"
