# SPDX-License-Identifier: GPL-3.0-or-later
"""One run, several stages: the slower do not start when a faster one failed."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def stage_of(item: pytest.Item) -> str:
    """The folder of `tests/` that the test lives in."""
    return item.path.relative_to(TESTS).parts[0]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    session = item.session
    before = getattr(session, "evenkeel_stage", None)
    stage = stage_of(item)
    session.evenkeel_stage = stage  # type: ignore[attr-defined]
    if before not in (None, stage) and session.testsfailed:
        session.shouldfail = f"stage {before} failed, so {stage} was not begun"
        raise session.Failed(session.shouldfail)
