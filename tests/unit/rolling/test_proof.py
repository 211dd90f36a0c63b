# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new web container is asked side by side before users meet it; what it is asked is noted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.answer import Answer
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.kinds import Evidence
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import (
    CommonSettings,
    Probe,
    settings_of,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import Route
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.proof import Proof, side_by_side
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.targets import Target
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.usual_answers import UsualAnswers

NEW, OLD = {"Id": "new"}, {"Id": "old"}


class App:
    """Notes how often each path is asked, and how many questions it has at the same time; each takes it some seconds."""

    def __init__(self, seconds: float = 0.01, statuses: Mapping[str, int] | None = None) -> None:
        self.seconds = seconds
        self.statuses = statuses or {}
        self.asked: Counter[str] = Counter()
        self.now = self.most = 0
        self.lock = threading.Lock()

    def ask(self, _inspection: Mapping[str, Any], _target: Target, probe: Probe, _any_success: bool) -> Answer:
        with self.lock:
            self.asked[f"{probe.method} {probe.path}"] += 1
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        status = self.statuses.get(probe.path, 200)
        return Answer(status == 200, f"answered {status}", status)


def target(probes: tuple[Probe, ...] = (Probe("/"),), ready_path: str = "", prove_seconds: float = 5.0) -> Target:
    settings = settings_of("api", {"command": "gunicorn x"}, Evidence(), CommonSettings(), {}, 8000, proxied=True)
    settings = replace(settings, prove=probes, ready_path=ready_path, prove_seconds=prove_seconds)
    return Target(settings, "sha256:1", "new", (Route("api", 8000),))


def asked_once(app: App, of: Target, old: tuple[Mapping[str, Any], ...] = (OLD,), unmet: int = 1) -> Answer:
    return Proof(app.ask, UsualAnswers(app.ask)).of(NEW, of, old, unmet)


def test_its_processes_and_threads_are_all_asked_before_users_are_led_to_it() -> None:
    app = App(0.05)
    assert asked_once(app, target((Probe("/"), Probe("/api/")))).ok
    # Once to be judged, once to see how long it takes, and as often at the same time.
    assert app.asked == {"GET /": 10, "GET /api/": 10} and app.most == 8


def test_it_is_asked_so_again_once_others_of_its_processes_may_have_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(0.0)
    proof = Proof(app.ask, UsualAnswers(app.ask))
    moments = iter([10.0, 10.0, 11.9, 12.0, 12.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    counts = []
    for _round in range(3):
        assert proof.of(NEW, target(), [OLD], 1).ok
        counts.append(app.asked["GET /"])
    assert counts == [10, 11, 21]


@pytest.mark.parametrize(
    ("of", "old", "unmet"),
    [
        (target(), (OLD,), 0),  # users meet it already
        (target(), (), 1),  # none serves, so users wait for it
        (target(prove_seconds=0.0), (OLD,), 1),  # nobody gave it time
        (target((Probe("/orders", method="POST"), Probe("/"))), (OLD,), 16),  # so many, each asked alone
    ],
)
def test_where_somebody_waits_or_all_would_be_too_many_each_is_asked_alone(
    of: Target, old: tuple[Mapping[str, Any], ...], unmet: int
) -> None:
    app = App()
    assert asked_once(app, of, old, unmet).ok
    assert app.most == 1


def test_what_changes_something_is_asked_once() -> None:
    app = App()
    assert asked_once(app, target((Probe("/orders", method="POST"), Probe("/", method="HEAD")))).ok
    assert app.asked == {"POST /orders": 1, "HEAD /": 10}


@pytest.mark.parametrize(("ready_path", "asked"), [("/health/", "/health/"), ("", "/")])
def test_where_nothing_is_written_down_it_is_asked_for_its_readiness(ready_path: str, asked: str) -> None:
    app = App()
    assert asked_once(app, target((), ready_path)).ok
    assert app.asked == {f"GET {asked}": 9}


def test_a_wrong_answer_is_told_before_anything_is_asked_side_by_side() -> None:
    app = App(statuses={"/": 500})
    assert asked_once(app, target()) == Answer(False, "answered 500", 500)
    assert app.most == 1


def test_one_that_answers_slowly_is_asked_no_more_than_it_answers_in_two_seconds() -> None:
    app = App(0.8)
    assert asked_once(app, target()).ok
    assert app.most == 2


@given(st.floats(0.0, 20.0), st.integers(1, 50))
def test_a_server_of_one_process_is_done_in_two_seconds_and_a_database_has_few_more(took: float, count: int) -> None:
    many = side_by_side(took, count)
    assert many == 0 or many > 1
    assert many * took <= 2.0 and many * count <= 16 and many <= 8
