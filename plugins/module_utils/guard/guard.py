# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When nginx has to load its configuration again because a container it proxies to is at another address.  Pure.

nginx resolves a plain name once, when it loads.  What it knows cannot be asked, so it is remembered per load: after a
load of our own exactly what was there, after anybody else's what had started before it.  All times are seconds on one
clock that counts since boot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Union

#: nginx resolves a moment before its workers start, so what started just before them may be unknown to it.
DOUBT = 2.0
#: Two looks at one load differ by rounding and by small corrections of the wall clock.
SAME_LOAD = 0.5
#: Seconds that a new picture has to stand before it is believed; doubled by each recent reload, so that a crash loop
#: has to last longer and longer to cause one more.
SETTLE = 1.0
LONGEST_SETTLE = 60.0
RECENT = 600.0
#: A container that has not opened its port after this long is told to nginx all the same: refused beats silence.
SLOW = 60.0
#: A container that is gone may come back to where it was; nginx passes over it meanwhile.
GONE = 30.0
#: Seconds that the guard may take to write a pin that it has decided on.
OWN = 60.0
#: While somebody rolls: how long an outage has to last before it is ours, and how often the end is looked for.
BUSY_SETTLE = 3.0
_BUSY_LOOK = 10.0
#: First and longest pause after nginx refused; nothing else changed meanwhile.
FIRST_RETRY = 15.0
LAST_RETRY = 600.0


@dataclass(frozen=True)
class Backend:
    """A running container that a name of nginx leads to.

    :param addresses: those on the networks that it shares with nginx.
    :param listening: whether a port that nginx connects to is open.
    :param service: the Compose service whose pin counts for it.
    """

    id: str
    addresses: frozenset[str]
    started: float
    listening: bool = True
    service: str = ""
    created: float = 0.0


@dataclass(frozen=True)
class Name:
    """A name that nginx resolves when it loads, and every running container that has it."""

    host: str
    backends: tuple[Backend, ...]


@dataclass(frozen=True)
class Pinned:
    """What nginx's hosts file says for a service's names, and since when: a roll at work, or one that was killed.

    :param proven: what was created until then ran before, or was proven; for a pin of our own that of the first one.
    """

    addresses: frozenset[str]
    written: float
    proven: float = float("inf")

    @property
    def trusted_until(self) -> float:
        """What was created before this moment may have the traffic."""
        return min(self.written, self.proven)


@dataclass(frozen=True)
class Seen:
    """One nginx at one moment.

    :param proxy: the id of its container.
    :param loaded: when the workers that take connections started, 0 when there are none.
    :param busy: a living process works under the app's lock.
    """

    now: float
    proxy: str
    loaded: float
    names: tuple[Name, ...] = ()
    pins: Mapping[str, Pinned] = field(default_factory=dict)
    busy: bool = False


@dataclass(frozen=True)
class Repin:
    """A stale pin has to lead elsewhere, or nowhere: then the name's own resolution counts again."""

    service: str
    names: tuple[str, ...]
    addresses: frozenset[str]


@dataclass(frozen=True)
class Need:
    """What nginx does not know of a name (``missing``), knows in vain (``departed``), or that nothing it knows lives."""

    host: str
    missing: frozenset[str]
    departed: frozenset[str]
    dead: bool

    def __str__(self) -> str:
        report = [f"{self.host} is at {_said(self.missing)} now"] if self.missing else []
        report += [f"{self.host} is no more at {_said(self.departed)}"] if self.departed else []
        return " and ".join(report)


@dataclass(frozen=True)
class Memory:
    """What is remembered between looks at one nginx.

    :param known: per name the addresses that the workers of this load have.
    :param since: per name what is needed, and since when exactly that.
    :param tries: when it was reloaded by us, or refused to be.
    :param refused: what was needed when nginx refused, how often, and when last.
    :param pinned: per service a pin that we wrote, with the moment that it is to be trusted by.
    """

    proxy: str = ""
    loaded: float = 0.0
    known: Mapping[str, frozenset[str]] = field(default_factory=dict)
    since: Mapping[str, tuple[Need, float]] = field(default_factory=dict)
    tries: tuple[float, ...] = ()
    refused: tuple[frozenset[Need], int, float] | None = None
    pinned: Mapping[str, Pinned] = field(default_factory=dict)


@dataclass(frozen=True)
class Nothing:
    """nginx knows what there is."""


@dataclass(frozen=True)
class Wait:
    """Look again after this many seconds, whatever happens or does not."""

    seconds: float
    why: str


@dataclass(frozen=True)
class Reload:
    """Take these pins away or elsewhere, and load the configuration again."""

    why: str
    repins: tuple[Repin, ...] = ()


Verdict = Union[Nothing, Wait, Reload]


