# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``make test`` leaves to the evidence is run by it: each bed that has something marked so is in a cell."""

from __future__ import annotations

from pathlib import Path

BEDS = Path(__file__).parents[1] / "bed"


def test_every_bed_with_something_long_is_in_a_cell() -> None:
    cells = (BEDS / "evidence.py").read_text(encoding="utf-8")
    long = [p for p in sorted(BEDS.glob("test_*.py")) if "mark.matrix" in p.read_text(encoding="utf-8")]
    assert len(long) > 20
    assert [p.name for p in long if f"{p.stem}.py" not in cells and f'"{p.stem}"' not in cells] == []
