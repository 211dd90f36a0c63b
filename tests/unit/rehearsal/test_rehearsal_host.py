# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a rehearsal that need no engine: the requests, the watch, and what stands beside the forecast."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.update_rehearsal import call as rehearse
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.progress import Progress
from ansible_collections.evenkeel.deploy.plugins.module_utils.rehearsal.host import app_copy
from ansible_collections.evenkeel.deploy.plugins.module_utils.rehearsal.inside import requests as rehearsal_requests


class Site(http.server.BaseHTTPRequestHandler):
    """Answers 200 to whoever names the right host, and 503 to its first three."""

    asked = 0

    def do_GET(self) -> None:
        Site.asked += 1
        good = self.headers["Host"] == "shop.example.com" and Site.asked > 3
        self.send_response(404 if self.path == "/gone/" else 200 if good else 503)
        self.end_headers()
        self.wfile.write(b"Even Keel")

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Site.asked = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def request(path: str, status: int = 200, contains: str = "") -> dict[str, Any]:
    return {"path": path, "method": "GET", "status": status, "contains": contains}


def asked(
    capsys: pytest.CaptureFixture[str], port: int, *requests: dict[str, Any], patience: float = 30.0
) -> dict[str, Any]:
    headers = {"Host": "shop.example.com"}
    rehearsal_requests.main(port, request("/health/", 0), list(requests), headers, patience, 5.0)
    told: dict[str, Any] = json.loads(capsys.readouterr().out.split("EVENKEEL ")[1])
    return told


def test_it_waits_until_it_is_answered_and_then_asks_once(
    port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = SimpleNamespace(sleep=lambda _seconds: None, monotonic=time.monotonic)
    monkeypatch.setattr(rehearsal_requests, "time", hasty)
    told = asked(
        capsys,
        port,
        request("/", 200, "Even Keel"),
        request("/gone/"),
        request("/", 200, "Odd"),
        request("/gone/", 404),
    )
    assert (told["ready"]["status"], told["ready"]["problem"]) == (200, "")
    assert [r["problem"] for r in told["requests"]] == ["", "answered 404", "answered 200, but without 'Odd'", ""]
    assert Site.asked == 4 + 4


def test_who_never_answers_is_not_asked_further(capsys: pytest.CaptureFixture[str]) -> None:
    told = asked(capsys, 1, request("/"), patience=0.3)
    assert told["requests"] == [] and "was not answered" in told["ready"]["problem"]


class Gone:
    """An engine that only takes away."""

    def __init__(self) -> None:
        self.removed: list[str] = []

    def remove_labelled(self, label: str, spared: Any) -> None:
        self.removed.append(label)


class Held:
    """A lock that stays ours."""

    def check(self) -> None:
        pass


def stage(engine: Gone, folder: Path, spare: int = 0, seconds: float = 60.0) -> app_copy.Stage:
    made: Any = app_copy.Stage
    definition = {"name": "shop-rehearsal-1", "services": {"api": {"image": "x"}}}
    until = time.monotonic() + seconds
    found: app_copy.Stage = made(
        engine, "shop", str(folder), definition, {}, Held(), Progress(), str(folder), spare, until, definition
    )
    return found


@pytest.mark.parametrize(
    ("limit", "words"), [({"seconds": 0.0}, "longer than it may"), ({"spare": 2**60}, "on the disk")]
)
def test_it_is_given_up_with_the_reason_and_not_with_what_follows_from_it(
    tmp_path: Path, limit: dict[str, Any], words: str
) -> None:
    engine = Gone()
    mine = stage(engine, tmp_path, **limit)
    with pytest.raises(app_copy.Rehearsed, match=words), mine.set_up():
        while not engine.removed:
            time.sleep(0.01)
        raise ValueError("the container is gone")
    assert not (tmp_path / "rehearsals").exists()


def test_its_folders_are_projects_that_go_with_it(tmp_path: Path) -> None:
    engine = Gone()
    mine = stage(engine, tmp_path)
    with pytest.raises(ValueError, match="of its own"), mine.set_up():
        for folder in (mine.folder, mine.folder_before):
            path = Path(folder, "compose.yaml")
            assert path.stat().st_mode & 0o777 == 0o600
            assert json.loads(path.read_text())["services"] == {"api": {"image": "x"}}
        raise ValueError("something of its own")
    assert engine.removed == ["com.docker.compose.project=shop-rehearsal-1"]
    assert not (tmp_path / "rehearsals").exists()


def test_what_it_took_is_written_beside_what_was_foretold(tmp_path: Path) -> None:
    release = tmp_path / "releases" / "20260101T000000Z-1111111"
    (release / ".evenkeel").mkdir(parents=True)
    manifest = release / ".evenkeel" / "manifest.json"
    one = {"app": "tours", "name": "0003_note", "database": "default", "seconds": 0.5}
    known = {
        "migrations": [{**one, "step": "expanded", "index": -1, "operation": "", "locks": []}],
        "backups": ["a.dump"],
    }
    manifest.write_text(json.dumps({"revision": "1" * 40, "rehearsal": known}))
    params = {"state": "compared", "project_src": str(release), "ran": {"ran": [{**one, "seconds": 0.7}]}}
    before = manifest.read_text()
    assert "0.50 s foretold, 0.70 s taken" in rehearse(params, True)["msg"]
    assert manifest.read_text() == before
    done = rehearse(params, False)
    assert done["changed"] is False and "0.50 s foretold, 0.70 s taken" in done["msg"]
    told = json.loads(manifest.read_text())
    assert told["rehearsal"]["migrations"][0]["real_seconds"] == 0.7 and told["rehearsal"]["backups"] == ["a.dump"]
    assert told["revision"] == "1" * 40
    # Where nothing was foretold nothing is said.
    manifest.write_text(json.dumps({"revision": "1" * 40}))
    assert rehearse(params, False)["msg"] == "" and "rehearsal" not in json.loads(manifest.read_text())
