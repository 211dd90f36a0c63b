# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of hypothesis are drawn from the run's seed like the simulated histories, and any worker may have any of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.property import hypothesis_profile
from tests.property.seeded_histories import FIRST, HISTORIES, replayed_by

hypothesis_profile.load()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test a group of its own: none shares a fixture with another."""
    for number, item in enumerate(i for i in items if i.path.parent == Path(__file__).parent):
        item.add_marker(pytest.mark.xdist_group(f"property {number}"))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Seed the properties of hypothesis."""
    test = getattr(item, "obj", None)
    if test is not None and hypothesis.is_hypothesis_test(test):
        hypothesis.seed(FIRST)(test)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Say how the same examples are drawn again."""
    report = yield
    if report.failed and hypothesis.is_hypothesis_test(getattr(item, "obj", None)):
        report.sections.append(("the same examples", replayed_by(FIRST, HISTORIES)))
    return report
