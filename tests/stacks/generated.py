# SPDX-License-Identifier: GPL-3.0-or-later
"""Run generated stacks on the real engine: ``python -m tests.stacks.generated --seed N --count N [--jobs N]``.

A seed that fails is printed with what did not hold, and run again by its number alone.
"""

from __future__ import annotations

import argparse
import fcntl
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import replace

from tests.stacks.drawn_stacks import EXTERNAL, draw
from tests.stacks.live_stack import Lived, bring_through
from tests.stacks.own_server import bring_through_elsewhere

#: Held by the run that uses this machine.
LOCK = "/run/lock/evenkeel-generated-stacks"


def run(seed: int, most: int = 99) -> Lived:
    """Run one stack's life.

    :param most: how many operations of it.
    :raises AssertionError: something did not hold; the message has the seed.
    """
    drawn = draw(seed)
    drawn = replace(drawn, life=drawn.life[:most])
    # One name for all that one process runs: whatever a killed run has left goes first.
    name = f"evenkeel-drawn-{os.environ.get('PYTEST_XDIST_WORKER') or multiprocessing.current_process().name.lower()}"
    try:
        return bring_through_elsewhere(seed, name) if EXTERNAL in dict(drawn.life) else bring_through(drawn, name)
    except AssertionError as error:
        life = " ".join(f"{operation}({how:.2f})" for operation, how in drawn.life)
        raise AssertionError(
            f"{error}\nseed {seed}: {dict(drawn.kinds)}, {life}\nagain: python -m tests.stacks.generated --seed {seed} --count 1"
        ) from error


def _tell(seed: int) -> tuple[int, int, str]:
    """One seed → it, its requests, and what did not hold; says at once how it went."""
    start = time.monotonic()
    try:
        lived = run(seed)
    except AssertionError as error:
        print(f"FAILED {error}\n", flush=True)
        return seed, 0, str(error)
    except Exception:
        # The bed broke, not what it holds; a run of hundreds goes on, and does not count this one as good.
        print(f"FAILED seed {seed} could not be run\n{traceback.format_exc()}", flush=True)
        return seed, 0, "could not be run"
    told = " ".join(f"{name} {seconds:.0f}" for name, seconds in lived.seconds)
    print(f"seed {seed}: {time.monotonic() - start:.0f} s ({told})", flush=True)
    return seed, lived.requests, ""


def _until_ended() -> None:
    """Let a process that is told to end take away what it has started first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def main() -> int:
    """Run them; returns how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time; each mostly waits")
    given = parser.parse_args()
    _until_ended()
    lock = open(LOCK, "w", encoding="ascii")  # noqa: SIM115 - held until this process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        parser.error(
            "another run is under way on this machine; both would use the same names, and remove each other's stacks"
        )
    seeds = range(given.seed, given.seed + given.count)
    features = Counter(feature for seed in seeds for feature in draw(seed).features)
    began = time.monotonic()
    with multiprocessing.Pool(given.jobs, _until_ended) as pool:
        ended = list(pool.imap_unordered(_tell, seeds))
    failed = sorted(seed for seed, _requests, problem in ended if problem)
    print("\n".join(f"{number:5} {feature}" for feature, number in sorted(features.items())))
    requests = sum(number for _seed, number, _problem in ended)
    seconds = time.monotonic() - began
    print(f"{given.count} stacks in {seconds:.0f} s, {requests:,} requests; failed: {failed or 'none'}")
    return min(len(failed), 100)


if __name__ == "__main__":
    sys.exit(main())
