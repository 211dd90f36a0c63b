# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a deployed shop when its web container ends and comes back at another address."""

from __future__ import annotations

import time

from tests.bed.guard_process import GuardProcess
from tests.bed.shop import LABEL, Shop, run

#: Seconds after which nobody waits any longer for what nobody heals.
PATIENCE = 20.0


def heals(shop: Shop, version: str, patience: float = PATIENCE) -> float | None:
    """Seconds until the shop answers rightly through nginx, three times running; None when it does not."""
    began = time.monotonic()
    while time.monotonic() - began < patience:
        seconds = time.monotonic() - began
        if all(shop.version() == version for _attempt in range(3)):
            return seconds
        time.sleep(0.1)
    return None


def addresses(shop: Shop) -> dict[str, str]:
    """Where the web container is, by network."""
    name = f"/{shop.container('api')}"
    networks = next(i for i in shop.inspections() if i["Name"] == name)["NetworkSettings"]["Networks"]
    return {network: told["IPAddress"] for network, told in networks.items()}


def crash(shop: Shop) -> None:
    """The web container ends, neighbours take its addresses, and the engine starts it again elsewhere."""
    name = shop.container("api")
    taken = addresses(shop)
    run(["docker", "stop", "--time", "1", name])
    for network, before in taken.items():
        for attempt in range(9):
            taker = f"{shop.name}-taker-{attempt}-{network}"
            argv = [
                "docker",
                "run",
                "--detach",
                "--name",
                taker,
                "--label",
                f"{LABEL}={shop.name}",
                "--network",
                network,
            ]
            run([*argv, "evenkeel/python:3.13", "sleep", "600"])
            address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
            # The engine gives the lowest free one, which another may have left.
            if run(["docker", "inspect", "--format", address, taker]).strip() == before:
                break
    run(["docker", "start", name])


def give_addresses_back(shop: Shop) -> None:
    """Remove the neighbours that took addresses of the shop."""
    takers = run(["docker", "ps", "-aq", "--filter", f"name={shop.name}-taker"]).split()
    if takers:
        run(["docker", "rm", "-f", *takers])


def healed_by_a_guard(shop: Shop, version: str) -> float:
    """Move the web container beside a guard; return the seconds after which nginx finds it again."""
    before = addresses(shop)
    guard = GuardProcess(shop.folder, shop.name, shop.root / ".evenkeel")
    guard.install()
    try:
        guard.begin()
        crash(shop)
        assert addresses(shop) != before
        seconds = heals(shop, version)
        assert seconds is not None, guard.said()
        return seconds
    finally:
        guard.end()
        give_addresses_back(shop)
