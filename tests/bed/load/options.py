# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run is told: rate, bounds, mix. Everything is bounded, and the bounds are checked here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .target import Target

ORDINARY = ("new", "keepalive", "strict_keepalive", "static")
"""Clients that share the arrival rate by weight; their latency is measured."""

LONG: Mapping[str, float] = {"slow": 2.0, "slow12": 12.0, "stream": 6.0, "upload": 4.0}
"""Clients whose number is how many are kept in flight, and how long each request lasts (seconds).

They are an open loop too: with n of them, one starts every `duration / n` seconds whatever became of the others.
"""

DEFAULT_MIX = "new=4,keepalive=4,static=1,slow=2"

MAX_RATE = 2000.0
MAX_SECONDS = 3600.0
MAX_LONG = 64

MARK = re.compile(r"[a-z0-9][a-z0-9_.-]{0,40}\Z")
"""What a phase mark may be called."""


class OptionsRefused(ValueError):
    """An option is unknown or outside its bounds."""


@dataclass(frozen=True)
class Options:
    """One run. Times are seconds, rates are arrivals per second."""

    target: Target
    rate: float = 120.0
    seconds: float = 60.0
    mix: Mapping[str, int] = field(default_factory=lambda: parse_mix(DEFAULT_MIX))
    durations: Mapping[str, float] = field(default_factory=lambda: dict(LONG))
    max_requests: int = 250_000
    max_in_flight: int = 1_000
    timeout: float = 30.0
    connect_timeout: float = 10.0
    drain: float = 45.0
    pool: int = 16
    seed: int = 0
    progress: float = 0.0
    result: Path | None = None
    acknowledged: Path | None = None
    control: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of bounds, so that a typing error cannot become a run without an end."""
        _within("rate", self.rate, 0.1, MAX_RATE)
        _within("seconds", self.seconds, 0.05, MAX_SECONDS)
        _within("timeout", self.timeout, 0.05, 600)
        _within("connect timeout", self.connect_timeout, 0.05, 600)
        _within("drain", self.drain, 0, 600)
        _within("max requests", self.max_requests, 1, 10_000_000)
        _within("max in flight", self.max_in_flight, 1, 20_000)
        _within("pool", self.pool, 1, 1_000)
        check_mix(self.mix)
        if set(self.durations) != set(LONG):
            raise OptionsRefused(f"durations name {sorted(self.durations)}, wanted {sorted(LONG)}")
        for name, seconds in self.durations.items():
            _within(f"duration of {name}", seconds, 0.05, 60)


def _within(what: str, value: float, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise OptionsRefused(f"{what}: {value:g} is not between {low:g} and {high:g}")


def check_mix(mix: Mapping[str, int]) -> None:
    """Raise OptionsRefused for unknown clients, negative numbers, or a mix of nothing."""
    unknown = sorted(set(mix) - set(ORDINARY) - set(LONG))
    if unknown:
        raise OptionsRefused(f"unknown client {', '.join(unknown)}; there are {', '.join([*ORDINARY, *LONG])}")
    for name, number in mix.items():
        _within(f"mix {name}", number, 0, MAX_LONG if name in LONG else 1_000)
    if not any(mix.values()):
        raise OptionsRefused("the mix has no client")


def parse_mix(text: str) -> dict[str, int]:
    """`new=4,keepalive=4,slow=1` as a dict."""
    mix: dict[str, int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, number = part.partition("=")
        if not equals or not number.isdecimal():
            raise OptionsRefused(f"mix {part!r}: wanted client=number")
        if name in mix:
            raise OptionsRefused(f"mix names {name} twice")
        mix[name] = int(number)
    check_mix(mix)
    return mix


def parse_durations(text: str) -> dict[str, float]:
    """`slow=2,upload=4` as a dict of seconds; what is not named keeps its default."""
    durations = dict(LONG)
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _equals, number = part.partition("=")
        try:
            if name not in LONG:
                raise ValueError(f"there are {', '.join(LONG)}")
            durations[name] = float(number)
        except ValueError as error:
            raise OptionsRefused(f"duration {part!r}: wanted client=seconds ({error})") from error
    return durations
