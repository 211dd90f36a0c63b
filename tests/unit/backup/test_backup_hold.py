# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that wait while a database is exchanged, and what is told where another one took its place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host import hold_requests as subject
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres import access


class Machine:
    """Two web containers; what is done to them is written down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
        self.done: list[str] = []
        self.open, self.now, self.refuses = 0, 0.0, 0
        boxes = [{"Name": "/api-1", "pid": 1}, {"Name": "/api-2", "pid": 2}]
        monkeypatch.setattr(subject, "running_of", lambda _source, _kind: boxes)
        monkeypatch.setattr(subject, "pid_of", lambda box: box["pid"])
        monkeypatch.setattr(subject.processes, "listening_ports", lambda pid: frozenset(more.get("ports", [8000])))
        monkeypatch.setattr(subject.processes, "connections", lambda _pid, *_ports: self.open)
        monkeypatch.setattr(subject.firewall, "unavailable", lambda: more.get("why", ""))
        monkeypatch.setattr(subject.firewall, "hold", self.hold)
        monkeypatch.setattr(subject.firewall, "let_in", lambda pid: self.done.append(f"let {pid} in"))
        monkeypatch.setattr(subject.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(subject.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def hold(self, pid: int, _ports: Any, _seconds: float) -> None:
        if pid == self.refuses:
            raise subject.FirewallFailed("nft refused")
        self.done.append(f"hold {pid}")

    @contextlib.contextmanager
    def act(self, _what: str) -> Iterator[None]:
        yield


def held(machine: Machine, busy: Any = lambda: False) -> float:
    """For how long what was under way was waited for (seconds)."""
    with subject.Hold(machine).held(machine, busy):  # type: ignore[arg-type]
        machine.done.append("exchange")
        return machine.now


def test_all_are_held_for_the_exchange_and_let_in_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    assert held(machine) == 0.0
    assert machine.done == ["hold 1", "hold 2", "exchange", "let 1 in", "let 2 in"]
    assert "requests to api-1 and api-2 are held" in subject.Hold(machine).words  # type: ignore[arg-type]


def test_what_is_under_way_is_waited_for_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.open = 3
    # Connections that are kept, and ask nothing of the database.
    assert 0.9 <= held(machine) < 1.2
    machine.now = 0.0
    assert 2.9 <= held(machine, lambda: machine.now < 2.0) < 3.3
    machine.now = 0.0
    assert subject.PATIENCE - 0.1 <= held(machine, lambda: True) < subject.PATIENCE + 0.2


def test_one_that_cannot_be_held_lets_all_in_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.refuses = 2
    with pytest.raises(subject.FirewallFailed):
        held(machine)
    assert machine.done == ["hold 1", "let 1 in", "let 2 in"]


@pytest.mark.parametrize(
    ("more", "said"), [({"why": "no root"}, "(no root)"), ({"ports": []}, "listens on no TCP port")]
)
def test_where_they_cannot_be_held_that_is_said_before(monkeypatch: pytest.MonkeyPatch, more: Any, said: str) -> None:
    machine = Machine(monkeypatch, **more)
    words = subject.Hold(machine).words  # type: ignore[arg-type]
    assert said in words and "that are under way in it fail" in words
    held(machine)
    assert machine.done == ["exchange"]


def test_what_differs_in_owner_extensions_and_grants_is_named() -> None:
    relation = {"owner": "shop", "grants": ["app SELECT", "app INSERT"]}
    before = {
        "owner": "shop",
        "extensions": {"pg_trgm": "1.6", "citext": "1.6"},
        "relations": {"o": relation, "gone": relation},
    }
    assert access.differences(before, before) == []
    now = {"owner": "x", "grants": ["app SELECT", "PUBLIC SELECT"]}
    after = {"owner": "root", "extensions": {"pg_trgm": "1.5"}, "relations": {"o": now, "new": now}}
    assert access.differences(before, after) == [
        "the database belongs to root instead of shop",
        "extension citext is not there instead of 1.6",
        "extension pg_trgm is 1.5 instead of 1.6",
        "o belongs to x instead of shop",
        "o is no longer granted: app INSERT",
        "o is granted as well: PUBLIC SELECT",
    ]
