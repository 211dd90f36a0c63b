# SPDX-License-Identifier: GPL-3.0-or-later
"""When new containers have how much of the processors; what the kernel is told is noted."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processes, processor_share
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.politeness import Politeness


def container(number: int, age: float | None = 0.0, share: int = 0) -> dict[str, Any]:
    """One by its number, which is its process too; created only, where it has no age (seconds)."""
    began = "0001-01-01T00:00:00Z"
    if age is not None:
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
    state = {"Pid": number if age is not None else 0, "Running": age is not None, "StartedAt": began}
    return {"Id": f"c{number}", "State": state, "HostConfig": {"CpuShares": share}}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    noted: list[tuple[str, int]] = []
    for name in ("lower", "restore"):
        monkeypatch.setattr(processor_share, name, lambda pid, name=name: noted.append((name, pid)))
    for name in ("lower_engine", "restore_engine"):
        # It had less.
        monkeypatch.setattr(processor_share, name, lambda name=name: noted.append((name, 0)) or True)
    return noted


def look_twice(politeness: Politeness, seen: dict[str, dict[str, Any]]) -> None:
    """As a roll does, which asks of each what it is at, and looks again."""
    for inspection in seen.values():
        politeness.idle(inspection)
    politeness.look(seen)


@pytest.fixture(autouse=True)
def at_work(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The processes that are at work."""
    working = {1, 2, 3}
    monkeypatch.setattr(processes, "at_work", lambda pid: pid in working)
    monkeypatch.setattr(processes, "has_ended", lambda pid: False)
    monkeypatch.setattr(processes, "processor_seconds", lambda pid: 1.0)
    return working


def test_one_that_was_expected_has_less_until_it_serves(told: list[tuple[str, int]]) -> None:
    politeness, seen = Politeness(), {"c1": container(1), "c2": container(2)}
    politeness.expect({"c1": 60.0})
    for inspection in seen.values():
        politeness.started(inspection)
    politeness.look(seen)
    assert told == [("lower", 1)]
    politeness.booted(["c1"])
    politeness.look(seen)
    assert told == [("lower", 1)], "its other processes boot on"
    politeness.serve([seen["c1"]])
    politeness.look(seen)
    assert told == [("lower", 1), ("restore", 1)]


