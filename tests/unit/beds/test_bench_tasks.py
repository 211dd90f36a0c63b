# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bench reads from a playbook's JSON: tasks, steps of the roll, and what is overhead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bed.tasks import BUILD, read_run


def _task(name: str, start: str, end: str, **result: Any) -> dict[str, Any]:
    duration = {"start": f"2026-01-05T09:00:{start}Z", "end": f"2026-01-05T09:00:{end}Z"}
    return {"task": {"name": name, "duration": duration}, "hosts": {"shop": result}}


def _output(*tasks: dict[str, Any]) -> str:
    return "[WARNING]: something\n" + json.dumps({"plays": [{"tasks": list(tasks)}], "stats": {}}) + "\n"


STEPS = [
    {"step": "start", "service": "api", "seconds": 0.5},
    {"step": "awaitready", "service": "api", "seconds": 1.25},
]


def test_overhead_is_all_but_the_build_and_the_steps() -> None:
    run = read_run(
        _output(
            _task("evenkeel.deploy.update : Build", "00.000", "04.000", action=BUILD),
            _task(
                "evenkeel.deploy.update : Roll",
                "04.000",
                "06.500",
                action="evenkeel.deploy.compose_rolling",
                timeline=STEPS,
            ),
            _task(
                "evenkeel.deploy.update : Plan",
                "06.500",
                "06.600",
                action="evenkeel.deploy.django_migrate",
                timeline=STEPS[:1],
            ),
            _task("evenkeel.deploy.verify : Ask", "06.600", "07.100", action="ansible.builtin.uri"),
        ),
        8.0,
    )
    assert run.roll == pytest.approx(1.75)
    assert [(name, round(seconds, 3)) for name, seconds in run.overhead] == [
        ("ansible itself, before, between and after tasks", 0.9),
        ("around the steps of: update : Roll", 0.75),
        ("verify : Ask", 0.5),
        ("update : Plan", 0.1),
        ("update : Build", 0.0),
    ]


def test_the_list_names_the_sum_and_the_largest_and_what_a_module_told_of_itself() -> None:
    told = [{"step": "look", "seconds": 0.5}, {"step": "check", "service": "", "seconds": 1.2}]
    text = read_run(
        _output(_task("a", "00.000", "02.000", timeline=told), _task("b", "02.000", "02.050")), 2.05
    ).overhead_text()
    assert text.splitlines() == [
        "2.0 s, beyond roll and build 2.0 s; the largest: a",
        "    2.00 s  a: look 0.50, check 1.20",
        "    0.05 s  2 of less than 0.1 s each",
    ]


@pytest.mark.parametrize("output", ["", "ERROR! no inventory", '{"plays": ', '{"stats": {}}'])
def test_what_is_no_run_has_no_tasks(output: str) -> None:
    run = read_run(output, 0.4)
    assert run.tasks == ()
    assert run.overhead == [("ansible itself, before, between and after tasks", 0.4)]
