# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``deploy_lock`` does and says, and that one who lost the lock acts on nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.deploy_lock import call as lock
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import (
    FencedOff,
    Keeper,
    LockHeld,
    working,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.result import finish
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.fenced import FencedMachine
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.roller import Roller
from tests.property.drawn_rolls import draw
from tests.property.simulated_parts import Killed

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    def call(state: str = "held", check: bool = False, **more: Any) -> dict[str, Any]:
        base = {"state_dir": str(tmp_path / "state"), "playbook": "update", "app_name": "travel", "target": "v2"}
        return lock({**base, "who": "anna@laptop", "lease": 1800, "wait": 0, "state": state, **more}, check)

    return call


def records(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted((tmp_path / "state/operations").glob("*.json"))]


def test_check_mode_touches_nothing_and_is_no_failure_where_somebody_works(call: Call, tmp_path: Path) -> None:
    assert call(check=True)["changed"] is True
    assert not (tmp_path / "state").exists()
    call()
    before = sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "state").rglob("*"))
    told = call(check=True, target="v3")
    assert (told["changed"], told["lock_token"]) == (False, "")
    assert told["msg"] == "it is held: update of travel to v2 by anna@laptop"
    assert sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "state").rglob("*")) == before


def test_an_operation_from_its_beginning_to_its_end(call: Call, tmp_path: Path) -> None:
    held = call()
    token = held["lock_token"]
    assert (held["changed"], held["number"], held["holder"]) == (True, 1, "update of travel to v2 by anna@laptop")
    assert held["expires"].endswith("Z") and held["unfinished"] == {} and held["taken_over"] == ""
    again = call(lock_token=token)
    assert (again["changed"], again["lock_token"]) == (False, token)
    with pytest.raises(LockHeld):
        call(target="v3")
    call("renewed", lock_token=token, goal="forward", revision="abc", release="r2", before={"release": "r1"})
    with working(LockOptions(lock_token=token), str(tmp_path / "state"), "compose_rolling of travel") as fence:
        fence.reported({"changed": True})
    assert call("released", lock_token=token, go_back="update v1")["changed"] is True
    (record,) = records(tmp_path)
    assert (record["result"], record["revision"], record["before"]) == ("ok", "abc", {"release": "r1"})
    assert (record["who"], record["goal"], record["go_back"]) == ("anna@laptop", "forward", "update v1")
    assert record["seconds"] >= 0 and [s["step"] for s in record["steps"]] == ["compose_rolling of travel"]
    late = call("released", lock_token=token)
    assert (late["changed"], late["holder"]) == (False, "")


def test_a_run_that_changed_nothing_leaves_no_record_and_a_failed_one_does(call: Call, tmp_path: Path) -> None:
    call("released", lock_token=call()["lock_token"])
    assert records(tmp_path) == []
    call("released", lock_token=call()["lock_token"], result="failed", reason="What: no room\npassword=hunter2")
    (record,) = records(tmp_path)
    assert (record["result"], record["reason"]) == ("failed", "no room")


def test_whoever_comes_next_is_told_what_the_last_change_was_and_how_it_ended(call: Call, tmp_path: Path) -> None:
    def change(result: str, release: str, target: str) -> None:
        token = call(target=target)["lock_token"]
        call("renewed", lock_token=token, release=release)
        with working(LockOptions(lock_token=token), str(tmp_path / "state"), "compose_rolling of travel") as fence:
            fence.reported({"changed": True})
        call("released", lock_token=token, result=result)

    def last() -> dict[str, str]:
        held = call()
        assert call(lock_token=held["lock_token"])["last"] == held["last"]
        # It changes nothing, so it leaves no record: the same is told again.
        call("released", lock_token=held["lock_token"])
        return held["last"]

    assert last() == {"playbook": "", "target": "", "release": "", "result": ""}
    for number, result in enumerate(["ok", "failed", "ok"]):
        change(result, f"r{number}", f"v{number}")
        assert last() == {"playbook": "update", "target": f"v{number}", "release": f"r{number}", "result": result}
    call(target="v9")
    assert call(take_over=True)["last"] == {
        "playbook": "update",
        "target": "v9",
        "release": "",
        "result": "interrupted",
    }


