# SPDX-License-Identifier: GPL-3.0-or-later
"""Updates that plain ``migrate`` takes downtime for, under load on a table of a million rows: a default, a rename, a removal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bed.migrated_shop import columns, commit, fill, models_of, renamed_forms, sql
from tests.bed.nothing_lost import update_under_load
from tests.bed.shop import LABEL, Shop, deployed, run

SOURCE = '    source = models.CharField(max_length=20, default="web")\n'
CONTACT = "    contact = models.EmailField()\n"
AT_FIRST = ["created_at", "email", "id", "reference", "tour_id"]
#: Requests a second; an order is one of five.
RATE = 100.0
ADDED = 'migrations.AddField("order", "source", models.CharField(default="web", max_length=20))'
RENAMED = 'migrations.RenameField("order", "email", "contact")'
ROWS = 1_000_000


def commit_versions(shop: Shop) -> None:
    """b1 has a source of each order, NOT NULL; b2 knows the address by another name; b3 has no source; b4 is code alone.

    p1 and p2 are v2 with the first and the second of these.
    """
    forms = renamed_forms()
    commit(shop, "b1", "v2", models_of(SOURCE), "0003_source", "0002_first_tours", ADDED)
    commit(shop, "b2", "b1", models_of(SOURCE + CONTACT, ""), "0004_contact", "0003_source", RENAMED, files=forms)
    commit(shop, "b3", "b2", models_of(CONTACT, ""), "0005_source", "0004_contact",
           'migrations.RemoveField("order", "source")', files=forms)  # fmt: skip
    commit(shop, "b4", "b3", models_of(CONTACT, ""), files=forms)
    commit(shop, "p2", "v2", models_of(CONTACT, ""), "0003_contact", "0002_first_tours", RENAMED, files=forms)


@pytest.fixture(scope="module")
def bridged() -> Iterator[Shop]:
    """A shop of its own at v2, with orders of years."""
    with deployed("bridges", version="v2") as made:
        commit_versions(made)
        fill(made, ROWS)
        yield made


def bridges(shop: Shop) -> str:
    """The kinds of bridges that stand."""
    states = "('bridged', 'deferred', 'rising')"
    return sql(
        shop, f"SELECT string_agg(detail::json->>'bridge', ' ') FROM evenkeel_migrations WHERE state IN {states}"
    )


def test_a_field_with_a_default_comes(bridged: Shop) -> None:
    update_under_load(bridged, "b1", "AddField NOT NULL with a default", RATE)
    assert bridges(bridged) == "keep_default"
    assert sql(bridged, "SELECT count(*) FROM tours_order WHERE source <> 'web'") == "0"
    again = bridged.update("b1")
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]


def test_a_field_gets_another_name_that_every_order_is_written_with(bridged: Shop) -> None:
    update_under_load(bridged, "b2", f"RenameField, {ROWS:,} rows copied", RATE)
    # The default of the version before was taken down first: nothing runs any more that needs it.
    assert bridges(bridged) == "mirror_column"
    assert "source" in columns(bridged) and sql(
        bridged, "SELECT count(*) FROM tours_order WHERE email IS DISTINCT FROM contact"
    ) == "0"  # fmt: skip
    update_under_load(bridged, "b1", "back to the name of before", RATE)
    assert sql(bridged, "SELECT count(*) FROM tours_order WHERE email IS DISTINCT FROM contact") == "0"
    update_under_load(bridged, "b2", "and on again", RATE)


def test_a_field_goes_that_is_not_null(bridged: Shop) -> None:
    update_under_load(bridged, "b3", "RemoveField NOT NULL, and RENAME COLUMN of the version before", RATE)
    assert bridges(bridged) == "set_default" and "email" not in columns(bridged)
    allowed = {"update_allow_data_loss": ["tours.0005_source"]}
    update_under_load(bridged, "b4", "code alone, the column of the version before is dropped", RATE, **allowed)
    assert bridges(bridged) == ""
    assert columns(bridged) == sorted({*AT_FIRST, "contact"} - {"email"})
    left = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'tours_order'::regclass AND NOT tgisinternal"
    assert sql(bridged, left) == "0"


def image_of(shop: Shop, version: str) -> str:
    """The id of the image of a version that was deployed."""
    commit_id = run(["git", "--git-dir", str(shop.repository), "rev-parse", version]).strip()
    label = f"label=org.opencontainers.image.revision={commit_id}"
    return run(["docker", "images", "-q", "--no-trunc", "--filter", label, f"{shop.name}-api"]).split()[0]


def migrate(shop: Shop, image: str, migration: str) -> None:
    """Plain ``migrate`` of the image of a version, as an entrypoint or a script runs it."""
    env, network = shop.root / "shared/.env", f"{shop.name}_default"
    run(["docker", "run", "--rm", "--network", network, "--env-file", str(env), "--label", f"{LABEL}={shop.name}",
         "--entrypoint", "python", image, "manage.py", "migrate", "tours", migration])  # fmt: skip


def test_what_plain_migrate_costs_in_comparison(bridged: Shop) -> None:
    """The same migrations as Django runs them, beside the code from before, for half a minute: as long as a roll takes."""
    other = Shop("plain-bridges")
    other.destroy()
    try:
        other.create()
        commit_versions(other)
        for serves, version, migration, what in (
            ("v2", "b1", "0003", "AddField NOT NULL with a default"), ("b1", "b2", "0004", "RenameField"),
            ("b2", "b3", "0005", "RemoveField NOT NULL"),
        ):  # fmt: skip
            assert other.update(serves).returncode == 0
            image = image_of(bridged, version)
            with other.load(rate=RATE, seconds=30) as load:
                migrate(other, image, migration)
                result = load.result()
            print(f"\nevidence: {what} by plain migrate: {result.failed:,} of {result.total:,} failed in 30 s")
            assert result.failed > 0
    finally:
        other.destroy()
