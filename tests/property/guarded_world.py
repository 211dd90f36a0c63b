# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated host for the guard: containers that crash and move, nginx that resolves once, and somebody who rolls.

The world knows the truth (what nginx resolved when it loaded); the guard sees only what the real one can see.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ansible_collections.evenkeel.deploy.plugins.module_utils.guard import guard
from ansible_collections.evenkeel.deploy.plugins.module_utils.guard.guard import (
    Backend,
    Memory,
    Name,
    Pinned,
    Reload,
    Seen,
    Wait,
)

SAFETY = 600.0
NEVER = float("inf")


@dataclass
class Box:
    """A container: where it is while it runs, how long it boots and lives, when the next thing happens to it.

    :param proven: it served before, or a roll has proven it.
    """

    id: str
    name: str
    created: float
    proven: bool = True
    boot: float = 0.3
    life: float = NEVER
    address: str = ""
    started: float = 0.0
    pause: float = 0.1
    next: float = NEVER

    def listens(self, now: float) -> bool:
        return bool(self.address) and now - self.started >= self.boot


@dataclass
class Act:
    """A reload by the guard: when, whether somebody was at work, whether nginx knew anything that lived, as far as told."""

    at: float
    busy: bool
    dead: bool
    sure: bool


@dataclass
class World:
    """See the module's text."""

    rng: random.Random
    names: tuple[str, ...] = ("api", "web")
    now: float = 1000.0
    boxes: list[Box] = field(default_factory=list)
    pins: dict[str, Pinned] = field(default_factory=dict)
    loaded: float = 0.0
    truth: dict[str, frozenset[str]] = field(default_factory=dict)
    busy_until: float = 0.0
    memory: Memory = field(default_factory=Memory)
    wake: float = NEVER
    deaf_until: float = 0.0
    up_again: float = NEVER
    count: int = 0
    ours: bool = False
    #: When nginx loaded, something ran of each name that is pinned: whose pin a name has is seen by its containers only.
    attributed: bool = True
    acts: list[Act] = field(default_factory=list)
    refusals: int = 0
    looks: int = 0
    exposed: list[str] = field(default_factory=list)

    # -- the host -------------------------------------------------------------------------------------

    def event(self) -> None:
        """The engine tells; nobody hears it while the guard is deaf or dead."""
        if self.now >= self.deaf_until:
            self.wake = min(self.wake, self.now + 0.2)

    def running(self, name: str) -> list[Box]:
        return [b for b in self.boxes if b.name == name and b.address]

    def create(self, name: str, proven: bool = True, boot: float = 0.3, life: float = NEVER) -> Box:
        self.count += 1
        box = Box(f"box-{self.count}", name, self.now, proven, boot, life)
        self.boxes.append(box)
        self.start(box)
        return box

    def start(self, box: Box) -> None:
        taken = {b.address for b in self.boxes}
        box.address = next(a for a in (f"10.0.0.{n:03}" for n in range(3, 200)) if a not in taken)
        box.started, box.next = self.now, self.now + box.life
        self.event()

    def crash(self, box: Box) -> None:
        """It ends, and the restart policy brings it back: at once at first, then later and later."""
        box.pause = 0.1 if self.now - box.started > 10 else min(60.0, box.pause * 2)
        box.address, box.next = "", self.now + box.pause
        self.event()

    def remove(self, box: Box) -> None:
        self.boxes.remove(box)
        self.event()

    def resolve(self) -> dict[str, frozenset[str]] | None:
        """What nginx would get now; None where a name means nothing, which it refuses."""
        found = {}
        for name in self.names:
            pin = self.pins.get(name)
            found[name] = pin.addresses if pin else frozenset(b.address for b in self.running(name))
        return found if all(found.values()) else None

    def load(self, ours: bool = False) -> bool:
        """nginx loads its configuration; two loads within :data:`guard.SAME_LOAD` nobody can tell apart."""
        if not ours:
            self.now = max(self.now, self.loaded + guard.SAME_LOAD + 0.1)
        found = self.resolve()
        if found is None:
            return False
        self.truth, self.loaded, self.ours = found, self.now, ours
        self.attributed = all(self.running(name) for name in self.pins)
        return True

    def restart_nginx(self) -> None:
        if self.load():
            self.up_again = NEVER
        else:
            self.loaded, self.up_again = 0.0, self.now + 5
        self.event()

    # -- the guard ------------------------------------------------------------------------------------

    def seen(self) -> Seen:
        names = tuple(
            Name(
                n,
                tuple(
                    Backend(b.id, frozenset({b.address}), b.started, b.listens(self.now), n, b.created)
                    for b in self.running(n)
                ),
            )
            for n in self.names
        )
        return Seen(self.now, "nginx", self.loaded, names, dict(self.pins), self.now < self.busy_until)

    def look(self) -> None:
        """What the shell does at each wake."""
        self.looks += 1
        self.wake = self.now + SAFETY
        seen = self.seen()
        if not seen.loaded:
            return
        self.memory = guard.remember(self.memory, seen)
        verdict = guard.decide(self.memory, seen)
        if isinstance(verdict, Wait):
            self.wake = min(self.wake, self.now + max(0.001, verdict.seconds))
        elif isinstance(verdict, Reload):
            self.act(seen, verdict)

    def act(self, seen: Seen, verdict: Reload) -> None:
        # Beside proven ones, an unproven one is none that anybody should be sent to.
        boxes = {n: [b for b in self.running(n) if b.proven] or self.running(n) for n in self.names}
        live = {n: {b.address for b in boxes[n]} for n in self.names}
        dead = any(live[n] and not live[n] & self.truth[n] for n in self.names)
        # By whoever else it was loaded: what had started just before it, or has since, may be known to it or not.
        sure = self.ours or all(b.started < self.loaded - guard.DOUBT for n in self.names for b in self.running(n))
        sure = sure and self.attributed
        before = self.truth
        for repin in verdict.repins:
            self.pins.pop(repin.service, None)
            if repin.addresses:
                self.pins[repin.service] = Pinned(repin.addresses, self.now)
        if not self.load(ours=True):
            self.refusals += 1
            self.memory = guard.refused(self.memory, seen, verdict)
            self.wake = self.now + 0.001
            return
        self.acts.append(Act(self.now, seen.busy, dead, sure))
        for name in seen.pins:
            boxes = self.running(name)
            if any(b.proven and b.listens(self.now) for b in boxes):
                fresh = self.truth[name] - before[name]
                self.exposed += [b.id for b in boxes if not b.proven and b.address in fresh]
        # Its workers start a moment after what they know was resolved.
        self.now += 0.1
        self.loaded = self.now
        self.memory = guard.reloaded(self.memory, seen, verdict, self.loaded)
        self.wake = self.now + 0.5

    def begin_guard(self) -> None:
        """It is started, or was killed and is started again, and does not know what its own last reload gave."""
        for box in self.boxes:
            pin, ours = self.pins.get(box.name), self.memory.pinned.get(box.name)
            # A pin that the guard wrote is newer than what was unproven before it, and only its memory knew that.
            forgotten = pin is not None and ours is not None and pin.addresses == ours.addresses
            box.proven = box.proven or (forgotten and box.created < pin.written)
        self.memory, self.deaf_until, self.wake, self.ours = Memory(), 0.0, self.now + 0.2, False

    # -- time -----------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            box = min(self.boxes, key=lambda b: b.next, default=Box("none", "", 0.0))
            moment = min(box.next, self.wake if self.now >= self.deaf_until else self.deaf_until, self.up_again)
            if moment > end:
                self.now = max(self.now, end)
                return
            self.now = max(self.now, moment)
            if moment == box.next:
                self.crash(box) if box.address else self.start(box)
            elif moment == self.up_again:
                self.restart_nginx()
            elif self.now >= self.wake:
                self.look()
            else:
                # It hears again, and what was lost is found by the rare look only.
                self.wake = min(self.wake, self.now + SAFETY)

    # -- who rolls ------------------------------------------------------------------------------------

    def begin_roll(self, name: str) -> None:
        """A roll pins what serves, and starts an unproven container beside it; it works for a while, or is killed."""
        serving = frozenset(b.address for b in self.running(name))
        if not serving or name in self.pins:
            return
        self.pins[name] = Pinned(serving, self.now)
        for box in self.boxes:
            # What serves is what a roll goes on from.
            box.proven = box.proven or box.name == name
        self.now += 0.2
        self.create(name, proven=False, boot=self.rng.choice([0.3, 3.0]))
        if self.rng.random() < 0.6:
            self.busy_until = self.now + self.rng.uniform(5, 200)

    def end_roll(self) -> None:
        """The next run has all pins gone, and only proven ones left."""
        self.busy_until = self.now
        for box in [b for b in self.boxes if not b.proven]:
            self.remove(box)
        if all(self.running(n) for n in self.names):
            self.pins.clear()
            self.load()
