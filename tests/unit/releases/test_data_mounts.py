# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes that nobody named: found where they hold something, and by nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.data_mounts import anonymous_data

NAME = "0123456789abcdef" * 4


def seen(source: Path, **more: Any) -> dict[str, str]:
    mount = {"Type": "volume", "Name": NAME, "Source": str(source), "Destination": "/data", **more}
    return anonymous_data({"Mounts": [mount]})


def test_one_that_holds_something_counts_and_an_empty_one_does_not(tmp_path: Path) -> None:
    assert seen(tmp_path) == {}
    (tmp_path / "file").touch()
    assert seen(tmp_path) == {"/data": NAME}


def test_one_that_cannot_be_looked_into_counts(tmp_path: Path) -> None:
    assert seen(tmp_path / "gone") == {"/data": NAME}


def test_what_has_a_name_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert seen(tmp_path, Name="shop_data") == {}
    assert seen(tmp_path, Type="bind", Name="") == {}
