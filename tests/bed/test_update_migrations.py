# SPDX-License-Identifier: GPL-3.0-or-later
"""Updates whose migrations change the table that orders are written to, under load: nothing lost, nothing dropped early."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.bed.migrated_shop import columns, commit_versions, fill, sql
from tests.bed.nothing_lost import assert_nothing_lost, update_under_load
from tests.bed.shop import LABEL, Shop, run

AT_FIRST = ["created_at", "email", "id", "note", "reference", "tour_id"]


@pytest.fixture(scope="module")
def migrated() -> Iterator[Shop]:
    """A shop of its own at m1, with a table that is too big to be locked for as long as its index is built."""
    made = Shop("migrations")
    made.destroy()
    try:
        made.create()
        commit_versions(made)
        first = made.update("m1")
        assert first.returncode == 0, first.output[-6000:]
        assert sql(made, "SELECT count(*) FROM evenkeel_migrations WHERE state <> 'settled'") == "0"
        fill(made, 1_000_000)
        yield made
    finally:
        made.destroy()


def test_a_column_goes_one_comes_and_an_index_is_built_while_orders_are_written(migrated: Shop) -> None:
    play = update_under_load(migrated, "m2")
    assert columns(migrated) == sorted([*AT_FIRST, "channel"])
    assert "going back needs no reversal" in play.output
    index = "SELECT indisvalid FROM pg_index i JOIN pg_class c ON c.oid = indexrelid WHERE relname LIKE 'tours_order_email%'"
    assert set(sql(migrated, index).split()) == {"t"}
    # A second run has nothing to do.
    again = migrated.update("m2")
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]


def test_going_back_reverses_nothing_and_another_update_drops_nothing_that_is_used(migrated: Shop) -> None:
    update_under_load(migrated, "m1")
    assert columns(migrated) == sorted([*AT_FIRST, "channel"])
    # By name it may be dropped, but it is used.
    update_under_load(migrated, "v3", update_allow_data_loss=["tours.0004_channel"])
    assert "note" in columns(migrated)
    looked = migrated.update("m2", "--check", update_allow_data_loss=["tours.0004_channel"])
    assert looked.returncode == 0 and migrated.version() == "v3", looked.output[-4000:]
    update_under_load(migrated, "m2", update_allow_data_loss=["tours.0004_channel"])
    assert "note" in columns(migrated)
    # By name, and nothing that runs needs it: but the version that comes does.
    update_under_load(migrated, "m1", update_allow_data_loss=["tours.0004_channel"])
    assert "note" in columns(migrated)
    update_under_load(migrated, "m2")


def test_the_next_update_drops_what_nobody_uses_any_more_if_it_is_named(migrated: Shop) -> None:
    unnamed = update_under_load(migrated, "m3", "code alone")
    assert "note" in columns(migrated) and "allow_data_loss" in unnamed.output
    with migrated.load() as load, ThreadPoolExecutor(1) as beside:
        running = beside.submit(migrated.update, "m4", update_allow_data_loss=["tours.0004_channel"])
        while migrated.version() != "m4":
            assert not running.done(), running.result().output[-4000:]
            time.sleep(0.2)
        # The column is there and the new version serves: what comes next are rows.
        with held(migrated, "SELECT 1 FROM tours_order WHERE id = 500000 FOR UPDATE"):
            play = running.result()
        result = load.stop()
    assert play.returncode != 0 and "nightly-report" in play.message, play.output[-4000:]
    assert migrated.version() == "m4" and "note" not in columns(migrated) and migrated.leftovers() == []
    assert_nothing_lost(migrated, load, result)
    assert sql(migrated, "SELECT count(*) FROM tours_order WHERE contact IS NULL") != "0"
    update_under_load(
        migrated,
        "m4",
        "rows of years are copied in batches by the same command again",
        update_allow_data_loss=["tours.0004_channel"],
    )
    assert sql(migrated, "SELECT count(*) FROM tours_order WHERE contact IS NULL OR contact <> email") == "0"
    assert sql(migrated, "SELECT count(*) FROM evenkeel_migrations WHERE name = '0006_copy' AND op_index = 0 "
               "AND state IN ('done', 'settled')") == "1"  # fmt: skip


@contextmanager
def held(shop: Shop, statement: str) -> Iterator[None]:
    """Somebody's transaction that keeps the locks of a statement."""
    words = ["docker", "exec", "-e", "PGAPPNAME=nightly-report", shop.container("db"), "psql", "-U", "shop", "shop"]
    with subprocess.Popen([*words, "-c", f"BEGIN; {statement}; SELECT pg_sleep(300)"]) as process:
        try:
            yield
        finally:
            sql(
                shop, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'nightly-report'"
            )
            process.wait(20)


def not_null(shop: Shop, column: str) -> bool:
    found = sql(shop, "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'tours_order'::regclass "
                f"AND attname = '{column}'")  # fmt: skip
    return found == "t"


def test_not_null_and_the_rest_of_the_new_name_come_when_nobody_is_left_who_does_not_know_them(migrated: Shop) -> None:
    update_under_load(migrated, "m5", "a channel is asked of each order (waits)")
    assert not not_null(migrated, "channel")
    update_under_load(
        migrated, "m6", "NOT NULL with a default, rows of years filled; the old name is not used any more"
    )
    assert not_null(migrated, "channel") and not not_null(migrated, "contact")
    assert sql(migrated, "SELECT count(*) FROM tours_order WHERE channel = 'web'") != "0"
    # Of one that is in the middle nothing is missing: the one before goes on with what the new one writes.
    update_under_load(migrated, "m5", "back to the version that writes both names")
    update_under_load(migrated, "m6", "and on again")
    assert "email" in columns(migrated)
    update_under_load(
        migrated, "m7", "the old name is dropped, the new one NOT NULL", update_allow_data_loss=["tours.0008_contact"]
    )
    assert "email" not in columns(migrated) and not_null(migrated, "contact")
    assert sql(migrated, "SELECT count(*) FROM tours_order WHERE contact IS NULL") == "0"


def test_a_lock_that_is_never_given_leaves_the_version_before_serving(migrated: Shop) -> None:
    version = migrated.version()
    with held(migrated, "LOCK TABLE django_migrations IN SHARE MODE"), migrated.load() as load:
        play = migrated.update("m8")
        result = load.stop()
    assert play.returncode != 0 and "nightly-report (pid" in play.message, play.output[-4000:]
    assert migrated.version() == version
    assert_nothing_lost(migrated, load, result)


def test_what_plain_migrate_costs_in_comparison(migrated: Shop) -> None:
    """The same migrations as Django runs them, beside the code from before."""
    other = Shop("plain-migrate")
    other.destroy()
    try:
        other.create()
        commit_versions(other)
        assert other.update("m1").returncode == 0
        fill(other, 1_000_000)
        image = f"{migrated.name}-api"
        tags = run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", image]).split()
        newest = tags[0]
        network = f"{other.name}_default"
        with other.load() as load:
            env = other.root / "shared/.env"
            run(["docker", "run", "--rm", "--network", network, "--env-file", str(env), "--label", f"{LABEL}={other.name}",
                 "--entrypoint", "python", newest, "manage.py", "migrate", "tours", "0004"])  # fmt: skip
            result = load.stop()
        print(f"\nevidence: the first of these by plain migrate: {result.failed:,} of {result.total:,} failed")
        assert result.failed > 0
    finally:
        other.destroy()