def remember(memory: Memory, seen: Seen) -> Memory:
    """The memory after a look."""
    if memory.proxy != seen.proxy or abs(memory.loaded - seen.loaded) > SAME_LOAD:
        known = {name.host: known_by_time(name, seen) for name in seen.names}
        memory = replace(memory, proxy=seen.proxy, loaded=seen.loaded, known=known, refused=None)
    since = {}
    for need in _needs(memory, seen):
        before = memory.since.get(need.host)
        since[need.host] = before if before and before[0] == need else (need, seen.now)
    tries = tuple(t for t in memory.tries if seen.now - t < RECENT)
    return replace(memory, since=since, tries=tries)


def decide(memory: Memory, seen: Seen) -> Verdict:
    """What to do now, after :func:`remember`."""
    if not seen.loaded:
        return Nothing()
    needs = [need for need, _since in memory.since.values()]
    booting = [b for name in seen.names for b in name.backends if _is_awaited(memory, name, b, seen.now)]
    if not needs and not booting:
        return Nothing()
    waits = [Wait(min(5.0, max(0.25, (seen.now - b.started) / 4)), "it does not listen yet") for b in booting]
    due = []
    for need, since in memory.since.values():
        left = since + patience(memory, need, seen.busy) - seen.now
        if seen.busy and not need.dead:
            waits.append(Wait(_BUSY_LOOK, "an operation is at work"))
        elif left > 0:
            waits.append(Wait(left, f"{need.host} may change again"))
        else:
            due.append(need)
    if due and memory.refused and memory.refused[0] == frozenset(needs):
        _needs_then, count, at = memory.refused
        left = at + min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(count - 1, 10)) - seen.now
        if left > 0:
            waits.append(Wait(left, "nginx refused"))
            due = []
    if due:
        # Whatever it is loaded for, it takes every pin with it: none of them may be stale.
        repins = {repin.service: repin for name in seen.names for repin in _stale(memory, name, seen)}
        return Reload("; ".join(str(need) for need in due), tuple(repins.values()))
    return min(waits, key=lambda wait: wait.seconds)


def reloaded(memory: Memory, seen: Seen, done: Reload, loaded: float) -> Memory:
    """The memory after ``done`` was carried out on what was ``seen``, and new workers started at ``loaded``."""
    moved = {repin.service: repin.addresses for repin in done.repins}
    pins = {service: pin.addresses for service, pin in seen.pins.items() if service not in moved}
    pins.update({service: addresses for service, addresses in moved.items() if addresses})
    known = {name.host: _resolved(name, pins) for name in seen.names}
    return Memory(seen.proxy, loaded, known, {}, (*memory.tries, seen.now), None, _pinned_by_us(memory, seen, done))


def _pinned_by_us(memory: Memory, seen: Seen, done: Reload) -> dict[str, Pinned]:
    """The pins that we wrote, those of this act included: they trust whom the ones before them trusted."""
    ours = dict(memory.pinned)
    for repin in done.repins:
        before = _trusting(memory, seen.pins).get(repin.service)
        ours[repin.service] = Pinned(repin.addresses, seen.now, before.trusted_until if before else seen.now)
    return ours


def _trusting(memory: Memory, pins: Mapping[str, Pinned]) -> dict[str, Pinned]:
    """The pins with what is known of those that we wrote: newer than a container that nobody has proven."""
    return {
        service: replace(pin, proven=ours.proven) if ours and _is_same(pin, ours) else pin
        for service, pin, ours in ((s, p, memory.pinned.get(s)) for s, p in pins.items())
    }


def _is_same(pin: Pinned, ours: Pinned) -> bool:
    """Whether it is the pin that we wrote, and none that a roll wrote later for the same addresses."""
    return pin.addresses == ours.addresses and pin.written < ours.written + OWN


def refused(memory: Memory, seen: Seen, wanted: Reload) -> Memory:
    """The memory after nginx refused to load for ``wanted``, which it will do again until something changes.

    The pins are written by then, and nobody who was not trusted before is trusted for them.
    """
    needs = frozenset(need for need, _since in memory.since.values())
    count = memory.refused[1] if memory.refused and memory.refused[0] == needs else 0
    ours = _pinned_by_us(memory, seen, wanted)
    return replace(memory, refused=(needs, count + 1, seen.now), tries=(*memory.tries, seen.now), pinned=ours)


def is_proxied(seen: Seen) -> bool:
    """Whether this nginx needs a guard at all: it resolves the name of a container once."""
    return any(name.backends for name in seen.names)


# -- what nginx knows -------------------------------------------------------------------------------------


def known_by_time(name: Name, seen: Seen) -> frozenset[str]:
    """What a load that somebody else caused gave nginx for a name, as far as it can be told afterwards."""
    pins = {service: pin.addresses for service, pin in seen.pins.items() if pin.written < seen.loaded}
    if any(b.service in pins for b in name.backends):
        return _resolved(name, pins)
    return _addresses(b for b in name.backends if b.started < seen.loaded - DOUBT)


