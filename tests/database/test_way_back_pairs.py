# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on the way back held against what the older code then does.  ``make evidence`` runs all of the pairs."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import schema_compatibility
from tests.database.migrations.truth import measured
from tests.database.migrations.verdicts import pairs_in
from tests.database.migrations.versions import django_python

# What takes a quarter of a minute to measure is measured by one worker.
pytestmark = pytest.mark.xdist_group("database/test_way_back_pairs")

QUICK = (
    "AddField null=True",
    "AddField with a default",
    "AddField ManyToManyField",
    "RemoveField NOT NULL",
    "AlterField varchar(50) to varchar(100)",
    "AddConstraint check",
)


@pytest.fixture(scope="module")
def found(address: str) -> list[dict[str, Any]]:
    """What was measured of the quick pairs."""
    return measured(django_python("5.2"), address, *QUICK, script="pairs.py")


def test_what_may_come_back_works(found: list[dict[str, Any]]) -> None:
    pairs = pairs_in(found)
    assert len(pairs) >= 15
    assert [(p.case, p.how, p.unsafe) for p in pairs if p.unsafe] == []
    # Of what is known there is each verdict, and nothing is legal where nothing is tried.
    assert {p.verdict for p in pairs} == set(schema_compatibility.VERDICTS)
    assert min(p.legal for p in pairs) > 25
    # What was run by hand nobody judges; of the rest nothing that works is forbidden but what would lose rows.
    assert {(p.case, p.verdict) for p in pairs if p.strict and p.how != "by hand"} == set()
    print(f"\nevidence: {len(pairs)} pairs, {sum(p.legal for p in pairs):,} actions of older code")


@pytest.mark.parametrize("verdict", ["reverse", "restore"])
def test_a_verdict_that_sees_no_harm_is_noticed(found: list[dict[str, Any]], verdict: str) -> None:
    blind = [{**told, "verdict": "code only"} if told.get("verdict") == verdict else told for told in found]
    assert [p for p in pairs_in(blind) if p.unsafe]
    # So is one that says nothing of rows that the newer code has written.
    assert [p for p in pairs_in([{**told, "beware": []} for told in found]) if p.unsafe]
