# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of several files are given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.property import hypothesis_profile
from tests.unit.restored_folder import Restored
from tests.unit.script_processes import ScriptProcesses
from tests.unit.serving_shop import Shop, new_shop

hypothesis_profile.load()


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Restored[Shop]:
    return Restored(tmp_path_factory.mktemp("shop"), new_shop)


@pytest.fixture(scope="session")
def script_processes() -> Iterator[ScriptProcesses]:
    with ScriptProcesses() as processes:
        yield processes