def test_one_has_less_from_its_first_moment(told: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    noted = []
    monkeypatch.setattr(processor_share, "lowered_at_start", lambda *words: noted.append(words) or nullcontext())
    politeness, others = Politeness(), [container(4, age=None), container(5)]
    politeness.expect({"c1": 60.0, "c2": 60.0})
    for new in (container(1, age=None), container(2, age=None, share=512), container(3, age=None)):
        with politeness.starting(new, others):
            pass
    assert noted == [("c1", "c5", 5)], "not what has a share of its own, nor what was not expected"
    with politeness.starting(container(1, age=None), others[:1]):
        assert len(noted) == 1, "nothing runs that has a control group"


def test_one_that_has_answered_is_not_slow(told: list[tuple[str, int]]) -> None:
    politeness = Politeness()
    politeness.expect({"c1": 60.0})
    politeness.booted(["c1"])
    politeness.look({"c1": container(1, age=50.0)})
    assert told == []


def test_a_slow_one_has_its_share_again_after_a_quarter_of_its_time_and_the_engine_too(
    told: list[tuple[str, int]],
) -> None:
    politeness = Politeness()
    politeness.expect({"c1": 60.0, "c2": 60.0, "c3": 60.0})
    look_twice(politeness, {"c1": container(1, age=20.0), "c2": container(2, age=10.0), "c3": container(3, age=None)})
    assert told == [("restore_engine", 0), ("restore", 1)]


def test_beside_one_that_says_nothing_of_itself_and_has_booted_the_engine_keeps_less(
    told: list[tuple[str, int]], at_work: set[int]
) -> None:
    at_work.clear()
    politeness = Politeness()
    politeness.expect({"c1": 60.0})
    look_twice(politeness, {"c1": container(1, age=20.0)})
    assert told == [("restore", 1)]


def test_the_engine_has_less_again_once_all_slow_ones_have_answered(told: list[tuple[str, int]]) -> None:
    politeness, seen = Politeness(), {f"c{number}": container(number, age=20.0) for number in (1, 2)}
    politeness.expect({"c1": 60.0, "c2": 60.0, "c3": 60.0})
    look_twice(politeness, seen)
    told.clear()
    politeness.booted(["c3"])
    politeness.booted(["c1"])
    assert told == []
    for _time in range(2):
        politeness.booted(["c2"])
        assert told == [("lower_engine", 0)]


@pytest.mark.parametrize("gone", [{}, {"c1": container(1, age=None)}], ids=["removed", "stopped"])
def test_the_engine_has_less_again_once_a_slow_one_has_ended(
    gone: dict[str, dict[str, Any]], told: list[tuple[str, int]]
) -> None:
    politeness, seen = Politeness(), {f"c{number}": container(number, age=20.0) for number in (1, 2)}
    politeness.expect({"c1": 60.0, "c2": 60.0})
    look_twice(politeness, seen)
    told.clear()
    politeness.look(seen)
    assert told == []
    politeness.look({**gone, "c2": seen["c2"]})
    assert told == [], "the other boots still"
    for _time in range(2):
        politeness.look(gone)
        assert told == [("lower_engine", 0)]


def test_the_engine_helps_also_those_that_are_found_slow_later(
    told: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    politeness = Politeness()
    politeness.expect({"c1": 60.0, "c2": 60.0})
    look_twice(politeness, {"c1": container(1, age=20.0), "c2": container(2)})
    # It has its share already.
    monkeypatch.setattr(processor_share, "restore_engine", lambda: False)
    look_twice(politeness, {"c1": container(1, age=30.0), "c2": container(2, age=20.0)})
    told.clear()
    politeness.booted(["c1"])
    assert told == []
    politeness.booted(["c2"])
    assert told == [("lower_engine", 0)]


def test_an_engine_that_had_its_share_keeps_it(told: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor_share, "restore_engine", lambda: False)
    politeness = Politeness()
    politeness.expect({"c1": 60.0})
    look_twice(politeness, {"c1": container(1, age=20.0)})
    politeness.booted(["c1"])
    assert told == [("restore", 1)]


def test_one_that_ends_has_less_for_half_of_its_time(told: list[tuple[str, int]]) -> None:
    politeness, seen = Politeness(), container(1)
    with politeness.ending(seen, 600.0):
        assert told == [("lower", 1)]
    assert told == [("lower", 1)], "it has ended"
    with politeness.ending(seen, 0.1):
        deadline = time.monotonic() + 10
        while len(told) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert told == [("lower", 1), ("lower", 1), ("restore", 1)]


def test_one_that_could_not_be_ended_has_its_share_again(told: list[tuple[str, int]]) -> None:
    with pytest.raises(ValueError), Politeness().ending(container(1), 600.0):
        raise ValueError
    assert told == [("lower", 1), ("restore", 1)]


def test_what_a_killed_run_has_started_has_its_share_again(told: list[tuple[str, int]]) -> None:
    Politeness().serve([container(1)])
    assert told == [("restore", 1)]


def test_one_that_may_boot_still_was_idle_between_two_looks_that_find_it_so(
    told: list[tuple[str, int]], at_work: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, clock = set[int](), [100.0]
    monkeypatch.setattr(processes, "has_ended", lambda pid: pid in ended)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    politeness, booting = Politeness(), container(1)

    def idle(after: float) -> float | None:
        clock[0] += after
        return politeness.idle(booting)

    assert idle(0) is None, "nobody has said that it boots"
    politeness.expect({"c1": 60.0})
    assert politeness.idle(container(2)) is None
    assert (idle(1), idle(1)) == (0, 0)
    at_work.clear()
    assert idle(3) == 0, "it may have been at work until now"
    assert idle(2) == 2
    at_work.add(1)
    assert idle(1) == 2
    at_work.clear()
    assert (idle(1), idle(1)) == (2, 3), "what was seen before counts too: others are at work all the time"
    ended.add(1)
    assert (idle(1), idle(1)) == (3, 3), "the engine has to say how it ended"
    politeness.serve([booting])
    assert idle(1) == 3, "it is kept, and has said nothing yet"
    politeness.booted(["c1"])
    assert idle(1) is None, "it has said that it has booted"


def test_one_may_boot_until_it_has_had_enough_of_the_processors_and_while_it_has_time_to_get_ready(
    told: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    had = {1: 1.0}
    monkeypatch.setattr(processes, "processor_seconds", lambda pid: had[pid])
    politeness, slow, late = Politeness(), container(1, age=20.0), container(1, age=70.0)
    politeness.expect({"c1": 60.0})
    look_twice(politeness, {"c1": slow})
    assert told == [("restore_engine", 0), ("restore", 1)]
    assert politeness.idle(slow) == 0, "it has the share of others now, and boots still"
    assert politeness.idle(late) is None, "its time is over"
    had[1] = 15.0
    assert politeness.idle(slow) is None, "no boot takes as much"


def test_one_with_a_share_of_its_own_keeps_it(told: list[tuple[str, int]]) -> None:
    politeness, own = Politeness(), container(1, age=20.0, share=102)
    politeness.expect({"c1": 60.0})
    politeness.started(own)
    look_twice(politeness, {"c1": own})
    politeness.serve([own])
    assert told == [("restore_engine", 0), ("lower_engine", 0)]
