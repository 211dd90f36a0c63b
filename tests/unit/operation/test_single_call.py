# SPDX-License-Identifier: GPL-3.0-or-later
"""One call that is the whole operation: its lock and record, who has to be waited for, what fails; and the site as users see it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processor_share
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import Probe
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import (
    Keeper,
    LockHeld,
    begin_undo,
    working,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.single_call import (
    OperationOptions,
    single_call,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.lease import Operation
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.smoke_test import wrong

OPERATION = OperationOptions("hotfix", "shop", "x", "me", 60)


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is told of the engine's share of the processors, in the place of the engine of this machine."""
    noted: list[str] = []
    for name in ("lower_engine", "restore_engine"):
        monkeypatch.setattr(processor_share, name, lambda name=name: noted.append(name))
    return noted


def free(folder: Path) -> LockOptions:
    return LockOptions(str(folder / "state"))


def works(lock: LockOptions, check_mode: bool) -> dict[str, Any]:
    with working(lock, lock.state_dir, "hotfix_live of shop") as fence:
        assert not fence.alone
        return fence.reported({"changed": True, "msg": "done"})


def never(lock: LockOptions, check_mode: bool) -> dict[str, Any]:
    raise AssertionError("was begun")


def records(folder: Path) -> list[dict[str, Any]]:
    keeper = Keeper(str(folder / "state"))
    return [keeper.records.read(path.stem) for path in sorted((folder / "state/operations").glob("*.json"))]


def test_it_takes_the_lock_keeps_a_record_and_gives_it_back(tmp_path: Path, engine: list[str]) -> None:
    result = single_call(OPERATION, free(tmp_path), False, works, "hotfix_live")
    headline, what = result.pop("summary")
    assert headline.startswith("shop: x done, after ") and what == "done"
    assert result == {"changed": True, "msg": "done", "whole": True}
    (record,) = records(tmp_path)
    assert (record["playbook"], record["who"], record["result"]) == ("hotfix", "me", "ok")
    assert [step["step"] for step in record["steps"]] == ["hotfix_live of shop"]
    assert engine == ["lower_engine", "restore_engine"]
    assert not Keeper(str(tmp_path / "state")).read().held


def test_what_changes_nothing_leaves_no_record(tmp_path: Path) -> None:
    assert single_call(OPERATION, free(tmp_path), False, lambda _lock, _check: {"changed": False}, "hotfix_live")[
        "whole"
    ]
    assert records(tmp_path) == []


@pytest.mark.parametrize("raises", [True, False])
def test_a_failure_is_on_record_and_the_lock_is_free(tmp_path: Path, raises: bool, engine: list[str]) -> None:
    def fails(lock: LockOptions, check_mode: bool) -> dict[str, Any]:
        works(lock, check_mode)
        if raises:
            raise BadInput("the page is gone")
        return {"changed": True, "failed": True, "msg": "the page is gone"}

    if raises:
        with pytest.raises(BadInput, match="the page is gone"):
            single_call(OPERATION, free(tmp_path), False, fails, "hotfix_live")
    else:
        assert single_call(OPERATION, free(tmp_path), False, fails, "hotfix_live")["failed"]
    (record,) = records(tmp_path)
    assert (record["result"], record["reason"]) == ("failed", "the page is gone")
    assert not Keeper(str(tmp_path / "state")).read().held and engine == ["lower_engine", "restore_engine"]


def test_whoever_has_to_be_waited_for_is_left_to_the_caller(tmp_path: Path, engine: list[str]) -> None:
    other = Keeper(str(tmp_path / "state")).take(Operation("update", "shop", "v2"), "she")
    with pytest.raises(LockHeld, match="update of shop"):
        single_call(OPERATION, free(tmp_path), False, never, "hotfix_live")
    patient = replace(OPERATION, wait=30)
    assert single_call(patient, free(tmp_path), False, never, "hotfix_live")["whole"] is False
    assert Keeper(str(tmp_path / "state")).read().token == other.lock.token and engine == []


def test_the_way_back_of_a_killed_run_comes_first(tmp_path: Path) -> None:
    keeper = Keeper(str(tmp_path / "state"))
    killed = keeper.take(Operation("hotfix", "shop", "x"), "me")
    begin_undo(keeper, killed.lock.token, "it does not boot")
    assert single_call(OPERATION, free(tmp_path), False, never, "hotfix_live")["whole"] is False
    assert not keeper.read().held and keeper.read().pending_undo == killed.lock.run, "whoever comes next still knows"


def test_under_a_lock_of_the_caller_or_in_check_mode_it_is_a_part(tmp_path: Path) -> None:
    keeper = Keeper(str(tmp_path / "state"))
    token = keeper.take(Operation("hotfix", "shop", "x"), "me").lock.token
    assert (
        single_call(OPERATION, replace(free(tmp_path), lock_token=token), False, works, "hotfix_live")["whole"] is False
    )
    assert keeper.read().held
    assert single_call(OPERATION, free(tmp_path), True, lambda _lock, check: {"check": check}, "hotfix_live") == {
        "check": True,
        "whole": False,
    }


class Site(BaseHTTPRequestHandler):
    sick = 0

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/health/?deep=1")
            self.end_headers()
            return
        status = {"/gone": 404}.get(self.path, 500 if Site.sick > 0 else 200)
        Site.sick -= 1
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"all is well")

    def log_message(self, *_args: Any) -> None:
        """Tests print nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Site.sick = 0
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_site_is_asked_as_users_ask_it(site: str) -> None:
    health = f"{site}/health/?deep=1"
    assert wrong(health, ()) == wrong("", (Probe("/gone"),)) == wrong(f"{site}/moved", ()) == ""
    assert wrong(health, (Probe("/gone", status=404), Probe("/", contains="well"))) == ""
    assert wrong(health, (Probe("/gone"),), pause=0) == f"GET {site}/gone answered 404"
    assert "without 'ill'" in wrong(health, (Probe("/", contains="ill"),), pause=0)
    Site.sick = 2
    assert wrong(health, (), pause=0) == "", "it is asked again"
    Site.sick = 9
    assert wrong(health, (), pause=0) == f"GET {health} answered 500"
    assert "was not answered" in wrong("http://127.0.0.1:1/", (), tries=1)
