# SPDX-License-Identifier: GPL-3.0-or-later
"""What users bet on, each once, on one shop: first start, update, bad version, kills, back, hotfix, restore, guard.

Each scenario takes the shop at whatever version it finds and leaves one that serves; `make nightly` has every variant.
"""

from __future__ import annotations

import json
import os
import re

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.deploy_info import call as deploy_info
from demo.run import roll_line
from tests.bed.code_hotfix import VERSION, hotfix, said
from tests.bed.crashes import healed_by_a_guard
from tests.bed.killed_roll import QUICK, kill_roll
from tests.bed.load.database import Database
from tests.bed.load.process import proxy_log
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.queued_tasks import all_run_once, send
from tests.bed.running_update import QUICKLY, Running, lock
from tests.bed.shop import EVERYTHING, Shop, run
from tests.bed.shop_releases import states
from tests.bed.shop_snapshot import ids_of, images_of, there


def other(shop: Shop) -> str:
    """A good version that does not serve now."""
    return "v2" if shop.version() == "v1" else "v1"


def have(shop: Shop, *versions: str) -> None:
    """Have a release of each of these versions: what is rolled in the tests' own process has to be there."""
    for version in set(versions) - set(states(shop)):
        shop.update(version, **QUICKLY)


def test_the_first_start_serves_and_leaves_nothing_over(shop: Shop) -> None:
    assert shop.version()
    assert shop.leftovers() == []
    assert (shop.root / "current/compose.yaml").stat().st_mode & 0o777 == 0o600
    assert "Even Keel Travel" in run(["curl", "--silent", "--fail", f"{shop.url}/"])


def test_a_second_run_changes_nothing(shop: Shop) -> None:
    before = ids_of(shop)
    again = shop.update(shop.version())
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]
    assert ids_of(shop) == before


def test_check_mode_tells_what_would_be_replaced_and_touches_nothing(shop: Shop) -> None:
    before = there(shop)
    # A version that nobody has built yet.
    play = shop.update("bad-oom", "--check", "--diff")
    assert play.returncode == 0, play.output[-4000:]
    assert "unknown until built" in play.output
    after = there(shop)
    # The mirror may know more of the repository; nothing that runs or that is served may differ.
    assert {k: v for k, v in after.items() if k != "refs"} == {k: v for k, v in before.items() if k != "refs"}


def test_an_update_under_load_loses_no_request_row_or_task(shop: Shop) -> None:
    nginx, before, version = shop.container("nginx"), shop.version(), other(shop)
    with shop.load(mix=EVERYTHING) as load:
        # The old worker has these when it is told to end.
        send(shop, "long", 2, 8)
        play = shop.update(version)
        result = load.stop()
    assert play.returncode == 0, play.output[-6000:]
    assert "rolling (new containers beside old ones)" in play.flat, "what is going to be done is told first"
    assert f"is at {version}" in play.flat and ", verified, after" in play.flat, play.output[-2000:]
    assert (shop.version(), shop.leftovers()) == (version, [])
    assert shop.container("nginx") == nginx
    assert_nothing_lost(shop, load, result)
    all_run_once(shop, "long")
    assert {before, version} <= set(result.versions)
    # What the demo tells about it is read from the record that the operation left.
    assert "lower bound" in roll_line(shop.root / ".evenkeel/operations")[1]


def test_a_bad_version_is_undone_before_a_user_meets_it(shop: Shop) -> None:
    serving = shop.version()
    before = {i["Name"]: i["Id"] for i in shop.inspections()}
    with shop.load() as load:
        play = shop.update("bad-500", **QUICKLY)
        result = load.stop()
    assert play.returncode != 0
    assert "answered 500" in play.message.splitlines()[0], play.message
    assert all(word in play.message for word in ("What:", "Now:", "Next:")), play.message
    assert "Last log lines of evenkeel" in play.message and "celery-" not in play.message.split("Now:")[0], play.message
    assert "(api, celery, celery-beat)" in play.message, "one version serves, and is said to"
    assert (shop.version(), shop.leftovers()) == (serving, [])
    assert {i["Name"]: i["Id"] for i in shop.inspections()} == before
    assert "bad-500" not in result.versions
    assert_nothing_lost(shop, load, result)


def test_killed_in_the_roll_the_same_playbook_ends_it(shop: Shop) -> None:
    have(shop, "v1", "v2")
    # As many kills as there are acts that leave the machine half changed; each run comes further than the one before.
    version = other(shop)
    with shop.load() as load:
        for place in ("inside:Start", "inside:Join", "inside:Remove"):
            kill_roll(shop, version, place, QUICK)
        play = shop.update(version, **QUICKLY)
        result = load.stop()
    assert play.returncode == 0, play.output[-4000:]
    assert (shop.version(), shop.leftovers()) == (version, [])
    assert_nothing_lost(shop, load, result)


