# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a simulated proxy knows that asks for names again, and what keeps it from addresses all the same."""

from __future__ import annotations

import random
from collections.abc import Iterable, Set
from dataclasses import dataclass, field


@dataclass
class Names:
    """See the module's text; times are seconds of the simulated clock.

    :ivar answers: service → what it was told, and until when it goes on with that.
    :ivar gated: addresses that keep everybody out.
    :ivar refused: addresses that are refused to it, and when that ends by itself.
    :ivar avoided: addresses that it does not try, though let in, since they refused it, and until when.
    """

    chance: random.Random
    answers: dict[str, tuple[set[str], float]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    refused: dict[str, float] = field(default_factory=dict)
    avoided: dict[str, float] = field(default_factory=dict)

    def known(self, service: str) -> set[str]:
        """What it was told last."""
        return self.answers.get(service, (set(), 0.0))[0]

    def used(self, service: str, now: float, running: Set[str]) -> set[str]:
        """Where it sends requests now; ``running`` are the addresses of all running containers."""
        # A gate is in the network namespace of its container, and goes with it.
        self.gated &= running
        return {a for a in self.known(service) if self.open(a) and self.avoided.get(a, now) <= now}

    def open(self, address: str) -> bool:
        """Whether nothing of ours keeps it from an address."""
        return address not in self.gated and address not in self.refused

    def pass_time(self, now: float) -> None:
        """Refusals that have ended are gone."""
        self.refused = {a: end for a, end in self.refused.items() if end > now}

    def ask(self, service: str, answer: set[str], now: float, kept: float) -> None:
        """It asks again where it does not know, or has known for long enough."""
        _known, until = self.answers.get(service, (set(), 0.0))
        if now >= until or not self.known(service):
            self.answers[service] = (answer, now + self.chance.uniform(0.2, 1.0) * kept)

    def isolate(self, address: str, now: float) -> None:
        """Keep everybody from an address."""
        self.gated.add(address)
        self.refused[address] = now + 600.0

    def admit(self, service: str, mine: set[str], admitted: Iterable[str], now: float, avoids: float) -> None:
        """Let it use these addresses of a service and none else of those that are there or that it knows."""
        wanted = set(admitted)
        for address in wanted:
            if not self.open(address):
                self.avoided[address] = now + self.chance.uniform(0.2, 1.0) * avoids
        self.gated = (self.gated - wanted) | (mine - wanted)
        self.refused = {a: end for a, end in self.refused.items() if a not in wanted}
        self.refused.update(dict.fromkeys((mine | self.known(service)) - wanted, now + 600.0))

    def shorten(self, gone: Iterable[str], until: float) -> None:
        """Refusals of what is gone end when it cannot be known any more."""
        for address in gone:
            self.refused[address] = min(self.refused[address], until)

    def restart(self) -> None:
        """A proxy that was restarted knows nothing, and its namespace is a new one."""
        self.answers, self.refused, self.avoided = {}, {}, {}
