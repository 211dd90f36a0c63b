# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a rollback takes beside the least that it could: a cell of ``make evidence``."""

from __future__ import annotations

import statistics
import time

from tests.bed.baselines import NO_PROOF, OURS, SCHEDULER, WORKER, Releases, described
from tests.bed.load.process import proxy_log
from tests.bed.meter import MIX
from tests.bed.shop import BedError, Shop, deployed, succeeded
from tests.bed.shop_releases import QUICK, manifests
from tests.bed.tasks import Run, run_to_its_end

#: Requests a second. At the higher one two processors have nothing left for the one who waits.
RATES = (50, 100)


def image_of(shop: Shop, version: str) -> str:
    """The name that the image of a version got when it was built."""
    (revision,) = {m["revision"] for m in manifests(shop) if m["version"] == version}
    return f"{shop.name}-api:{revision[:12]}"


def timed(shop: Shop, to: str) -> Run:
    """Go back without time for proofs; where the time went."""
    argv = shop.playbook_argv(playbook="rollback", rollback_to=to, app_services=dict.fromkeys(OURS, NO_PROOF))
    done = run_to_its_end(argv, shop.environment)
    if shop.version() != to:
        raise BedError(f"it went back to {shop.version()}, not to {to}")
    return done


def compared() -> str:
    """Three rollbacks at each rate, and the lower bound that was measured under the same load."""
    with deployed("rollback-speed", {"app_keep_releases": 6}) as shop:
        succeeded(shop.update("v2", app_services=QUICK))
        return "\n".join(_at(shop, rate) for rate in RATES)


def _at(shop: Shop, rate: int) -> str:
    # Three of them take longer than a load lasts by itself.
    with shop.load(seconds=1500, mix=MIX, rate=rate) as load:
        time.sleep(3)
        bounds = {s: Releases(shop).boots_and_stops(image_of(shop, "v1"), 5, s) for s in (SCHEDULER, "api", WORKER)}
        runs = [timed(shop, to) for to in ("v1", "v2", "v1")]
        result = load.stop()
    succeeded(shop.rollback(rollback_to="v2", app_services=QUICK))
    failed = result.judged_by(proxy_log(shop.container("nginx"))).failed_beyond_race
    least = sum(b.seconds for b in bounds.values())
    middle = sorted(runs, key=lambda r: r.roll)[1]
    return (
        f"- at {rate} requests/s the lower bound is {least:.1f} s, one after the other as they go back: {described(bounds)} "
        "(medians of 5, under the same load)\n"
        f"- a rollback of these, without time for proofs: the steps of the rolls {middle.roll:.1f} s, {middle.roll / least:.2f} x "
        f"the lower bound (median of {len(runs)}: {', '.join(f'{r.roll:.1f}' for r in runs)}); the whole playbook "
        f"{statistics.median(r.seconds for r in runs):.1f} s. Steps: {middle.steps()}\n"
        f"- {result.total:,} requests meanwhile, {failed} failed{' **not ok**' if failed else ''}"
    )
