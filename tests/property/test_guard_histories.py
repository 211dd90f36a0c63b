# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundreds of simulated histories of the guard: crashes, loops, moves, rolls that are killed, events that are lost.

Whatever happens: once it is quiet nginx knows what there is, a crash loop causes a bounded number of reloads, and
while somebody rolls only an outage makes the guard act.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.guard import guard
from tests.property.guarded_world import NEVER, SAFETY, World
from tests.property.seeded_histories import hold, in_parts, is_noticed

#: Seconds without anything new after which nginx has to know everything: the longest of each patience.
QUIET = guard.SLOW + guard.LONGEST_SETTLE + guard.GONE + 20
#: Reloads within ten minutes, whatever the containers do: until the patience is longest, then one each time.
MOST = 7 + int(guard.RECENT / guard.LONGEST_SETTLE)


def misfortune(world: World) -> None:
    """Something that happens to a host."""
    rng = world.rng
    alive = [b for b in world.boxes if b.address]
    what = rng.choice(
        ["crash", "swap", "loop", "scale", "nginx", "foreign", "roll", "end", "lost", "guard", "remove", "busy", "pass"]
    )
    if what == "crash" and alive:
        world.crash(rng.choice(alive))
    elif what == "swap" and len(alive) > 1:
        # Two end together and come back the other way round: each is where the other was.
        one, other = rng.sample(alive, 2)
        world.crash(one)
        world.crash(other)
        one.next, other.next = world.now + 0.3, world.now + 0.2
    elif what == "loop" and alive:
        rng.choice(alive).life = rng.choice([0.2, 2.0, 7.0, 20.0])
    elif what == "scale":
        name = rng.choice(world.names)
        # What is added in the middle of a roll nobody has proven either.
        world.create(name, proven=name not in world.pins, boot=rng.choice([0.3, 4.0, 90.0]))
    elif what == "nginx":
        world.restart_nginx()
    elif what == "foreign":
        world.load()
    elif what == "roll":
        world.begin_roll(rng.choice(world.names))
    elif what == "end":
        world.end_roll()
    elif what == "lost":
        world.deaf_until = world.now + rng.uniform(1, 30)
    elif what == "guard":
        world.begin_guard()
    elif what == "remove" and len(alive) > 1:
        box = rng.choice(alive)
        if len(world.running(box.name)) > 1:
            world.remove(box)
    elif what == "busy":
        world.busy_until = world.now + rng.uniform(1, 100)


def calm(world: World) -> None:
    """From now on nothing happens any more."""
    for box in world.boxes:
        box.life = NEVER
        box.next = NEVER if box.address else world.now + 0.1
    for name in world.names:
        # nginx refuses to load as long as one of its names means nothing.
        if not any(b.name == name for b in world.boxes):
            world.create(name)


def history(seed: int) -> World:
    rng = random.Random(seed)
    world = World(rng)
    for name in world.names:
        for _index in range(rng.randint(1, 2)):
            world.create(name)
    world.run(5)
    world.restart_nginx()
    world.begin_guard()
    for _index in range(rng.randint(3, 25)):
        misfortune(world)
        world.run(rng.choice([0.1, 0.5, 3.0, 20.0, 100.0]))
    return world


def check(seed: int) -> World:
    """Hold one history."""
    world = history(seed)
    for act in world.acts:
        assert len([a for a in world.acts if act.at <= a.at < act.at + guard.RECENT]) <= MOST, seed
        assert not act.busy or act.dead or not act.sure, (seed, act)
    # While a proven one could serve, no act of the guard opened the way to one that was never proven.
    assert world.exposed == [], seed
    calm(world)
    world.busy_until = world.now
    # What was lost is found by the rare look.
    world.run(SAFETY + QUIET)
    assert world.loaded, seed
    for name in world.names:
        live = frozenset(b.address for b in world.running(name))
        ready = frozenset(b.address for b in world.running(name) if b.proven)
        # A killed roll's pin may leave some out, but never all.
        assert not ready or world.truth[name] & live, (seed, name)
        if name not in world.pins:
            assert live <= world.truth[name], (seed, name)
    # And then there is nothing to do: it looks rarely and does nothing.
    looks, acts = world.looks, len(world.acts)
    world.run(10 * SAFETY)
    assert world.looks - looks <= 11, (seed, world.looks - looks)
    assert len(world.acts) == acts, seed
    return world


@in_parts
def test_histories(part: int) -> None:
    hold(check, part)


def test_the_histories_are_eventful() -> None:
    # Always the same: it is the generator that is judged, and others may by chance have few of one kind.
    worlds = [history(seed) for seed in range(400)]
    acts = [act for world in worlds for act in world.acts]
    assert len(acts) > 400
    assert sum(act.dead for act in acts) > 100
    assert sum(act.busy for act in acts) > 5
    assert sum(world.refusals > 0 for world in worlds) > 5


@pytest.mark.parametrize("life", [0.5, 2.0, 7.0, 20.0])
def test_a_crash_loop_at_one_address_is_one_reload(life: float) -> None:
    world = World(random.Random(0))
    api = world.create("api")
    world.create("web")
    world.run(5)
    world.restart_nginx()
    world.begin_guard()
    world.run(60)
    # Its address is taken while it is down, so that it comes back elsewhere, and then crashes for an hour.
    world.crash(api)
    world.create("web")
    api.life = life
    world.run(3600)
    # One for the neighbour that was added, one for the loop at most.
    assert 1 <= len(world.acts) <= 2, world.acts


def test_a_crash_loop_that_moves_each_time_is_bounded() -> None:
    world = World(random.Random(0), names=("api",))
    api = world.create("api")
    world.run(5)
    world.restart_nginx()
    world.begin_guard()
    world.run(60)
    hour = world.now + 3600
    api.life = 15.0
    while world.now < hour:
        world.run(0.05)
        if not api.address and len(world.boxes) < 150:
            # Somebody unrelated takes the address of each end.
            world.count += 1
            other = world.create("other")
            other.life = NEVER
            world.run(0.2)
    assert len(world.acts) <= 6 * MOST
    assert len([a for a in world.acts if a.at < hour - 3000]) <= 6


def never_settles(_original: Any) -> Any:
    return lambda memory, need, busy: 0.0


def blind_to_work(original: Any) -> Any:
    def decide(memory: guard.Memory, seen: guard.Seen) -> Any:
        from dataclasses import replace

        return original(memory, replace(seen, busy=False))

    return decide


def knows_all(_original: Any) -> Any:
    return lambda name, seen: frozenset().union(*(b.addresses for b in name.backends))


def never_stale(_original: Any) -> Any:
    return lambda name, pins, busy: None


def takes_anybody(_original: Any) -> Any:
    return lambda name, pins, busy: name.backends


@pytest.mark.parametrize(
    ("name", "mutate"),
    [
        ("patience", never_settles),
        ("decide", blind_to_work),
        ("known_by_time", knows_all),
        ("holders_of", never_stale),
        ("holders_of", takes_anybody),
    ],
)
def test_a_broken_rule_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str, mutate: Any) -> None:
    monkeypatch.setattr(guard, name, mutate(getattr(guard, name)))
    assert is_noticed(check)
