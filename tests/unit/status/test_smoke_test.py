# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an app serves: what it answers, containers that go on restarting, and what a failure shows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import EngineFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.host import smoke
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.host.smoke import Request, verify
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.smoke_test import SmokeTestOptions


class Site(BaseHTTPRequestHandler):
    """Answers 200 with its path, and 502 below /bad/."""

    def do_GET(self) -> None:
        body = f"this is {self.path}".encode()
        self.send_response(502 if self.path.startswith("/bad/") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Engine:
    """Has one container per state."""

    states: tuple[str, ...] = ("running",)
    problem = ""

    def containers(self, labels: dict[str, str]) -> list[dict[str, Any]]:
        if self.problem:
            raise EngineFailed(self.problem)
        assert labels["com.docker.compose.project"] == "shop"
        return [
            {"Id": s, "Name": f"/shop-api-{s}", "State": {"Status": s}, "Created": "2026-11-25T03:00:00Z",
             "Config": {"Labels": {"com.docker.compose.service": "api"}}}
            for s in self.states
        ]  # fmt: skip

    def logs(self, _container: str, _lines: int, times: bool = False) -> str:
        assert times
        return "2999-01-01T00:00:00Z it fell over\n"


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> type[Engine]:
    class Mine(Engine):
        pass

    monkeypatch.setattr(smoke, "Engine", Mine)
    monkeypatch.setattr(smoke, "guard_info", lambda _project: {"notes": ["shop needs a guard"]})
    return Mine


def request(url: str, *prove: dict[str, Any], **more: Any) -> Request:
    return replace(Request(SmokeTestOptions(url, prove), "shop", tries=1, advice="do that"), **more)


def test_what_serves_is_good_and_what_is_worth_knowing_is_noted(site: str) -> None:
    result = verify(request(f"{site}/health/", {"path": "/tours/", "contains": "tours"}), False)
    assert result == {
        "changed": False, "asked": f"{site}/health/", "notes": ["shop needs a guard"],
        "msg": f"{site}/health/ answers as it should",
    }  # fmt: skip
    assert verify(request(f"{site}/health/", brief=True), False)["notes"] == []
    assert verify(request(f"{site}/health/", project_name=""), False)["notes"] == []


@pytest.mark.parametrize(
    ("path", "prove", "what"),
    [
        ("/bad/", (), "GET {site}/bad/ answered 502"),
        ("/", ({"path": "/tours/", "contains": "Lisbon"},), "GET {site}/tours/ answered without 'Lisbon'"),
        ("/", ({"path": "/bad/x"},), "GET {site}/bad/x answered 502"),
    ],
)
def test_what_does_not_serve_fails_with_the_last_log_lines(
    site: str, path: str, prove: tuple[dict[str, Any], ...], what: str
) -> None:
    result = verify(request(f"{site}{path}", *prove), False)
    assert result["failed"] and result["msg"] == (
        f"What: it does not serve as it should ({what.format(site=site)})\n"
        "Last log lines:\nshop-api-running: it fell over\nNext: do that"
    )


@pytest.mark.parametrize("state", ["restarting", "dead"])
def test_a_container_that_does_not_stay_up_fails_it(site: str, engine: type[Engine], state: str) -> None:
    engine.states = ("running", state)
    assert f"(api: shop-api-{state} is {state})" in verify(request(f"{site}/"), False)["msg"]
    assert "failed" not in verify(request(f"{site}/", brief=True), False)


def test_without_a_url_containers_are_looked_at_and_nothing_is_called_asked(engine: type[Engine]) -> None:
    assert verify(request(""), False)["asked"] == ""
    engine.states = ("dead",)
    assert verify(request(""), False)["failed"]


def test_an_engine_that_does_not_answer_is_said(site: str, engine: type[Engine]) -> None:
    engine.problem = "no Docker engine answers"
    with pytest.raises(BadInput, match="no Docker engine answers"):
        verify(request(f"{site}/"), False)
    # What the site does not answer is the news; that there are no log lines does not hide it.
    failed = verify(request(f"{site}/bad/"), False)["msg"]
    assert "answered 502" in failed and "they cannot be read: no Docker engine answers" in failed


def test_in_check_mode_nothing_is_asked() -> None:
    result = verify(request("http://127.0.0.1:9/"), True)
    assert (result["changed"], result["asked"], result.get("failed")) == (False, "", None)


def test_a_guard_that_cannot_be_looked_for_is_a_note(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(_project: str) -> dict[str, Any]:
        raise BadInput("nginx does not answer")

    monkeypatch.setattr(smoke, "guard_info", cannot)
    (note,) = verify(request(f"{site}/"), False)["notes"]
    assert "nginx does not answer" in note
