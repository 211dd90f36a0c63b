# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host a database belongs to: whose claim stands, whose does not, and when one is written."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.database_host import (
    Host,
    is_due,
    other_claim,
    refusal,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.host.database_host import (
    host_of,
    refuse_other_host,
)

HERE = Host("engine-1", "web-1", "travel")


def told(host: Host | None, database: str = "7/16384", now: str = "7/16384") -> dict[str, str]:
    detail = json.dumps({**asdict(host), "database": database}) if host else ""
    return {
        "identity": now,
        "name": "travel",
        "detail": detail,
        "release": "3f2c1ab" * 6,
        "changed": "2026-11-20T08:49:11Z",
    }


@pytest.mark.parametrize(
    ("host", "stands", "due"),
    [
        (None, False, True),
        (HERE, False, False),
        (Host("engine-1", "renamed", "travel"), False, True),
        (Host("engine-2", "web-1", "travel"), True, True),
        (Host("engine-1", "web-1", "trips"), True, True),
    ],
)
def test_only_another_engine_or_project_stands_in_the_way(host: Host | None, stands: bool, due: bool) -> None:
    assert (other_claim(told(host), HERE) is not None, is_due(told(host), HERE)) == (stands, due)


@pytest.mark.parametrize("copied", ["8/16384", "7/20000", "table 16500/16384"])
def test_a_restored_copy_is_nobodys_yet(copied: str) -> None:
    there = told(Host("engine-2", "web-2", "travel"), now=copied)
    assert other_claim(there, HERE) is None and is_due(there, HERE)
    assert is_due(told(HERE, now=copied), HERE)


def test_no_more_is_taken_over_than_what_is_named() -> None:
    there = told(Host("engine-2", "web-2", "travel"))
    assert other_claim(there, HERE, "web-2/travel") is None
    for other in ("web-2", "web-2/trips", "web-1/travel", "true"):
        assert other_claim(there, HERE, other) is not None


def test_a_refusal_names_the_other_host_and_what_to_run() -> None:
    claim = other_claim(told(Host("engine-2", "web-2", "travel")), HERE)
    assert claim
    what, advice = refusal(claim, HERE)
    assert "the database travel belongs to the project travel on web-2" in what
    assert "2026-11-20T08:49:11Z for 3f2c1ab3f2c1" in what
    assert "run it for web-2/travel" in advice and "-e app_database_take_over=web-2/travel" in advice


def test_an_engine_without_an_id_is_no_host_and_refuses_nothing() -> None:
    class Nameless:
        def info(self) -> dict[str, str]:
            return {"Name": "web-1"}

    engine: Any = Nameless()
    host = host_of(engine, "travel")
    assert host is None
    refuse_other_host(engine, host, [told(Host("engine-2", "web-2", "travel"))], "")
