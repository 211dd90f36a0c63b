# SPDX-License-Identifier: GPL-3.0-or-later
"""Steering by refusals, with nft and nginx simulated: what is refused when, and that it ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host.processes import Process
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.nginx import Master
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import dns_resolver, firewall
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.dns_resolver import Asking, learning_seconds
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.steering import Endpoint, Gates


@dataclass
class World:
    """One nginx (pid 1) whose workers are as old as its last reload, rules with timeouts, and a clock."""

    clock: float = 1000.0
    loaded: float = 900.0
    worker: int = 2
    reloads: int = 0
    refused: dict[str, float] | None = None
    closed: set[int] = field(default_factory=set)
    unused: list[str] = field(default_factory=list)

    def pass_time(self, seconds: float) -> None:
        self.clock += seconds
        if self.refused is not None:
            self.refused = {a: end for a, end in self.refused.items() if end > self.clock}

    def left(self, _pid: int, _service: str) -> dict[str, float] | None:
        return None if self.refused is None else {a: end - self.clock for a, end in self.refused.items()}

    def refuse(self, _pid: int, _service: str, addresses: dict[str, float]) -> None:
        self.refused = {a: self.clock + seconds for a, seconds in addresses.items()}

    def refuse_unused(self, _pid: int, _service: str, ranges: Iterable[str], _seconds: float) -> None:
        self.unused = list(ranges)

    def refuse_nobody(self, _pid: int, _service: str) -> None:
        self.refused = None


class Proxy(Master):
    name, pid = "nginx", 1

    def __init__(self, world: World) -> None:
        self.world = world

    def workers(self) -> list[Process]:
        return [Process(self.world.worker, 1, self.world.loaded, "nginx: worker process")]

    def reload(self, timeout: float = 30.0) -> None:
        self.world.loaded = self.world.clock
        self.world.worker += 1
        self.world.reloads += 1


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(dns_resolver.time, "monotonic", lambda: made.clock)
    for name in ("refuse", "refuse_unused", "refuse_nobody"):
        monkeypatch.setattr(firewall, name, getattr(made, name))
    monkeypatch.setattr(firewall, "refused", made.left)
    monkeypatch.setattr(firewall, "is_closed", lambda pid: pid in made.closed)

    def close(pid: int, _ports: Iterable[int], _passing: Iterable[str], _seconds: float) -> None:
        made.closed.add(pid)

    monkeypatch.setattr(firewall, "close", close)
    monkeypatch.setattr(firewall, "open_again", made.closed.discard)
    return made


def endpoint(number: int) -> Endpoint:
    address = f"10.0.0.{number}"
    networks: dict[str, Any] = {"default": {"IPAddress": address, "Gateway": "10.0.0.1"}}
    return Endpoint(f"c{number}", address, number, 0.0, {"NetworkSettings": {"Networks": networks}})


OLD, NEW = endpoint(8), endpoint(9)


@pytest.mark.parametrize("kept", [5.0, None])
def test_a_change_from_one_to_the_other_leaves_nothing(world: World, kept: float | None) -> None:
    strategy, nginx = Asking("api", Gates([8000], True), kept, 0, 600.0), Proxy(world)
    assert strategy.look(nginx, [OLD], world.loaded).inside == {"c8"}
    strategy.isolate(nginx, [NEW])
    assert strategy.look(nginx, [OLD, NEW], world.loaded).inside == {"c8"}
    assert world.closed == {9} and set(world.refused or {}) == {NEW.address}
    world.pass_time(6)
    strategy.rotate(nginx, [OLD, NEW], [OLD.address, NEW.address])
    assert strategy.look(nginx, [OLD, NEW], world.loaded).inside == {"c8", "c9"}
    world.pass_time(learning_seconds(kept, 0.0))
    strategy.rotate(nginx, [OLD, NEW], [NEW.address])
    assert strategy.look(nginx, [OLD, NEW], world.loaded).inside == {"c9"}
    assert world.closed == {8} and set(world.refused or {}) == {OLD.address}
    world.pass_time(1)
    gone = strategy.look(nginx, [NEW], world.loaded)
    assert gone.cooling and not gone.stale, "a refused address hurts nobody"
    rounds = 0
    while strategy.look(nginx, [NEW], world.loaded).cooling:
        assert (rounds := rounds + 1) < 20, "it never ends"
        strategy.await_dns(nginx, [NEW])
        world.pass_time(1)
    assert not strategy.look(nginx, [NEW], world.loaded).stale, (
        "what nobody can know any more is not to be refused again"
    )
    assert (rounds > 4) is (kept is not None), "nginx may go on with an answer for as long as it keeps it"
    strategy.unpin(nginx, [NEW])
    assert world.refused is None
    assert strategy.look(nginx, [NEW], world.loaded) == dns_resolver.Route(frozenset({"c9"}))


def test_one_that_ended_by_itself_is_refused_for_as_long_as_it_may_be_known(world: World) -> None:
    strategy, nginx = Asking("api", Gates([8000], True), 5.0, 0, 600.0), Proxy(world)
    strategy.look(nginx, [OLD, NEW], world.loaded)
    world.pass_time(1)
    assert strategy.look(nginx, [OLD], world.loaded).stale
    strategy.rotate(nginx, [OLD], [OLD.address])
    assert not strategy.look(nginx, [OLD], world.loaded).stale
    assert set(world.refused or {}) == {NEW.address}


def test_one_that_ended_before_it_was_seen_is_refused_too(world: World) -> None:
    strategy, nginx = Asking("api", Gates([8000], True), 5.0, 0, 600.0), Proxy(world)
    strategy.hold(nginx, [OLD.address], lambda: ["10.0.0.9-10.0.0.254"])
    assert world.unused == ["10.0.0.9-10.0.0.254"]
    strategy.isolate(nginx, [], [NEW.address])
    strategy.started(nginx)
    assert world.unused == [] and set(world.refused or {}) == {NEW.address}
    told = strategy.look(nginx, [OLD], world.loaded)
    assert told.cooling and not told.stale and told.inside == {"c8"}


def test_what_a_run_that_was_killed_in_a_start_has_refused_is_let_in_again(world: World) -> None:
    killed, nginx = Asking("api", Gates([8000], True), 5.0, 0, 600.0), Proxy(world)
    killed.hold(nginx, [OLD.address], lambda: ["10.0.0.9-10.0.0.254"])
    killed.isolate(nginx, [NEW])
    way = Asking("api", Gates([8000], True), 5.0, 0, 600.0)
    way.rotate(nginx, [OLD, NEW], [OLD.address, NEW.address])
    assert world.unused == [] and world.refused == {}


def test_long_answers_are_ended_by_a_reload() -> None:
    assert [dns_resolver.reloads(kept) for kept in (5.0, 30.0, 31.0, None)] == [False, False, True, True]
    assert [learning_seconds(*given) for given in ((5.0, 10.0), (5.0, 0.0), (None, 0.0))] == [12.0, 7.0, 2.0]


@pytest.mark.parametrize("keepalive", [0, 32])
def test_connections_that_are_kept_open_end_when_one_leaves(world: World, keepalive: int) -> None:
    strategy, nginx = Asking("api", Gates([8000], True), 5.0, keepalive, 600.0), Proxy(world)
    strategy.look(nginx, [OLD, NEW], world.loaded)
    strategy.rotate(nginx, [OLD, NEW], [OLD.address, NEW.address])
    assert world.loaded == 900.0
    strategy.rotate(nginx, [OLD, NEW], [NEW.address])
    assert (world.loaded == world.clock) is bool(keepalive)


def test_a_clock_that_is_set_back_causes_no_reload_after_another(world: World) -> None:
    strategy, nginx = Asking("api", Gates([8000], True), None, 0, 600.0), Proxy(world)
    strategy.look(nginx, [OLD, NEW], world.loaded)
    strategy.rotate(nginx, [OLD, NEW], [NEW.address])
    before = world.reloads
    for _round in range(5):
        strategy.await_dns(nginx, [NEW])
        world.pass_time(2)
        # What a worker's start is counted by has been set back by an hour.
        world.loaded = world.clock - 3600
    assert world.reloads == before + 1 and not strategy.look(nginx, [NEW], world.loaded).cooling
