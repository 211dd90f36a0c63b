# SPDX-License-Identifier: GPL-3.0-or-later
"""Without root: what a user can do who may speak to the engine, and no more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.bed.fronts import FRONTS, fronted
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Shop, run

pytestmark = pytest.mark.matrix

#: A number that nobody has: no account has to be made.
USER = 61327


class Unprivileged(Shop):
    """A shop that belongs to somebody who is in the group of the engine's socket."""

    def playbook_argv(self, *arguments: str, **variables: Any) -> list[str]:
        group = os.stat("/var/run/docker.sock").st_gid
        ids = [f"--reuid={USER}", f"--regid={USER}", f"--groups={group}"]
        # Root's own group is not root; what makes root are capabilities, and none is left.
        return ["setpriv", *ids, "--inh-caps=-all", "--", *super().playbook_argv(*arguments, **variables)]

    @property
    def environment(self) -> dict[str, str]:
        home = self.folder / "home"
        return {**super().environment, "HOME": str(home), "USER": "deployer", "PYTHONDONTWRITEBYTECODE": "1"}

    def belongs(self) -> None:
        """Give everything to that user."""
        (self.folder / "home").mkdir(exist_ok=True)
        run(["chown", "-R", f"{USER}:{USER}", str(self.folder)])


@contextmanager
def deployed(front: str) -> Iterator[tuple[Unprivileged, str]]:
    """A shop behind such a configuration at its first version; yields its second version too."""
    shop = Unprivileged("docker-group")
    shop.destroy()
    try:
        shop.create()
        first, second = (fronted(shop, tag, FRONTS[front]) for tag in ("v1", "v2"))
        shop.belongs()
        play = shop.update(first)
        assert play.returncode == 0, play.output[-6000:]
        yield shop, second
    finally:
        shop.destroy()


def test_an_update_loses_nothing() -> None:
    with deployed("plain") as (shop, second):
        with shop.load() as load:
            play = shop.update(second)
            result = load.stop()
        assert play.returncode == 0, play.output[-6000:]
        assert (shop.version(), shop.leftovers()) == ("v2", [])
        assert "other containers that call it by its name may reach a new one before it is proven" in play.output
        assert_nothing_lost(shop, load, result)
        print(f"\nevidence: with the docker group only: {result.total} requests, 0 failed, {play.seconds:.0f} s")
        again = shop.update(second)
        assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]
        assert {path.lstat().st_uid for path in shop.root.rglob("*")} == {USER}


@pytest.mark.parametrize(("front", "namespace"), [("resolver valid=5s", "network"), ("unix socket", "mount")])
def test_what_needs_root_is_refused_before_anything_is_touched(front: str, namespace: str) -> None:
    with deployed(front) as (shop, second):
        before = {i["Id"] for i in shop.inspections()}
        play = shop.update(second)
        assert play.returncode != 0
        assert f"entering the {namespace} namespace of a container needs root (become: true)" in play.message, (
            play.output
        )
        assert {i["Id"] for i in shop.inspections()} == before
        assert shop.version() == "v1"
        print(f"\nevidence: {front}, with the docker group only: refused, {play.message.splitlines()[0]}")
