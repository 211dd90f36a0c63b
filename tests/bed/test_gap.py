# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be done beside running code: requests wait for it, or get a page, and every failure brings all back."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.bed.load.process import LoadRun
from tests.bed.load.result import Result
from tests.bed.migrated_shop import commit, named, renamed, sleeping, sql
from tests.bed.nothing_lost import assert_nothing_lost, update_under_load
from tests.bed.running_update import Running
from tests.bed.shop import ROOT, Shop, deployed, run
from tests.bed.shop_snapshot import ids_of
from tests.bed.stacks import changed

FIRST = "0002_first_tours"
PAGE = "<h1>Back soon</h1>\n"
#: A version that boots, is healthy, and answers 500 to what users ask.
BAD = {"tours/catalogue.py": (ROOT / "demo/overlays/bad-500/tours/catalogue.py").read_text(encoding="utf-8")}


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop of its own at v2, and versions that need a gap: three seconds, a minute, and such as fail after it."""
    with deployed("gap", version="v2") as made:
        lossy = "migrations.RunSQL(\"UPDATE tours_order SET email = 'nobody@shop.example'\")"
        commit(made, "g-lossy", "v2", named("beats"), "0003_beats", FIRST, renamed("beats"), lossy, files=BAD)
        commit(made, "g-bad", "v2", named("beats"), "0003_beats", FIRST, renamed("beats"), files=BAD)
        commit(made, "g3", "v2", named("beats"), "0003_beats", FIRST, renamed("beats"), sleeping(3))
        page = {"maintenance.html": PAGE}
        commit(
            made, "g8", "g3", named("pulses"), "0004_pulses", "0003_beats", renamed("pulses"), sleeping(60), files=page
        )
        commit(made, "g9", "g8", named("ticks"), "0005_ticks", "0004_pulses", renamed("ticks"), sleeping(3))
        yield made


def tables(shop: Shop) -> set[str]:
    """Under which of its names the table is there."""
    names = "'tours_heartbeat', 'beats', 'pulses', 'ticks'"
    return set(sql(shop, f"SELECT relname FROM pg_class WHERE relname IN ({names})").split())


def rooms(shop: Shop) -> list[str]:
    label = f"label=evenkeel.waiting={shop.name}"
    return run(["docker", "ps", "--all", "--quiet", "--filter", label]).split()


def assert_nothing_left(shop: Shop) -> None:
    assert (shop.leftovers(), rooms(shop)) == ([], [])
    assert not list(shop.root.parent.glob("**/gap.json")) and not (shop.root / ".evenkeel/gap.json").exists()


def assert_page_at_most(shop: Shop, load: LoadRun, result: Result) -> None:
    """Nothing failed but for what got the page; what was acknowledged is there."""
    assert set(result.failed_by_kind) <= {"status_5xx"}, result.failed_by_kind
    assert {str(code) for code in result.status_codes} <= {"503"}, result.status_codes
    verdict = shop.settle_accounts(load, result)
    assert verdict.acknowledged > 0 and not (verdict.lost_rows or verdict.lost_tasks or verdict.double_rows), verdict


def test_a_version_that_fails_after_its_migration_goes_back_with_the_schema(shop: Shop) -> None:
    before = ids_of(shop)["api"]
    with shop.load() as load:
        play = shop.update("g-bad", update_allow_downtime=True)
        result = load.stop()
    assert play.returncode != 0 and "answered 500" in play.message, play.output[-6000:]
    assert (shop.version(), tables(shop), ids_of(shop)["api"]) == ("v2", {"tours_heartbeat"}, before)
    assert_nothing_left(shop)
    assert_page_at_most(shop, load, result)


def test_what_no_migration_takes_back_comes_from_the_backup_made_in_the_gap(shop: Shop) -> None:
    with shop.load() as load:
        play = shop.update(
            "g-lossy", update_allow_downtime=True, update_declared_phases={"tours.0003_beats:1": "before"}
        )
        result = load.stop()
    assert play.returncode != 0 and "answered 500" in play.message, play.output[-6000:]
    assert (shop.version(), tables(shop)) == ("v2", {"tours_heartbeat"})
    assert sql(shop, "SELECT count(*) FROM tours_order WHERE email = 'nobody@shop.example'") == "0"
    assert_nothing_left(shop)
    assert_page_at_most(shop, load, result)


def test_killed_on_its_way_back_the_same_command_ends_that_first(shop: Shop) -> None:
    before = ids_of(shop)["api"]
    with shop.load() as load:
        update = Running(shop, "g-bad", update_allow_downtime=True)
        update.until_event("goal undo")
        update.kill()
        for event in ("migrations reversed", "stop"):
            again = Running(shop, "g-bad", update_allow_downtime=True)
            again.until_event(event)
            again.kill()
        play = shop.update("g-bad", update_allow_downtime=True)
        result = load.stop()
    assert play.returncode != 0 and "was ended on its way back" in play.flat, play.output[-6000:]
    assert (shop.version(), tables(shop), ids_of(shop)["api"]) == ("v2", {"tours_heartbeat"}, before)
    assert_nothing_left(shop)
    assert_page_at_most(shop, load, result)


def test_killed_at_each_step_the_same_command_ends_it(shop: Shop) -> None:
    with shop.load() as load:
        for event in ("hold requests", "freeze", "migrations migrated", "start 1 x", "rotate api"):
            update = Running(shop, "g3", update_allow_downtime=True)
            update.until_event(event)
            update.kill()
        play = shop.update("g3", update_allow_downtime=True)
        result = load.stop()
    assert play.returncode == 0, play.output[-6000:]
    assert (shop.version(), tables(shop)) == ("g3", {"beats"})
    assert_nothing_left(shop)
    assert_page_at_most(shop, load, result)


def test_a_page_in_the_teams_own_words_comes_where_a_gap_is_long(shop: Shop) -> None:
    with shop.load(rate=40) as load:
        update = Running(shop, "g8", update_allow_downtime=True, app_hold_timeout="5s",
                         app_maintenance_page=str(ROOT / "tests/bed/test_gap.py"))  # fmt: skip
        update.until_event("migrations migrated")
        time.sleep(2)
        with pytest.raises(urllib.error.HTTPError) as met:
            urllib.request.urlopen(f"{shop.url}/api/tours/", timeout=10)
        play = update.end()
        result = load.stop()
    answer = met.value
    assert (answer.code, answer.headers["Cache-Control"]) == (503, "no-store")
    assert int(answer.headers["Retry-After"]) >= 1
    assert "in the teams own words" in answer.read().decode().replace("_", " ")
    assert play.returncode == 0, play.output[-6000:]
    assert shop.version() == "g8"
    assert_nothing_left(shop)
    assert_page_at_most(shop, load, result)
    print(f"\nevidence: a migration of 60 s: {result.failed_by_kind.get('status_5xx', 0)} of {result.total:,} requests got the page, "
          f"the others were answered")  # fmt: skip


def test_a_gap_loses_no_request(shop: Shop) -> None:
    update_under_load(
        shop, "g9", "a table gets another name, in a gap of 3 s and what it takes beside", update_allow_downtime=True
    )
    assert tables(shop) == {"ticks"}
    assert_nothing_left(shop)


def test_another_definition_of_the_database_loses_no_request(shop: Shop) -> None:
    tuned, before = changed(shop, "g9", ["tuned"]), ids_of(shop)
    with shop.load() as load:
        play = shop.update(tuned, update_allow_downtime=True)
        result = load.stop()
    assert play.returncode == 0, play.output[-6000:]
    after = ids_of(shop)
    assert {name for name in before if before[name] != after[name]} == {"db", "api", "celery", "celery-beat"}, (
        "no process goes on with a connection that it has lost"
    )
    assert "work_mem=8MB" in run(["docker", "inspect", "--format", "{{.Config.Cmd}}", shop.container("db")])
    assert_nothing_left(shop)
    assert_nothing_lost(shop, load, result)
    with shop.load() as load:
        # Longer than usual, since another bed may use the second processor; clients wait for 30 s.
        refused, back = shop.rollback(), shop.rollback(rollback_allow_downtime=True, app_hold_timeout="28s")
        result = load.stop()
    assert refused.returncode != 0 and "rollback_allow_downtime" in refused.flat, refused.output[-4000:]
    assert back.returncode == 0 and shop.version() == "g9", back.output[-6000:]
    assert ids_of(shop)["db"] != after["db"], "its definition is the one from before"
    assert_nothing_left(shop)
    assert_nothing_lost(shop, load, result)


def test_a_gap_that_nobody_has_allowed_is_refused(shop: Shop) -> None:
    before = ids_of(shop)
    for variables, words in (
        ({"update_strategy": "quick"}, "update_allow_downtime=true"),
        ({"update_strategy": "sudden"}, "one of: auto, rolling, canary, blue_green, quick"),
    ):
        play = shop.update("v2", **variables)
        assert play.returncode != 0 and words in play.flat, play.output[-3000:]
    assert ids_of(shop) == before
