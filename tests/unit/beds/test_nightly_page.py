# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of what the nights judged: what is written is read again, what was not run or is older says so, and has its turn."""

from __future__ import annotations

import subprocess

from tests.bed.nightly import EDITED, ROOT, UNKNOWN, Row, chosen, page, rows_of

HEAD = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
FIRST = subprocess.run(
    ["git", "rev-list", "--max-parents=0", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()[0]
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
    text = page({NAMES[0]: Row(["9", "0", "345", "2026-11-23", FIRST], [])})
    assert "| ok, older |" in text


def test_a_row_of_code_that_was_in_no_commit_is_of_no_code_of_today() -> None:
    text = page({NAMES[0]: Row(["9", "0", "345", "2026-11-23", f"{HEAD}{EDITED}"], [])})
    assert "| ok, older |" in text


def row(seconds: int, date: str, commit: str, failed: int = 0) -> Row:
    return Row(["9", str(failed), str(seconds), date, commit], [])


NIGHT = {
    "new": row(100, "2026-11-20", HEAD),
    "old": row(100, "2026-11-22", FIRST),
    "oldest": row(400, "2026-11-21", FIRST),
    "failed": row(200, "2026-11-23", HEAD, failed=1),
    "never": Row([], []),
}


def test_what_failed_or_was_never_run_has_its_turn_first_then_older_code() -> None:
    turns = [
        set(chosen(NIGHT, seconds)) for seconds in (200, 200 + UNKNOWN, 600 + UNKNOWN, 700 + UNKNOWN, 800 + UNKNOWN)
    ]
    assert turns == [
        {"failed"}, {"failed", "never"}, {"failed", "never", "oldest"}, {"failed", "never", "oldest", "old"}, set(NIGHT)
    ]  # fmt: skip


def test_what_does_not_fit_is_passed_over_and_keeps_its_turn() -> None:
    assert set(chosen(NIGHT, 350 + UNKNOWN)) == {"failed", "never", "old"}


def test_the_longest_is_begun_first() -> None:
    assert chosen(NIGHT, 9999) == ["oldest", "never", "failed", "new", "old"]
