# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of what the nights judged: what is written is read again, and what was not run or is older says so."""

from __future__ import annotations

import subprocess

from tests.bed.nightly import ROOT, Row, page, rows_of

HEAD = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
RUN = Row(["9", "0", "345", "2026-11-23", HEAD], ["0 failed | of 6,065", "back: 1.5 s"])
FAILED = Row(["8", "1", "12", "2026-11-23", HEAD], [])
NAMES = ("tests/bed/test_adopt.py", "tests/bed/test_kills.py", "tests/bed/test_lock.py")


def test_what_is_written_is_read_again() -> None:
    rows = dict(zip(NAMES, (RUN, FAILED, Row([], []))))
    assert rows_of(page(rows)) == rows


def test_each_row_says_how_it_ended() -> None:
    lines = page(dict(zip(NAMES, (RUN, FAILED, Row([], []))))).splitlines()
    ends = [next(line for line in lines if line.startswith(f"| `{name}`")).split(" | ")[-1] for name in NAMES]
    assert ends == ["ok |", "**not ok** |", "not run |"]


def test_a_row_of_code_that_has_changed_since_says_so() -> None:
    first = subprocess.run(
        ["git", "rev-list", "--max-parents=0", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()[0]
    text = page({NAMES[0]: Row(["9", "0", "345", "2026-11-23", first], [])})
    assert "| ok, older |" in text
