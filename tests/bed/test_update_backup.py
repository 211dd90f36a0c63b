# SPDX-License-Identifier: GPL-3.0-or-later
"""Role update has a backup before it migrates anything, and migrates nothing where it cannot have one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.bed.django_stack import Stack, stack
from tests.bed.migrating_update import RELEASE, App

#: Fixtures of the bed that plans are asked in.
__all__ = ["stack"]


@pytest.fixture(scope="module")
def app(stack: Stack) -> Iterator[App]:
    made = App(stack)
    yield made
    shutil.rmtree(made.root, ignore_errors=True)


def test_nothing_is_migrated_without_a_backup_and_it_is_of_the_rows_before(app: App) -> None:
    # No room for it: nothing was touched.
    output = app.update(backup_min_free="900T")
    assert output.startswith("2 ") and "MiB are to be left" in output, output[-3000:]
    assert app.recorded() == ["0001_initial"] and app.manifests() == []
    # Where none may run there is nothing to back up for.
    output = app.update(update_migrations="none")
    assert output.startswith("2 ") and "update_migrations is none" in output and app.manifests() == []
    output = app.update()
    assert output.startswith("0 ") and "shop is backed up: " in output, output[-3000:]
    assert app.recorded() == ["0001_initial", "0002_two"]
    (manifest,) = app.manifests()
    assert manifest["migrations"] == {"count": 1, "latest": {"shop": "0001_initial"}}
    assert manifest["proven"] == "read" and manifest["releases"] == [RELEASE]
    # Nothing is pending: no other one, unless it is asked for.
    for backup, expected in (("auto", 1), ("never", 1), ("always", 2)):
        output = app.update(update_contract="manual", update_backup=backup)
        assert output.startswith("0 "), output[-2500:]
        assert len(app.manifests()) == expected, backup
