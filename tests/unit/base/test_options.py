# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module was given, as values of its request: durations and sizes have units, and nothing else becomes a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.options import read

SPEC: dict[str, Any] = {
    "timeout": {"type": "str", "default": "15m"},
    "memory": {"type": "str"},
    "rate": {"type": "str", "default": "100M"},
    "keep": {"type": "int", "default": 7},
    "delay": {"type": "float"},
}


@dataclass(frozen=True)
class Request:
    timeout: float = 0.0
    memory: int = 0
    rate: str = ""
    keep: int = 0
    delay: float | None = None


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, 900.0), ("90s", 90.0), ("1h30m", 5400.0), ("2", 2.0), (2, 2.0), ("0.5", 0.5)]
)
def test_a_duration_has_a_unit_or_is_seconds(given: Any, seconds: float) -> None:
    assert read(Request, SPEC, {"timeout": given}).timeout == seconds


@pytest.mark.parametrize(("given", "found"), [(None, 0), ("", 0), ("2G", 2 * 1024**3), ("512", 512)])
def test_a_size_has_a_unit_or_is_bytes(given: Any, found: int) -> None:
    assert read(Request, SPEC, {"memory": given}).memory == found


@pytest.mark.parametrize(("name", "given"), [("timeout", "5x"), ("timeout", "-1"), ("memory", "much")])
def test_what_has_no_meaning_is_named(name: str, given: str) -> None:
    with pytest.raises(BadInput, match=f"^{name}: '{given}' is not a"):
        read(Request, SPEC, {name: given})


def test_the_rest_stays_as_it_is() -> None:
    assert read(Request, SPEC, {}) == Request(timeout=900.0, rate="100M", keep=7)
