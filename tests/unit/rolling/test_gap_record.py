# SPDX-License-Identifier: GPL-3.0-or-later
"""What was begun in a gap is known until the gap is over, whoever was killed in it."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host import gap_record


def test_calls_add_to_it_and_its_end_forgets_it(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    assert gap_record.read(state) == {}
    gap_record.add(state, {})
    assert gap_record.read(state) == {"migrations": [], "stores": [], "backups": []}, (
        "an open gap, though it is about nothing"
    )
    gap_record.add(state, {"migrations": ["tours.0003_beats"], "stores": ["db"]})
    dump = {"database": "", "file": "shop.dump"}
    whole = gap_record.add(state, {"migrations": ["tours.0003_beats", "tours.0004_pulses"], "backups": [dump]})
    assert whole == gap_record.read(state) == {
        "migrations": ["tours.0003_beats", "tours.0004_pulses"], "stores": ["db"], "backups": [dump],
    }  # fmt: skip
    assert (tmp_path / "state/gap.json").stat().st_mode & 0o777 == 0o600
    gap_record.forget(state)
    gap_record.forget(state)
    assert gap_record.read(state) == {}
