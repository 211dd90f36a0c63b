# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed while nginx's port changes hands, by the playbook: the same command ends it, it is undone, or another release comes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from demo.repository import add_commit
from tests.bed.running_update import QUICKLY, Running, worker
from tests.bed.shop import Shop, deployed, run
from tests.bed.stacks import COMPOSE

_NGINX = "\n  nginx:\n"


@pytest.fixture(scope="module")
def own() -> Iterator[Shop]:
    """A shop at v2, with versions whose nginx has another definition."""
    with deployed("handover-cut", version="v2") as made:
        text = run(["git", "--git-dir", str(made.repository), "show", f"v2:{COMPOSE}"])
        assert text.count(_NGINX) == 1
        for number in range(3):
            changed = text.replace(_NGINX, f"{_NGINX}    mem_limit: {190 + number}m\n")
            add_commit(made.repository, {COMPOSE: changed}, f"n{number}", parent="v2")
        yield made


def begun(shop: Shop, version: str) -> Running:
    """An update to a version whose nginx's surge container has users by now."""
    update = Running(shop, version)
    update.until_event("rotate nginx")
    assert len(shop.containers("nginx")) == 2
    return update


def test_killed_with_its_controller_the_same_command_ends_it(own: Shop) -> None:
    before = own.container("nginx")
    with own.load() as load:
        begun(own, "n0").kill()
        play = own.update("n0", **QUICKLY)
        result = load.stop()
    assert play.returncode == 0, play.output[-4000:]
    assert own.container("nginx") != before and own.leftovers() == []
    # The log of an nginx that has gone is no witness of a kept connection that it ended.
    assert result.failed <= 2 and result.total > 500, result.failures[:5]


def test_where_the_module_alone_is_killed_it_is_undone_at_once(own: Shop) -> None:
    serving, revision = own.version(), (own.root / "current").resolve()
    with own.load() as load:
        update = begun(own, "n1")
        os.kill(worker(own), signal.SIGKILL)
        play = update.end()
        result = load.stop()
    assert play.returncode != 0 and "was killed" in play.message, play.output[-4000:]
    assert (own.version(), own.leftovers(), (own.root / "current").resolve()) == (serving, [], revision)
    assert result.failed <= 2 and result.total > 500, result.failures[:5]


def test_killed_with_its_controller_another_release_may_come(own: Shop) -> None:
    with own.load() as load:
        begun(own, "n2").kill()
        play = own.update("v1", **QUICKLY, app_lock_take_over=True)
        result = load.stop()
    assert play.returncode == 0, play.output[-4000:]
    assert (own.version(), own.leftovers()) == ("v1", [])
    assert result.failed <= 2 and result.total > 500, result.failures[:5]
