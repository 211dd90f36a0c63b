# SPDX-License-Identifier: GPL-3.0-or-later
"""The linters and ansible-test, as tests: `make test` has one summary for all."""

from __future__ import annotations

import pytest

from tests.conftest import Check


@pytest.mark.parametrize("script", ["lint", "sanity"])
def test_no_complaint(script: str, checks: dict[str, Check]) -> None:
    process, output = checks[script]
    process.wait(timeout=900)
    output.seek(0)
    said = output.read()
    print(said)
    errors = "\n".join(line for line in said.splitlines() if line.startswith("ERROR"))
    assert process.returncode == 0, f"scripts/{script}.sh complains, see above; alone: make {script}\n{errors}"
