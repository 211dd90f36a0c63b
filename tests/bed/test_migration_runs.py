# SPDX-License-Identifier: GPL-3.0-or-later
"""Expand, contract and abandon on a real PostgreSQL, with the oldest and newest Django that is supported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bed.migrations.running import Running
from tests.bed.migrations.truth import VERSIONS, django_python, postgres

ITEM = (
    '("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50)), '
    '("old", models.CharField(max_length=9, null=True))'
)
CREATE = f'migrations.CreateModel("Item", [{ITEM}])'
NOTE = 'migrations.AddField("item", "note", models.CharField(max_length=9, null=True))'
REMOVE = 'migrations.RemoveField("item", "old")'
INDEX = 'migrations.AddIndex("item", models.Index(fields=["name"], name="by_name"))'
Make = Callable[..., Running]


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    with postgres("migration-runs") as port:
        yield port


OTHERS = [pytest.param(v, marks=pytest.mark.matrix) for v in VERSIONS if v != "5.2"]


@pytest.fixture(params=["5.2", *OTHERS])
def make(request: pytest.FixtureRequest, tmp_path: Path, port: str) -> Make:
    """Makes a project at release r0, which serves."""
    python = django_python(request.param)
    if not python:
        pytest.skip(f"no Python here can have Django {request.param}")

    def made(**more: str) -> Running:
        project = Running(tmp_path / "project", python, port, "shop", **more)
        project.migration("0001_initial", CREATE)
        project.manage("migrate")
        project.serving = ("r0",)
        return project

    return made


def test_what_the_old_code_needs_waits_until_it_is_gone(make: Make) -> None:
    project = make()
    project.migration("0002_both", f"{NOTE}, {REMOVE}", "0001_initial")
    result = project.expand("r1")
    assert result["changed"] and not result.get("failed"), result["msg"]
    assert project.columns() == ["id", "name", "note", "old"] and project.recorded()[-1] == "0002_both"
    (waiting,) = result["open"]
    assert (waiting["name"], waiting["index"], waiting["drops_data"]) == ("0002_both", 1, True)
    # Any entrypoint's migrate is harmless in either version.
    assert "No migrations to apply" in project.manage("migrate")
    refused = project.contract("r1", allow_data_loss=["shop.0002_both"])
    assert refused["failed"] and refused["waits"] and "api-r0 runs r0, which was made before it" in refused["msg"]
    project.serving = ("r1", "r0")
    assert project.contract("r1", allow_data_loss=["shop.0002_both"])["waits"]
    project.serving = ("r1",)
    unnamed = project.contract("r1")
    assert unnamed["waits"] and "allow_data_loss" in unnamed["msg"] and "old" in project.columns()
    done = project.contract("r1", allow_data_loss=["shop.0002_both"])
    assert done["changed"] and done["open"] == [] and "old" not in project.columns()
    assert project.ledger() == [("0002_both", -1, "settled"), ("0002_both", 1, "settled")]
    again = project.expand("r1")
    assert not again["changed"] and again["pending"] == 0