def test_an_undo_that_is_owed_is_told_to_whoever_comes_next(call: Call) -> None:
    token = call()["lock_token"]
    call("renewed", lock_token=token, before={"release": "r1"}, release="r2", revision="abc")
    undo = call("renewed", lock_token=token, goal="undo", reason="api answered 500")
    assert undo["unfinished"]["before"] == {"release": "r1"}
    second = call(take_over=True, target="v3")
    assert "as was asked for" in second["taken_over"]
    assert (second["unfinished"]["target"], second["unfinished"]["reason"]) == ("v2", "api answered 500")
    with pytest.raises(FencedOff):
        call("renewed", lock_token=token, goal="undone")
    assert call("released", lock_token=token)["msg"].startswith("not given back: update of travel to v3")
    assert call("renewed", lock_token=second["lock_token"], goal="undone")["unfinished"] == {}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"state_dir": "state"}, "must be absolute"),
        ({"state_dir": "/srv/../etc"}, "without .."),
        ({"lease": 0}, "lease: 0 seconds"),
        ({"wait": -1}, "wait: -1 is not a duration"),
    ],
)
def test_bad_input(call: Call, more: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        call(**more)


def test_releasing_what_was_never_taken_is_no_failure(call: Call) -> None:
    assert call("released", lock_token="")["changed"] is False


class FakeModule:
    """An Ansible module that keeps how it ended."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.check_mode = False
        self.ended: dict[str, Any] = {}

    def exit_json(self, **result: Any) -> None:
        self.ended = result

    fail_json = exit_json


NOW_NOTHING = "Now: nothing was touched, what was serving still is"


@pytest.mark.parametrize(
    ("error", "key", "said"),
    [
        (LockHeld("somebody works", "ask anna"), "locked", f"What: somebody works\n{NOW_NOTHING}\nNext: ask anna"),
        (FencedOff("x has it"), "fenced_off", "What: this run was fenced off: x has it\nNow: it touches nothing"),
    ],
)
def test_how_a_module_ends_that_may_not(error: Exception, key: str, said: str) -> None:
    def raises(_params: Any, _check_mode: bool) -> dict[str, Any]:
        raise error

    module = FakeModule()
    finish(module, raises)
    assert module.ended[key] is True
    assert module.ended["msg"].startswith(said)


def stolen_roll(keeper: Keeper, seed: int) -> tuple[bool, list[str]]:
    """Drive a simulated roll whose lock is taken away after two acts: was it fenced off, and what did it do then."""
    machine, policy, _behaviour = draw(seed)
    acts: list[str] = []
    stolen_at: list[int] = []

    def watched(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            acts.append(name)
            return original(*arguments)

        return act

    for name in ("start", "hold", "rotate", "unpin", "stop", "remove"):
        setattr(machine, name, watched(name, getattr(machine, name)))
    with working(LockOptions(), keeper.directory, "compose_rolling of travel") as fence:

        def steal(*_step: Any) -> None:
            if len(acts) >= 2 and not stolen_at:
                stolen_at.append(len(acts))
                keeper.release(fence.token)

        try:
            Roller(FencedMachine(machine, fence), policy, steal).run()
        except FencedOff:
            return True, acts[stolen_at[0] :]
        except Killed:
            pass
    return False, []


def test_a_roll_that_loses_the_lock_stops_at_its_next_act_and_undoes_nothing(tmp_path: Path) -> None:
    keeper = Keeper(str(tmp_path / "state"))
    ends = [stolen_roll(keeper, seed) for seed in range(60)]
    assert sum(fenced for fenced, _acts in ends) > 20
    assert [acts for _fenced, acts in ends if acts] == []
