# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of several files are given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.property import hypothesis_profile
from tests.unit.script_processes import ScriptProcesses

hypothesis_profile.load()


@pytest.fixture(scope="session")
def script_processes() -> Iterator[ScriptProcesses]:
    with ScriptProcesses() as processes:
        yield processes
