# SPDX-License-Identifier: GPL-3.0-or-later
"""What older code is told of the database: from what was decided of each operation, and whether it was run."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations import schema_compatibility

MINE = [["shop", "0002_x"]]


def rows(*actions: dict[str, Any], states: dict[int, str] | None = None) -> list[dict[str, Any]]:
    """The row of a migration with these operations, and of those that have one of their own."""
    words = [f"Operation {index}" for index in range(len(actions))]
    detail = {"operations": words, "actions": list(actions)}
    found = [{"app": "shop", "name": "0002_x", "index": -1, "state": "settled", "detail": detail}]
    for index, state in (states or {}).items():
        found.append({"app": "shop", "name": "0002_x", "index": index, "state": state, "detail": actions[index]})
    return found


def action(phase: str, **more: Any) -> dict[str, Any]:
    return {"action": "defer" if phase == "after" else "now", "phase": phase, "reversible": True, **more}


@pytest.mark.parametrize(
    ("actions", "states", "verdict"),
    [
        ([action("before")], {}, "code only"),
        ([action("either"), action("between")], {}, "code only"),
        ([action("before"), action("after")], {1: "deferred"}, "abandon"),
        ([action("after")], {0: "abandoned"}, "abandon"),
        ([action("between")], {0: "deferred"}, "abandon"),
        ([action("after")], {0: "done"}, "reverse"),
        ([action("after")], {0: "settled"}, "reverse"),
        ([action("after")], {}, "reverse"),
        ([action("after", reversible=False)], {0: "done"}, "restore"),
        ([action("after", drops_data=True)], {0: "settled"}, "restore"),
        ([action("after", drops_data=True)], {0: "deferred"}, "abandon"),
        ([action("downtime")], {}, "reverse"),
        ([action("downtime", drops_data=True)], {}, "restore"),
        ([action("")], {}, "unknown"),
        ([action("after"), action("after", drops_data=True)], {0: "deferred", 1: "done"}, "restore"),
        # One whose run has begun is run.
        ([action("after")], {0: "begun"}, "reverse"),
        ([action("after")], {0: "between"}, "reverse"),
        ([], {}, "code only"),
    ],
)
def test_what_was_run_decides(actions: list[dict[str, Any]], states: dict[int, str], verdict: str) -> None:
    (found,) = schema_compatibility.behind(MINE, rows(*actions, states=states), "default")
    assert (found.verdict, schema_compatibility.overall([found])) == (verdict, verdict)
    if verdict not in ("code only", "abandon"):
        assert "shop.0002_x" in schema_compatibility.sentence([found]) and "Operation" in found.reason


def test_nobody_is_led_back_to_code_that_needs_something_of_the_database_first() -> None:
    assert set(schema_compatibility.VERDICTS) - set(schema_compatibility.REFUSED) == {
        schema_compatibility.CODE_ONLY,
        schema_compatibility.ABANDON,
    }


def test_what_somebody_else_ran_is_not_guessed_and_the_worst_counts() -> None:
    found = schema_compatibility.behind([*MINE, ["shop", "0003_y"]], rows(action("before")), "default")
    assert [b.verdict for b in found] == ["code only", "unknown"]
    assert schema_compatibility.overall(
        found
    ) == "unknown" and "cannot be told: shop.0003_y" in schema_compatibility.sentence(found)
    assert schema_compatibility.overall([]) == "code only" and "needs nothing" in schema_compatibility.sentence([])


def test_what_fails_with_rows_of_the_newer_code_is_said_beside_it() -> None:
    warned = action("before", beware="deletes in place fail")
    (found,) = schema_compatibility.behind(MINE, rows(warned, warned, action("before")), "default")
    assert (found.verdict, found.beware) == ("code only", "deletes in place fail")
    assert "beware: deletes in place fail" in schema_compatibility.sentence([found])
    # What was not run is nobody's harm, and whoever cannot come back is told the one thing.
    (found,) = schema_compatibility.behind(MINE, rows(warned, states={0: "deferred"}), "default")
    assert found.beware == "" and "beware" not in schema_compatibility.sentence([found])
    (found,) = schema_compatibility.behind(MINE, rows(warned, action("after")), "default")
    assert "beware" not in schema_compatibility.sentence([found])
