# SPDX-License-Identifier: GPL-3.0-or-later
"""``app_engine: none`` on this machine: a static site, and a virtualenv behind something that starts it again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bed.plain_app import PlainApp
from tests.bed.ports import free_port
from tests.bed.shop import run

# -- a static site ----------------------------------------------------------------------------------------


class Site(PlainApp):
    """Files, and a server that serves them through ``current`` and through ``next``."""

    def __init__(self, folder: Path) -> None:
        self.port, self.next_port = free_port(), free_port()
        super().__init__(
            folder,
            {
                "app_health_url": f"http://127.0.0.1:{self.port}/index.html",
                "app_verify_paths": [{"path": "/about.html", "contains": "about"}],
                "app_shared": ["uploads"],
                "app_keep_releases": 2,
                "update_reload": [["sh", "-c", 'echo "$EVENKEEL_RELEASE" >>reloads']],
            },
        )
        (self.root / "shared/uploads").mkdir(parents=True)
        (self.root / "shared/uploads/cat.txt").write_text("miau")
        self._servers: list[subprocess.Popen[bytes]] = []

    def version(self, tag: str, about: str = "about") -> str:
        return self.commit(tag, {"index.html": tag, "about.html": about})

    def serve(self) -> None:
        for port, link in ((self.port, "current"), (self.next_port, "next")):
            argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory"]
            self._servers.append(subprocess.Popen([*argv, str(self.root / link)], stderr=subprocess.DEVNULL))

    def end(self) -> None:
        for server in self._servers:
            server.kill()
            server.wait()

    def page(self, name: str = "index.html") -> str:
        return run(["curl", "-sf", "--max-time", "5", f"http://127.0.0.1:{self.port}/{name}"])

    def reloads(self) -> list[str]:
        path = self.root / "reloads"
        return path.read_text().split() if path.exists() else []

    def at_v2(self) -> None:
        """Have v2 serve, whatever ran before."""
        if not (self.root / "current").exists() or self.page() != "v2":
            self.version("v2")
            play = self.update("v2")
            assert play.returncode == 0, play.output

    def states(self) -> list[str]:
        """The state of each release, oldest first."""
        return [str(m["state"]) for m in self.manifests()]

    def manifests(self) -> list[dict[str, Any]]:
        """The manifest of each release, oldest first."""
        found = sorted((self.root / "releases").glob("*/.evenkeel/manifest.json"))
        return [json.loads(path.read_text()) for path in found]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site at v1."""
    made = Site(tmp_path_factory.mktemp("site"))
    made.version("v1")
    try:
        made.serve()
        yield made
    finally:
        made.end()


def snapshot(folder: Path) -> dict[str, float]:
    return {str(p): p.lstat().st_mtime_ns for p in folder.rglob("*")}


def test_a_static_site_goes_from_nothing_to_v2_and_a_second_run_does_nothing(site: Site) -> None:
    before = snapshot(site.root)
    foretold = site.update("v1", "--check", "--diff")
    assert foretold.returncode == 0 and "the first release would be" in foretold.output, foretold.output
    assert snapshot(site.root) == before
    first = site.update("v1")
    assert first.returncode == 0, first.output
    assert site.page() == "v1" and site.page("uploads/cat.txt") == "miau"
    assert len(site.reloads()) == 1
    site.version("v2")
    before = snapshot(site.root)
    foretold = site.update("v2", "--check", "--diff")
    assert foretold.returncode == 0 and "would be replaced by" in foretold.output, foretold.output
    assert snapshot(site.root) == before
    second = site.update("v2")
    assert second.returncode == 0 and site.page() == "v2" and len(site.reloads()) == 2, second.output
    assert "if it was wrong: ansible-playbook evenkeel.deploy.rollback goes back to " in second.output
    again = site.update("v2")
    assert (again.returncode, again.changed) == (0, 0), again.output
    assert len(site.reloads()) == 2 and site.states() == ["verified", "verified"]


def test_back_and_not_further_back_and_on_again(site: Site) -> None:
    site.at_v2()
    before = len(site.reloads())
    back = site.update("", playbook="rollback")
    assert back.returncode == 0 and site.page() == "v1", back.output
    assert site.states() == ["verified", "bad"] and len(site.reloads()) == before + 1
    again = site.update("", playbook="rollback")
    assert (again.returncode, again.changed) == (0, 0) and site.page() == "v1", again.output
    refused = site.update("v2")
    left = site.manifests()[-1]["id"]
    assert refused.returncode != 0 and f"update_allow_bad={left}" in refused.output and site.page() == "v1"
    # What was marked bad is made anew.
    on = site.update("v2", update_allow_bad=left)
    assert on.returncode == 0 and site.page() == "v2", on.output
    assert site.states()[-1] == "verified"


def test_what_does_not_answer_is_taken_back_and_the_hook_runs_again(site: Site) -> None:
    site.at_v2()
    before = len(site.reloads())
    site.version("broken", about="nothing here")
    play = site.update("broken")
    assert play.returncode != 0
    assert "/about.html answered without 'about'" in play.message, play.output
    assert "Now: blog is back at" in play.message and "Next: correct that version" in play.message
    assert site.page() == "v2" and len(site.reloads()) == before + 2
    assert site.states()[-1] == "bad" and not os.path.lexists(site.root / "next")


