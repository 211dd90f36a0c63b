# SPDX-License-Identifier: GPL-3.0-or-later
"""What of Django's own checks stops an update, what is only shown, and the words for it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.django import checks as decide

BOTH = (decide.DEPLOY, decide.MIGRATIONS)


def message(level: int, id: str = "shop.W001", silenced: bool = False, **more: str) -> dict[str, Any]:
    known = {"message": f"level  {level}", "hint": "", "object": ""}
    return {"id": id, "level": level, "silenced": silenced, **known, **more}


def missing(app: str, *operations: str, own: bool = True) -> dict[str, Any]:
    return {"app": app, "operations": list(operations or ("Add field a to b",)), "own": own}


@pytest.mark.parametrize(
    ("level", "word", "stops"),
    [(10, "debug", False), (20, "info", False), (30, "warning", False), (35, "warning", False), (40, "error", True),
     (45, "error", True), (50, "critical", True)],
)  # fmt: skip
def test_errors_stop_and_what_is_less_is_shown(level: int, word: str, stops: bool) -> None:
    verdict = decide.verdict_of({"messages": [message(level)]})
    assert verdict.stops is stops
    (shown,) = verdict.result()["check_errors" if stops else "check_warnings"]
    assert (shown["level"], shown["message"]) == (word, f"level {level}")
    assert not decide.verdict_of({"messages": [message(level, silenced=True)]}).result()["check_warnings"]
    assert not decide.verdict_of({"messages": [message(level, silenced=True)]}).stops


def test_own_apps_stop_and_those_of_others_are_noted() -> None:
    told = {"missing": [missing("shop"), missing("oauth", "Alter field id on token", own=False)]}
    verdict = decide.verdict_of(told)
    assert verdict.stops and verdict.result()["missing_migrations"] == [
        {"app": "shop", "operations": ["Add field a to b"]}
    ]
    assert len(verdict.notes) == 1 and "oauth (Alter field id on token)" in verdict.notes[0]
    assert not decide.verdict_of({"missing": told["missing"][1:]}).stops


def test_all_that_stops_is_told_at_once_with_what_to_do() -> None:
    told = {
        "messages": [message(40, f"shop.E00{n}", hint="set it", object="shop.Item") for n in range(7)],
        "missing": [missing("shop", *[f"Add field {n}" for n in range(8)]), missing("log")],
    }
    what, then = decide.verdict_of(told).refusal("api", "manage.py")
    assert "shop.Item: level 40 (shop.E000); set it" in what and "and 2 more" in what and "E005" not in what
    assert (
        "shop (Add field 0, Add field 1, Add field 2, Add field 3, Add field 4, and 3 more); log (Add field a to b)"
        in what
    )
    assert "manage.py makemigrations shop log" in then and "leave deploy and migrations out of checks" in then
    what, then = decide.verdict_of({"conflicts": ["0002_a, 0002_b in shop"]}).refusal("api", "app/manage.py")
    assert "0002_a, 0002_b in shop" in what and "app/manage.py makemigrations --merge" in then
    assert "leave migrations out" in then


def test_a_sentence_where_nothing_stops() -> None:
    verdict = decide.verdict_of({"messages": [message(30), message(20)]})
    assert (
        verdict.sentence(BOTH)
        == "Django's checks find no error and warn of 2; every change of a model has its migration"
    )
    assert decide.Verdict().sentence((decide.DEPLOY,)) == "Django's checks find no error"
    assert decide.Verdict().sentence(()) == "nothing was asked of Django's checks"
