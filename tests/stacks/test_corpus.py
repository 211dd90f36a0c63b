# SPDX-License-Identifier: GPL-3.0-or-later
"""Stacks as other people have them: what is made of each service, and that no mistake lets two run that must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stacks.corpus import SEEN, UNSEEN, stacks

PARTS = pytest.mark.parametrize("part", [SEEN, UNSEEN], ids=["seen", "unseen"])


@PARTS
@pytest.mark.parametrize(("running", "least"), [(False, 0.95), (True, 0.98)], ids=["by their files", "where they run"])
def test_kinds_are_right(part: Path, running: bool, least: float) -> None:
    wrong = [line for stack in stacks(part) for line in stack.wrong(running)]
    every = sum(len(stack.project["services"]) for stack in stacks(part))
    share = 1 - len(wrong) / every
    print(f"{part.name}: {share:.1%} of {every}")
    assert share >= least, f"{share:.1%}: {_told(part, wrong)}"


@PARTS
def test_nothing_is_doubled_in_silence_that_must_not_be(part: Path) -> None:
    assert _told(part, [line for stack in stacks(part) for line in stack.spoiled()]) in ([], 0)


@PARTS
def test_no_release_replaces_data_that_lies_in_the_checkout(part: Path) -> None:
    lost = [line for stack in stacks(part) for line in stack.lost()]
    assert _told(part, lost) in ([], 0)


def _told(part: Path, lines: list[str]) -> list[str] | int:
    """What is wrong of the seen part, of the other only how much."""
    return lines if part == SEEN else len(lines)


@PARTS
def test_every_service_has_its_line_in_the_table(part: Path) -> None:
    for stack in stacks(part):
        for section in ("services", "images", "running"):
            assert set(stack.expected[section]) == set(stack.project["services"]), f"{stack.folder.name}: {section}"
