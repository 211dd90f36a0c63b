# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of evidence is generated whole, and says of each section whether it is older than the code it is about."""

from __future__ import annotations

import subprocess

from tests.bed.evidence import CELLS, ROOMS, TITLES
from tests.bed.evidence_page import NOT_RUN, sections, written
from tests.bed.shop import ROOT

PAGE = ROOT / "docs/evidence.md"
HEAD = subprocess.run(
    ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.strip()


def measured(commit: str) -> str:
    return f"- 2026-11-25 03:00 UTC, commit {commit}, 2 cores\n- engine 26\n\n| a |\n|---|\n| 1 |"


def unmarked(page: str) -> str:
    return "\n".join(line for line in page.split("\n") if not line.startswith("- **stale**"))


def test_nothing_in_the_page_is_written_by_hand() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert unmarked(written(sections(page, TITLES), TITLES, ROOMS)) == unmarked(page)


def test_a_section_is_stale_when_its_rooms_have_changed_since() -> None:
    known = {"one": measured("0000000"), "two": measured(HEAD)}
    texts = written(known, TITLES, ROOMS)
    one, two = (texts.split(f"## {TITLES[name]}\n")[1].split("\n## ")[0] for name in ("one", "two"))
    assert "- **stale**: measured before rolling, traffic, nginx, engine, operation changed\n- engine 26" in one
    assert "stale" not in two
    assert f"## {TITLES['pairs']}\n\n{NOT_RUN}\n" in texts
    # Marked again it is the same: the mark is no part of what was measured.
    assert sections(texts, TITLES) == known and written(sections(texts, TITLES), TITLES, ROOMS) == texts


def test_each_section_names_rooms_that_there_are() -> None:
    rooms = {path.name for path in (ROOT / "plugins/module_utils").iterdir() if path.is_dir()}
    assert all(cell.rooms and set(cell.rooms) <= rooms for cell in CELLS.values())
