# SPDX-License-Identifier: GPL-3.0-or-later
"""Run generated stacks on the real engine: ``python -m tests.stacks.generated --seed N --count N [--keep-going]``.

A seed that fails is printed with what did not hold, and run again by its number alone.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from ansible_collections.evenkeel.deploy.plugins.module_utils.host.call_result import BadInput
from tests.bed.shop import free_port
from tests.stacks.drawn_stacks import draw
from tests.stacks.live_stack import LiveStack


def run(seed: int, most: int = 99) -> LiveStack:
    """Run one stack's life.

    :param most: how many operations of it.
    :raises AssertionError: something did not hold; the message has the seed.
    """
    drawn = draw(seed)
    drawn = replace(drawn, life=drawn.life[:most])
    # One name for all that one worker runs: whatever a killed run has left goes first.
    name = f"evenkeel-drawn-{os.environ.get('PYTEST_XDIST_WORKER', '0')}"
    with tempfile.TemporaryDirectory(prefix="evenkeel-drawn-") as folder:
        stack = LiveStack(name, Path(folder) / "project", drawn, {nginx: free_port() for nginx in drawn.led})
        stack.destroy()
        try:
            stack.live()
        except (AssertionError, BadInput) as error:
            life = " ".join(f"{operation}({how:.2f})" for operation, how in drawn.life)
            raise AssertionError(
                f"{error}\nseed {seed}: {dict(drawn.kinds)}, {life}\nagain: python -m tests.stacks.generated --seed {seed} --count 1"
            ) from error
        finally:
            stack.destroy()
        return stack


def main() -> int:
    """Run them one after the other; returns how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    features: Counter[str] = Counter()
    requests, failed, began = 0, [], time.monotonic()
    for seed in range(given.seed, given.seed + given.count):
        features.update(draw(seed).features)
        start = time.monotonic()
        try:
            stack = run(seed)
            requests += stack.requests
            told = " ".join(f"{name} {seconds:.0f}" for name, seconds in stack.seconds)
            print(f"seed {seed}: {time.monotonic() - start:.0f} s ({told})", flush=True)
        except AssertionError as error:
            failed.append(seed)
            print(f"FAILED {error}\n", flush=True)
    print("\n".join(f"{number:5} {feature}" for feature, number in sorted(features.items())))
    seconds = time.monotonic() - began
    print(f"{given.count} stacks in {seconds:.0f} s, {requests:,} requests; failed: {failed or 'none'}")
    return min(len(failed), 100)


if __name__ == "__main__":
    sys.exit(main())