def _resolved(name: Name, pins: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """What the name means to nginx with these pins in its hosts file, which come before all else."""
    pinned = _union(pins[service] for service in {b.service for b in name.backends} if service in pins)
    if not pinned:
        return _addresses(name.backends)
    # A pin names a container by one of its addresses.
    return pinned | _addresses(b for b in name.backends if b.addresses & pinned)


# -- what it should know ----------------------------------------------------------------------------------


def _needs(memory: Memory, seen: Seen) -> list[Need]:
    seen = replace(seen, pins=_trusting(memory, seen.pins))
    found = (_need(memory.known.get(name.host, frozenset()), name, seen) for name in seen.names)
    return [need for need in found if need]


def _need(known: frozenset[str], name: Name, seen: Seen) -> Need | None:
    pins = _pins_of(name, seen)
    holders = holders_of(name, pins, seen.busy) if pins else None
    pinned = _union(pin.addresses for pin in pins.values())
    held = name.backends if not pins else tuple(b for b in name.backends if b.addresses & pinned)
    chosen = held if holders is None else holders
    wanted = _addresses(b for b in chosen if _is_ready(b, seen.now))
    # Whoever was proven serves as well as a pinned one; where none was, one is no better than another.
    dead = not known & _addresses((_trusted(name, pins) if pins else ()) or name.backends)
    missing = wanted - known
    departed = frozenset[str]() if pins else known - _addresses(name.backends)
    # A pin that holds is somebody's intermediate state: left alone for as long as anything lives that nginx knows.
    at_work = bool(pins) and holders is None and not dead
    return Need(name.host, missing, departed, dead) if wanted and not at_work and (missing or departed) else None


def _pins_of(name: Name, seen: Seen) -> dict[str, Pinned]:
    return {b.service: seen.pins[b.service] for b in name.backends if b.service in seen.pins}


def holders_of(name: Name, pins: Mapping[str, Pinned], busy: bool) -> tuple[Backend, ...] | None:
    """Who should have the traffic where a pin has become stale, None where it still holds.

    What was created before the pin was written is what ran before, or was proven already; what came later may never
    have been, and is taken only where there is nothing else and nobody at work.
    """
    pinned = _union(pin.addresses for pin in pins.values())
    written = max(pin.written for pin in pins.values())
    trusted = _trusted(name, pins)
    if pinned <= _addresses(trusted):
        return None
    kept = tuple(b for b in trusted if b.addresses & pinned)
    # One that was left out on purpose has not been started since.
    moved = tuple(b for b in trusted if b not in kept and b.started > written)
    # An unproven one may have been given the address that a pinned one lost.
    taken = any(b.addresses & pinned for b in name.backends if b not in trusted)
    if kept and not (moved or taken):
        return None
    if trusted:
        return (*kept, *moved) or trusted
    held = any(b.addresses & pinned for b in name.backends)
    return None if held else () if busy else name.backends


def _trusted(name: Name, pins: Mapping[str, Pinned]) -> tuple[Backend, ...]:
    """The containers that were created before these pins were written: they ran before, or were proven already."""
    return tuple(b for b in name.backends if b.created < max(pin.trusted_until for pin in pins.values()))


def _stale(memory: Memory, name: Name, seen: Seen) -> list[Repin]:
    """What has to become of a name's pins before nginx loads them."""
    pins = _pins_of(name, replace(seen, pins=_trusting(memory, seen.pins)))
    holders = (holders_of(name, pins, seen.busy) if pins else None) or ()
    found = []
    for service in sorted(pins) if holders else ():
        # Where all that runs is to be known, the name's own resolution says just that.
        every = set(holders) == set(name.backends)
        addresses = frozenset[str]() if every else _addresses(b for b in holders if b.service == service)
        hosts = {n.host for n in seen.names if any(b.service == service for b in n.backends)}
        found.append(Repin(service, tuple(sorted(hosts | {service})), addresses))
    return found


# -- when -------------------------------------------------------------------------------------------------


def patience(memory: Memory, need: Need, busy: bool) -> float:
    """Seconds for which a need has to stand unchanged before nginx is reloaded for it."""
    settle = min(LONGEST_SETTLE, SETTLE * 2.0 ** min(len(memory.tries), 10))
    if need.dead:
        return max(settle, BUSY_SETTLE) if busy else settle
    return settle if need.missing else max(settle, GONE)


def _is_ready(backend: Backend, now: float) -> bool:
    return backend.listening or now - backend.started >= SLOW


def _is_awaited(memory: Memory, name: Name, backend: Backend, now: float) -> bool:
    known = memory.known.get(name.host, frozenset())
    return not _is_ready(backend, now) and bool(backend.addresses - known)


def _addresses(backends: Iterable[Backend]) -> frozenset[str]:
    return _union(b.addresses for b in backends)


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)


def _said(addresses: Iterable[str]) -> str:
    return ", ".join(sorted(addresses))
