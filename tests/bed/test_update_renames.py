# SPDX-License-Identifier: GPL-3.0-or-later
"""A table gets another name, which neither code survives: refused, in a gap, and with both names where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.bridges import KINDS
from tests.bed.migrated_shop import columns, commit, named, renamed, sql
from tests.bed.nothing_lost import assert_nothing_lost, update_under_load
from tests.bed.shop import Shop, deployed
from tests.bed.shop_snapshot import ids_of

FIRST = "0002_first_tours"


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop of its own at v2; r-bad and r1 rename a table, of which r-bad fails then, r2 again, and r3 is code alone."""
    with deployed("renames", version="v2") as made:
        fails = "migrations.RunPython(lambda apps, schema_editor: 1 / 0)"
        commit(made, "r-bad", "v2", named("beats"), "0003_beats", FIRST, renamed("beats"), fails)
        commit(made, "r1", "v2", named("beats"), "0003_beats", FIRST, renamed("beats"))
        commit(made, "r2", "r1", named("pulses"), "0004_pulses", "0003_beats", renamed("pulses"))
        commit(made, "r3", "r2", named("pulses"))
        yield made


def test_what_needs_a_gap_is_refused_where_the_answer_of_a_survey_was_no(shop: Shop) -> None:
    before = columns(shop)
    with shop.load() as load:
        play = shop.update("r1", update_allow_downtime="false")
        result = load.stop()
    assert play.returncode != 0 and "update_allow_downtime" in play.message, play.output[-4000:]
    assert (shop.version(), columns(shop)) == ("v2", before)
    assert_nothing_lost(shop, load, result)


def test_where_a_gap_is_allowed_requests_wait_for_it_and_go_back_to_the_same_containers_if_it_fails(shop: Shop) -> None:
    before = ids_of(shop)["api"]
    with shop.load() as load:
        # The way back is part of it: on a machine that is busy longer than requests wait by default, and no client waits for more.
        play = shop.update("r-bad", update_allow_downtime=True, app_hold_timeout="28s")
        result = load.stop()
    assert play.returncode != 0 and "division by zero" in play.message, play.output[-4000:]
    assert (shop.version(), shop.leftovers(), ids_of(shop)["api"]) == ("v2", [], before)
    assert_nothing_lost(shop, load, result)
    with shop.load() as load:
        good = shop.update("r1", update_allow_downtime=True)
        result = load.stop()
    assert good.returncode == 0, good.output[-6000:]
    assert shop.version() == "r1" and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
    assert "requests waited" in good.output, good.output[-3000:]
    print(f"\nevidence: a table gets another name, in a gap: 0 of {result.total:,} requests failed, "
          f"{result.longest_app_gap_ms / 1000:.1f} s without an answer of the application")  # fmt: skip


def test_a_table_has_two_names_beside_both_codes_where_that_is_asked_for(shop: Shop) -> None:
    kind = "SELECT relname, relkind FROM pg_class WHERE relname IN ('beats', 'pulses') ORDER BY 1"
    for version, what, found in (
        ("r2", "a table gets another name, and has two", "beats|r\npulses|p"),
        ("r1", "back to the version that knows the old one", None),
        ("r2", "and on again", "beats|r\npulses|p"),
        ("r3", "the old name is gone", "pulses|r"),
    ):
        update_under_load(shop, version, what, update_bridges=[*KINDS])
        assert found is None or sql(shop, kind) == found
