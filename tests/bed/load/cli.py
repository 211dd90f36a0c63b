# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: `python -m tests.bed.load --url http://127.0.0.1:8080 --host shop.localhost …`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .generator import Generator
from .options import DEFAULT_MIX, LONG, ORDINARY, Options, OptionsRefused, parse_durations, parse_mix
from .result import Result
from .table import summary_table
from .target import TargetRefused, loopback_target


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bed.load",
        description="An open-loop load on a shop on this machine. Every failure that a client without retries sees"
        " is counted. SIGTERM or SIGINT ends it early with a result; a second one cuts what is in flight.",
    )
    add = parser.add_argument
    add("--url", required=True, help="http://127.0.0.1:PORT, or https://; only this machine is accepted")
    add("--host", default="", help="Host header (default: from the URL)")
    add("--rate", type=float, default=120.0, help="arrivals a second of the ordinary clients (default %(default)g)")
    add("--seconds", type=float, default=60.0, help="how long arrivals go on (default %(default)g)")
    add("--mix", default=DEFAULT_MIX, help=f"weights of {', '.join(ORDINARY)}; how many in flight of {', '.join(LONG)}"
        " (default %(default)s)")  # fmt: skip
    add("--durations", default="", help="seconds a long request lasts, as slow=2,stream=6")
    add("--max-requests", type=int, default=250_000)
    add("--max-in-flight", type=int, default=1_000, help="more are counted as failures of kind overflow")
    add("--timeout", type=float, default=30.0, help="seconds, beyond those a request asks for itself")
    add("--connect-timeout", type=float, default=10.0, help="seconds")
    add("--drain", type=float, default=45.0, help="seconds to wait at the end for what is in flight")
    add("--pool", type=int, default=16, help="persistent connections of each keep-alive kind")
    add("--seed", type=int, default=0, help="of the choices made (default: a new one, recorded)")
    add("--progress", type=float, default=0.0, help="seconds between lines on stderr (default: none)")
    add("--result", type=Path, required=True, help="JSON file to write at the end")
    add("--acknowledged", type=Path, required=True, help="JSON lines, one for each acknowledged order, as they come")
    add("--control", type=Path, help="file to which `mark NAME` and `stop` lines are appended from outside")
    return parser


def _options(arguments: Sequence[str] | None) -> Options:
    given = vars(_parser().parse_args(arguments))
    target = loopback_target(given.pop("url"), given.pop("host"))
    mix, durations = parse_mix(given.pop("mix")), parse_durations(given.pop("durations"))
    return Options(target=target, mix=mix, durations=durations, **given)


async def _run(options: Options) -> Result:
    generator = Generator(options)
    loop = asyncio.get_running_loop()
    signals = 0

    def ended() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            generator.stop()
        else:
            generator.cut()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended)
    print("started", flush=True)
    return await generator.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 once a result is written, however many requests failed, 2 for arguments that are refused."""
    try:
        options = _options(arguments)
    except (TargetRefused, OptionsRefused) as error:
        print(f"load: {error}", file=sys.stderr)
        return 2
    with contextlib.suppress(OSError, ValueError):
        # The usual soft limit of 1,024 files would make a stalled server look like our own lack of sockets.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    result = asyncio.run(_run(options))
    with contextlib.suppress(BrokenPipeError):
        print(summary_table(result), end="", flush=True)
    return 0