def test_what_is_looked_at_first_nobody_meets(site: Site) -> None:
    site.at_v2()
    before = site.reloads()
    site.version("unproven", about="nothing here")
    prove = f"http://127.0.0.1:{site.next_port}"
    play = site.update("unproven", update_prove_url=prove)
    assert play.returncode != 0 and "What: before anyone met unproven" in play.message, play.output
    assert site.page() == "v2" and site.reloads() == before
    assert site.states()[-1] == "bad" and not os.path.lexists(site.root / "next")


def test_a_preparation_that_fails_leaves_everything_as_it_was(site: Site) -> None:
    site.at_v2()
    before, link = site.reloads(), os.readlink(site.root / "current")
    site.version("v3")
    failing = [["sh", "-c", "echo no such package >&2; exit 4"]]
    play = site.update("v3", update_prepare=failing)
    assert play.returncode != 0 and "ended with exit code 4\n" in play.message, play.output
    assert "no such package" in play.message and "Now: nothing that serves was touched" in play.message
    assert (os.readlink(site.root / "current"), site.reloads()) == (link, before)
    assert site.states()[-1] == "bad"


@pytest.mark.parametrize(
    "before",
    [
        "Run the prepare commands", "Mark the release as built", "Record the current state", "Activate the release",
        "Run the reload command", "Run smoke tests: ", "Finish: ", "Release the lock",
    ],
)  # fmt: skip
def test_killed_between_any_two_steps_the_same_playbook_converges(site: Site, before: str) -> None:
    tag = f"killed-{before.split()[0].lower().rstrip(':')}-{time.time():.0f}"
    site.version(tag)
    prepare = [["sh", "-c", "echo ready >prepared"]]
    site.killed(tag, before, update_prepare=prepare)
    play = site.update(tag, update_prepare=prepare)
    assert play.returncode == 0, play.output
    assert site.page() == tag and site.page("prepared") == "ready\n"
    assert site.reloads()[-1] == os.path.basename(os.readlink(site.root / "current")), "reloaded after the switch"
    again = site.update(tag, update_prepare=prepare)
    assert (again.returncode, again.changed) == (0, 0), again.output


@pytest.mark.parametrize(
    "before",
    [
        "Activate the previous release",
        "Run the reload command: 2[^ ]*-BACK",
        "Mark the release as bad",
        "Record the end of the undo",
    ],
)
def test_killed_on_the_way_back_it_is_finished_first(site: Site, before: str) -> None:
    site.at_v2()
    back = os.path.basename(os.readlink(site.root / "current"))
    tag = f"bad-{time.time():.0f}"
    site.version(tag, about="nothing here")
    site.killed(tag, before.replace("2[^ ]*-BACK", back))
    play = site.update(tag)
    assert play.returncode != 0 and f"What: {tag}" in play.message and "is bad" in play.message, play.output
    assert site.page() == "v2" and site.reloads()[-1] == back
    assert site.states()[-1] == "bad"
    assert site.update("v2").changed == 0


# -- a virtualenv behind what starts it again -------------------------------------------------------------

APPLICATION = """
import http.server, os, sys, dep
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{dep.VERSION} {sys.prefix}".encode()
        self.send_response(500 if dep.VERSION == "bad" else 200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_words): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
# What systemd would do: end the old, start the new from `current`, and say whether it answers.
RESTART = """
cd "$1"
[ ! -e pid ] || { kill "$(cat pid)" 2>/dev/null; while kill -0 "$(cat pid)" 2>/dev/null; do sleep 0.05; done; }
setsid current/.venv/bin/python current/app.py "$2" >server.log 2>&1 & echo $! >pid
for i in $(seq 100); do curl -s -o /dev/null "http://127.0.0.1:$2/" && exit 0; sleep 0.1; done
exit 1
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PlainApp]:
    port = free_port()
    made = PlainApp(
        tmp_path / "service",
        {
            "app_health_url": f"http://127.0.0.1:{port}/",
            "update_prepare": [
                [sys.executable, "-m", "venv", "--without-pip", ".venv"],
                [".venv/bin/python", "-c", "import shutil, sysconfig; shutil.copy('dep.py', sysconfig.get_path('purelib'))"],
            ],
        },
    )  # fmt: skip
    made.variables["update_reload"] = [["sh", "-c", RESTART, "sh", str(made.root), str(port)]]
    made.root.mkdir()
    try:
        yield made
    finally:
        path = made.root / "pid"
        if path.exists():
            os.kill(int(path.read_text()), signal.SIGKILL)


def test_a_virtualenv_is_made_in_its_release_and_served_from_there(service: PlainApp) -> None:
    def answer() -> list[str]:
        return run(["curl", "-s", str(service.variables["app_health_url"])]).split()

    for version in ("1", "2"):
        service.commit(f"v{version}", {"app.py": APPLICATION, "dep.py": f"VERSION = '{version}'"})
        play = service.update(f"v{version}")
        assert play.returncode == 0, play.output
        current = os.path.realpath(service.root / "current")
        said, prefix = answer()
        assert said == version and os.path.realpath(prefix) == f"{current}/.venv"
    service.commit("bad", {"app.py": APPLICATION, "dep.py": "VERSION = 'bad'"})
    play = service.update("bad")
    assert play.returncode != 0 and "500" in play.message and "is back at" in play.message, play.output
    assert answer()[0] == "2" and os.path.realpath(service.root / "current") == current