def test_killed_on_the_way_back_the_same_playbook_ends_it(shop: Shop) -> None:
    have(shop, "bad-500")
    version = shop.version()
    with shop.load() as load:
        kill_roll(shop, "bad-500", "undo:Remove", QUICK)
        play = shop.update(version, **QUICKLY)
        result = load.stop()
    assert play.returncode == 0, play.output[-4000:]
    assert (shop.version(), shop.leftovers()) == (version, [])
    assert_nothing_lost(shop, load, result)


def test_killed_with_its_controller_status_names_the_command_that_ends_it(shop: Shop) -> None:
    have(shop, "v1", "v2")
    version = other(shop)
    with shop.load() as load:
        update = Running(shop, version)
        update.until_event("rotate api")
        update.kill()
        told = deploy_info({"path": str(shop.root), "project_name": shop.name, "look_at": []}, False)
        assert told["status"] == "unfinished", told["text"]
        assert told["next"] == f"ansible-playbook evenkeel.deploy.update -e update_version={version}"
        play = shop.update(version, **QUICKLY)
        result = load.stop()
    assert play.returncode == 0, play.output[-4000:]
    assert (shop.version(), shop.leftovers()) == (version, [])
    assert (lock(shop)["run"], lock(shop)["pending_undo"]) == ("", "")
    assert_nothing_lost(shop, load, result)


def test_back_to_the_release_before_without_git_and_without_building(shop: Shop) -> None:
    have(shop, "v1", "v2")
    left, repository, mirror = shop.version(), shop.repository, shop.root / "mirror.git"
    repository.rename(shop.folder / "away.git")
    mirror.rename(shop.folder / "mirror.git")
    try:
        with shop.load() as load:
            play = shop.rollback(app_services=QUICK)
            result = load.stop()
    finally:
        (shop.folder / "away.git").rename(repository)
        (shop.folder / "mirror.git").rename(mirror)
    assert play.returncode == 0, play.output[-5000:]
    assert shop.version() != left and shop.leftovers() == []
    assert states(shop)[left] == "bad"
    assert_nothing_lost(shop, load, result)


def test_a_hotfix_changes_over_is_never_lost_unawares_and_goes_back(shop: Shop) -> None:
    version, before = shop.version(), images_of(shop)
    files = {VERSION: said(f"{version}-h")}
    looked = there(shop)
    check = hotfix(shop, files, "--check", "--diff", app_services=QUICK)
    assert check.returncode == 0 and "would be replaced: api, celery, celery-beat" in check.output, check.output[-3000:]
    assert there(shop) == looked
    with shop.load() as load:
        play = hotfix(shop, files, hotfix_name="mended", app_services=QUICK)
        assert play.returncode == 0, play.output[-5000:]
        assert (shop.version(), shop.leftovers()) == (f"{version}-h", [])
        assert re.search(r"\.h1$", os.readlink(shop.root / "current"))
        again = hotfix(shop, files, hotfix_name="mended", app_services=QUICK)
        assert (again.returncode, again.changed) == (0, 0) and "has it already" in again.output, again.output[-3000:]
        lacking = shop.update(version, **QUICKLY)
        assert lacking.returncode != 0 and "update_allow_lost_hotfixes" in lacking.message, lacking.output[-3000:]
        back = shop.rollback(app_services=QUICK)
        result = load.stop()
    assert back.returncode == 0, back.output[-4000:]
    assert (shop.version(), images_of(shop), shop.leftovers()) == (version, before, [])
    assert_nothing_lost(shop, load, result)


def test_a_backup_takes_the_place_of_the_database_while_requests_wait(shop: Shop) -> None:
    made = shop.play(playbook="backup", app_services=QUICK)
    assert made.returncode == 0, made.output[-4000:]
    manifest = [json.loads(p.read_text()) for p in sorted((shop.root / "backups").glob("*.json"))][-1]
    with shop.load(mix="new=4,keepalive=4,static=1") as load:
        play = shop.play(
            playbook="restore", app_services=QUICK, restore_backup=manifest["file"], restore_allow_downtime=True
        )
        result = load.stop()
    assert play.returncode == 0, play.output[-6000:]
    assert shop.leftovers() == []
    result = result.judged_by(proxy_log(shop.container("nginx")))
    assert result.failed_beyond_race == 0, [json.dumps(f) for f in result.failures[:8]]
    # What was ordered before the exchange is in the one that is kept, what came after it in the new one; none is nowhere.
    kept = re.findall(r"is kept as (\S+_before_\d{8}t\d{6}z)", play.flat)[0]
    before, after = (references(shop, name) for name in (kept, "shop"))
    ordered = {order.reference for order in load.acknowledged()}
    assert ordered <= before | after, sorted(ordered - before - after)[:5]
    assert ordered & before - after and ordered & after - before


def references(shop: Shop, database: str) -> set[str]:
    """Of every order that one of the server's databases has."""
    return {
        reference
        for (reference,) in Database(shop.container("db"), "shop", database).rows("SELECT reference FROM tours_order")
    }


def test_with_a_guard_nginx_finds_a_container_that_comes_back_elsewhere(shop: Shop) -> None:
    assert healed_by_a_guard(shop, shop.version()) >= 0
