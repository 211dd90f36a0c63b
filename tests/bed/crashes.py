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


def crash(shop: Shop, number: int) -> None:
    """The web container ends, neighbours take its addresses, and the engine starts it again elsewhere."""
    name = shop.container("api")
    networks = next(i for i in shop.inspections() if i["Name"] == f"/{name}")["NetworkSettings"]["Networks"]
    run(["docker", "stop", "--time", "1", name])
    for network, before in networks.items():
        for attempt in range(9):
            taker = f"{shop.name}-taker-{number}-{attempt}-{network}"
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
            if run(["docker", "inspect", "--format", address, taker]).strip() == before["IPAddress"]:
                break
    run(["docker", "start", name])


def give_addresses_back(shop: Shop) -> None:
    """Remove the neighbours that took addresses of the shop."""
    takers = run(["docker", "ps", "-aq", "--filter", f"name={shop.name}-taker"]).split()
    if takers:
        run(["docker", "rm", "-f", *takers])


def crashed(shop: Shop, version: str) -> str:
    """Crash it once without and once with a guard, and say how long each took to heal."""
    guard = GuardProcess(shop.folder, shop.name, shop.root / ".evenkeel")
    guard.install()
    told = []
    try:
        for number, words in enumerate(("without a guard", "with one")):
            if words == "with one":
                guard.begin()
                if heals(shop, version) is None:
                    return f"{', '.join(told)}; a guard that starts does not heal it: **not ok**"
            crash(shop, number)
            took = heals(shop, version)
            told.append(f"{words} " + (f"{took:.1f} s" if took is not None else f"not healed after {PATIENCE:g} s"))
    finally:
        guard.end()
        give_addresses_back(shop)
    return ", ".join(told) + (" **not ok**" if took is None else "")
