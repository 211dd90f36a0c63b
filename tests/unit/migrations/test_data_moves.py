# SPDX-License-Identifier: GPL-3.0-or-later
"""How a RunPython of which a phase is declared is run, or why it is not."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import data_moves
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.schema import Operation

SMALL, BIG = [("shop_item", 1000)], [("shop_item", 1000), ("shop_order", 10_000_000)]
LIMIT = 1_000_000


@pytest.mark.parametrize(
    ("batches", "atomic", "phase", "tables", "alone", "method", "why"),
    [
        (True, True, "between", BIG, False, "batches", ""),
        (True, True, "after", BIG, False, "batches", ""),
        (True, False, "before", BIG, False, "batches", ""),
        (True, True, "before", BIG, False, "", "shop_order"),
        (True, True, "before", SMALL, False, "", ""),
        (False, True, "between", SMALL, False, "", "has no batches"),
        (False, True, "between", SMALL, True, "", "has no batches"),
        (False, True, "before", SMALL, False, "", ""),
        (False, True, "before", BIG, False, "", "shop_order"),
        (False, False, "before", BIG, False, "", "shop_order"),
        (False, True, "after", BIG, False, "", "shop_order"),
        (False, True, "before", BIG, True, "", ""),
        (False, True, "before", [], False, "", ""),
    ],
)
def test_the_way(
    batches: bool, atomic: bool, phase: str, tables: list[tuple[str, int]], alone: bool, method: str, why: str
) -> None:
    operation = Operation(0, "Raw Python operation", opaque="python", batches=batches, atomic=atomic)
    way = data_moves.way_of(operation, phase, alone, tables, LIMIT)
    assert way.method == method
    assert (why in way.reason and bool(way.safe_way)) if why else way.reason == ""


def test_sql_is_its_authors() -> None:
    operation = Operation(0, "Raw SQL operation", opaque="sql")
    assert data_moves.way_of(operation, "before", False, BIG, LIMIT).reason == ""
    assert "has no batches" in data_moves.way_of(operation, "between", False, BIG, LIMIT).reason
