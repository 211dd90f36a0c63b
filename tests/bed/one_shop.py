# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop that many tests take as they find it: started once, and deployed anew only after one that failed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.bed.shop import Shop
from tests.bed.shop_releases import states


class OneShop:
    """See the module's text.

    :param name: of the shop; each worker process of pytest has one of its own.
    :param variables: further variables of the playbooks.
    """

    def __init__(self, name: str, variables: Mapping[str, Any] | None = None) -> None:
        self.shop = Shop("-".join(filter(None, (name, os.environ.get("PYTEST_XDIST_WORKER")))), variables)
        self.failed = 0

    def deploy(self) -> None:
        """Deploy v1 on an empty folder by the playbook, whatever is there."""
        self.shop.destroy()
        first = self.shop.create().update("v1")
        assert first.returncode == 0, first.output[-6000:]

    def hand_out(self, failed: int) -> Shop:
        """The shop, at a version that was found good and with nothing left over; where a test fails, its output says at which.

        :param failed: how many tests of this run have failed by now: after one more, nobody knows what it left.
        """
        if failed > self.failed:
            self.failed = failed
            self.deploy()
        print(f"{self.shop.name} was handed out at {self.shop.version()}; its releases: {states(self.shop)}")
        return self.shop


@contextmanager
def one_shop(name: str, variables: Mapping[str, Any] | None = None) -> Iterator[OneShop]:
    """Deploy it, and take all of it away afterwards."""
    made = OneShop(name, variables)
    try:
        made.deploy()
        yield made
    finally:
        made.shop.destroy()
