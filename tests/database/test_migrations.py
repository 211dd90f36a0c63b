# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of the truth table on a real PostgreSQL: what the module calls safe is safe.  ``make evidence`` runs them all."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import phases as decide
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.rules import Effect, World
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.schema import database_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.schema_changes import Change
from tests.database.migrations.truth import measured, row_of
from tests.database.migrations.versions import django_python

# What takes half a minute to measure is measured by one worker.
pytestmark = pytest.mark.xdist_group("database/test_migrations")

BREAKING = [
    "table added", "table removed", "table renamed", "column added", "column removed", "column renamed", "column altered",
    "unique added", "unique removed", "check added", "check removed", "index added",
]  # fmt: skip


@pytest.fixture(scope="module")
def found(address: str) -> list[dict[str, Any]]:
    """What was measured of the quick cases."""
    return measured(django_python("5.2"), address, "--quick")


def test_what_is_called_safe_is_safe(found: list[dict[str, Any]]) -> None:
    assert [t["case"] for t in found if "harness" in t] == []
    rows = [row_of(t) for t in found]
    assert len(rows) >= 35
    assert {r.case: r.unsafe for r in rows if r.unsafe} == {}
    assert {r.case: r.strict for r in rows if r.strict} == {}
    # Nothing is legal where nothing is tried: each version has dozens of things that it does at home.
    assert min(min(t["legal"]) for t in found if "legal" in t) > 25


@pytest.mark.parametrize("kind", BREAKING)
def test_a_rule_that_sees_no_harm_is_noticed(
    found: list[dict[str, Any]], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = decide.effect_of

    def blind(change: Change, world: World) -> Effect:
        return Effect() if change.kind == kind else seen(change, world)

    monkeypatch.setattr(decide, "effect_of", blind)
    rows = []
    for told in found:
        decided = decide.judge(database_of({**told["told"], "applied": 1}), {})
        rows.append(row_of({**told, "decided": decide.as_dicts(decided)}))
    assert [r.case for r in rows if r.unsafe]
