# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists that are too long to be read are cut, and say how much is left out."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.truncate_list import some


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a, b"),
        (["a", "b", "c"], "a, b and 1 more"),
        (["a", "b", "c", "d"], "a, b and 2 more"),
    ],
)
def test_what_is_left_out_is_counted(names: list[str], expected: str) -> None:
    assert some(names, 2) == expected


def test_names_with_commas_are_kept_apart() -> None:
    assert some(["a, b", "c", "d"], 2, "; ") == "a, b; c and 1 more"
