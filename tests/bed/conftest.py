# SPDX-License-Identifier: GPL-3.0-or-later
"""One stack for all beds: its first start is the first deployment, and tested by being needed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.bed.shop import Shop


@pytest.fixture(scope="session")
def shop() -> Iterator[Shop]:
    """A shop at v1 that was deployed by the playbook on an empty folder; two runs at once need two names."""
    made = Shop(os.environ.get("EVENKEEL_BED", "bed"))
    made.destroy()
    try:
        made.create()
        first = made.update("v1")
        assert first.returncode == 0, first.output[-6000:]
        yield made
    finally:
        made.destroy()
