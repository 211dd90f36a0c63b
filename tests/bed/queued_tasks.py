# SPDX-License-Identifier: GPL-3.0-or-later
"""Put tasks into the queue of a shop, one per order, and read which workers ran them."""

from __future__ import annotations

import time

from tests.bed.shop import Shop, run

ORDERS = """
from tours.models import Order, Tour
from tours.tasks import confirm_order
for number in range({count}):
    order = Order.objects.create(tour=Tour.objects.first(), reference=f"{name}-{{number}}", email="bed@example.com")
    confirm_order.delay(order.id, {seconds})
"""


def send(shop: Shop, name: str, count: int, seconds: float) -> None:
    """Put tasks into the queue, each for an order of its own."""
    code = ORDERS.format(name=name, count=count, seconds=seconds)
    containers = [n for n, state in shop.containers("api").items() if state == "running"]
    run(["docker", "exec", containers[0], "python3", "manage.py", "shell", "--verbosity", "0", "-c", code])


def runs(shop: Shop, name: str) -> dict[str, list[str]]:
    """Of each order of that name: the workers that ran its task, as often as they did."""
    found: dict[str, list[str]] = {}
    rows = shop.database.rows(
        "SELECT o.reference, c.worker FROM tours_order o LEFT JOIN tours_orderconfirmation c ON c.order_id = o.id "
        f"WHERE o.reference LIKE '{name}-%'"
    )
    for reference, worker in rows:
        found.setdefault(reference, []).extend([worker] if worker else [])
    return found


def all_run_once(shop: Shop, name: str, patience: float = 60.0) -> dict[str, list[str]]:
    """Wait until every task of that name was run, and hold that none was run twice."""
    end = time.monotonic() + patience
    while True:
        found = runs(shop, name)
        waiting = [reference for reference, workers in found.items() if not workers]
        if not waiting or time.monotonic() > end:
            break
        time.sleep(0.5)
    assert found and not waiting, f"never run: {waiting[:5]} of {len(found)}"
    time.sleep(2)
    found = runs(shop, name)
    assert [r for r, workers in found.items() if len(workers) != 1] == []
    return found
