# SPDX-License-Identifier: GPL-3.0-or-later
"""A Compose project of any shape whose services boot in a moment, rolled by the module in this process.

Every service is the same small program unless its definition says otherwise: it answers each request with its version,
and with the status that its environment names, ``SOURS`` seconds after its start with 500; with ``CLOSES`` it keeps no connection.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.compose_rolling import call as roll
from tests.bed.front import docker, remove_labelled
from tests.bed.users import by_http2, failures, rules_of, until, users, users_by_http2

ROOT = Path(__file__).resolve().parents[2]
LABEL = "evenkeel.bed"
IMAGE = "evenkeel/python:3.13"
_SERVE = """
import http.server, os, time
BORN = time.monotonic()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 2
    def do_GET(self):
        # A whole body, as an app reads it; what is left unread would make the kernel reset the connection.
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        text = os.environ["VERSION"].encode()
        sour = time.monotonic() - BORN > float(os.environ.get("SOURS", "inf"))
        self.send_response(500 if sour else int(os.environ.get("STATUS", "200")))
        self.send_header("Content-Length", str(len(text)))
        if "CLOSES" in os.environ:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)
    do_POST = do_GET
    def log_message(self, *_words): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
Server(("", 8000), Handler).serve_forever()
"""


class SmallStack:
    """One project, its containers, and calls of ``compose_rolling`` on it.

    :param folder: a folder of its own, removed with everything else by :meth:`destroy`.
    :param services: definitions as in a Compose file; what they leave out of image and command is the small program.
    :param site: nginx's server block; with it comes a service ``front``, published on ``port`` of 127.0.0.1.
    :ivar front: what its definition has besides.
    """

    def __init__(self, name: str, folder: Path, services: Mapping[str, Any], site: str = "", port: int = 0) -> None:
        self.name, self.folder, self.services, self.site, self.port = name, folder, dict(services), site, port
        self.front: dict[str, Any] = {}

    @contextmanager
    def started(self) -> Iterator[SmallStack]:
        """Run v1, begun by hand, with users who get it; everything is removed when the block is left."""
        self.destroy()
        try:
            self.up("v1")
            until(lambda: self.ask() == "v1")
            yield self
        finally:
            self.destroy()

    def write(self, version: str) -> None:
        """Write the Compose file of a version."""
        self.folder.mkdir(parents=True, exist_ok=True)
        labels = {LABEL: self.name}
        own = {
            "image": IMAGE,
            "init": True,
            "command": ["python", "-u", "-c", _SERVE],
            "labels": labels,
            "stop_grace_period": "2s",
        }
        services: dict[str, Any] = {
            name: {**own, **one, "environment": {"VERSION": version, **one.get("environment", {})}}
            for name, one in self.services.items()
        }
        if self.site:
            (self.folder / "site.conf").write_text(self.site, encoding="utf-8")
            services["front"] = {
                "image": "evenkeel/nginx:1.26",
                "labels": labels,
                "ports": [f"127.0.0.1:{self.port}:80"],
                "volumes": [f"{self.folder}/site.conf:/etc/nginx/conf.d/default.conf:ro"],
                "depends_on": [name for name in services if f"//{name}:" in self.site],
                **self.front,
            }
        project = {
            "name": self.name,
            "services": services,
            "networks": {"default": {"labels": labels}},
        }
        # What has a dollar sign is nobody's variable here.
        text = json.dumps(project).replace("$", "$$")
        (self.folder / "compose.yaml").write_text(text, encoding="utf-8")

    def up(self, version: str) -> None:
        """Start it as its owner would, by hand."""
        self.write(version)
        self.compose("up", "--detach", "--quiet-pull", "--wait")

    def compose(self, *words: str) -> str:
        """A plain ``docker compose``."""
        return docker("compose", "--project-directory", str(self.folder), *words)

    def roll(self, version: str = "", **parameters: Any) -> dict[str, Any]:
        """Write a version, if one is given, and roll to it; raises what the module is refused with."""
        if version:
            self.write(version)
        return roll({**self.parameters, **parameters}, False)

    @property
    def parameters(self) -> dict[str, Any]:
        """What a call of the module is told of it."""
        return {"project_src": str(self.folder), "files": ["compose.yaml"], "state_dir": f"{self.folder}/state"}

    def roll_killed(self, place: str, **parameters: Any) -> None:
        """Begin such a call in a process of its own, which is killed at a place; see ``killed_roll.py``."""
        told = self.folder / "parameters.json"
        told.write_text(json.dumps({**self.parameters, **parameters}), encoding="utf-8")
        argv = [sys.executable, "-m", "tests.bed.killed_roll", str(told), place]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}"}
        killed = subprocess.run(
            argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]

    def three_versions(self, host: str = "localhost", **parameters: Any) -> int:
        """Three versions of ``app``, each changed to once, and a bad one, of which users get nothing; returns how many requests there were.

        :param parameters: further ones of each call.
        """
        app = self.services["app"]
        before = app.get("environment", {})
        with users(self.port, host) as answers:
            for version in ("v2", "v1", "v2"):
                result = self.roll(version, **parameters)
                assert not result.get("failed") and result["changed"], result["msg"]
                assert set(self.containers("app").values()) == {version}
                assert not self.roll(**parameters)["changed"]
            serving = self.containers("app")
            app["environment"] = {**before, "STATUS": "500"}
            bad = self.roll("v3", ready_timeout=5.0, **parameters)
            assert bad["failed"] and bad["rolled_back"], bad["msg"]
        assert failures(answers) == {} and sum(answers.values()) > 1000, answers
        assert "v3" not in answers and self.containers("app") == serving
        app["environment"] = before
        self.write("v2")
        assert self.leftovers() == []
        return sum(answers.values())

    def leftovers(self) -> list[str]:
        """Rules of ours in any container of it, and what a plain ``up`` would create anew."""
        argv = ["docker", "compose", "--project-directory", str(self.folder), "up", "--detach", "--dry-run"]
        dry = subprocess.run(argv, capture_output=True, text=True, check=True)
        return rules_of(self.name) + [line for line in dry.stderr.splitlines() if "ecreate" in line]

    def life_by_http2(self, host: str) -> int:
        """Three versions of ``app`` and a bad one, for users who keep their connections; returns how many requests none of which failed."""
        try:
            self.destroy()
            self.up("v1")
            until(lambda: by_http2(self.port, host) == "v1")
            with users_by_http2(self.port, host, 120) as answers:
                for version in ("v2", "v1", "v2"):
                    result = self.roll(version)
                    assert not result.get("failed") and result["changed"], result["msg"]
                self.services["app"]["environment"] = {"STATUS": "500"}
                bad = self.roll("v3", ready_timeout=5.0)
                assert bad["failed"] and bad["rolled_back"], bad["msg"]
            assert failures(answers) == {} and {"v1", "v2"} <= set(answers) and sum(answers.values()) > 300, answers
            return sum(answers.values())
        finally:
            self.destroy()

    def until_event(self, start: str, seconds: float = 90.0) -> None:
        """Wait until the journal has a line that starts so."""
        journal, end = self.folder / "state/journal.jsonl", time.monotonic() + seconds
        while not journal.exists() or f'"event":"{start}' not in journal.read_text(encoding="utf-8"):
            assert time.monotonic() < end, f"never met: {start}"
            time.sleep(0.02)

    def containers(self, service: str = "") -> dict[str, str]:
        """Id of each running container → its version."""
        filters = ["--filter", f"label=com.docker.compose.project={self.name}"]
        filters += ["--filter", f"label=com.docker.compose.service={service}"] if service else []
        ids = docker("ps", "-q", "--no-trunc", *filters).split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        words = {i["Id"]: dict(v.split("=", 1) for v in i["Config"]["Env"]) for i in found}
        return {key: environment.get("VERSION", "") for key, environment in words.items()}

    def inside(self, service: str, *argv: str) -> str:
        """Run a command in a service's container."""
        return self.compose("exec", "-T", service, *argv)

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """Yield the ids of containers of the project that are removed in the meantime."""
        label = f"label=com.docker.compose.project={self.name}"
        argv = ["docker", "events", "--filter", label, "--filter", "event=destroy", "--format", "{{.ID}}"]
        listener = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        gone: list[str] = []
        thread = threading.Thread(target=lambda: gone.extend(line.strip() for line in listener.stdout or ()))
        thread.start()
        time.sleep(0.5)
        try:
            yield gone
        finally:
            time.sleep(0.5)
            listener.terminate()
            thread.join(10)
            listener.wait(10)

    def ask(self, host: str = "localhost") -> str:
        """What users get as the answer to one request: a version, or why there is none."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/", headers={"Host": host})
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return str(answer.read().decode())
        except OSError as error:
            return f"failed: {error}"

    @contextmanager
    def visited(self) -> Iterator[dict[str, int]]:
        """Ask nginx all the time, on a new connection each; yields how often each version, or a failure, was the answer."""
        answers: dict[str, int] = {}
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                said = self.ask()
                answers[said] = answers.get(said, 0) + 1
                time.sleep(0.02)

        threads = [threading.Thread(target=ask) for _number in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield answers
        finally:
            ended.set()
            for thread in threads:
                thread.join(20)

    def destroy(self) -> None:
        """Remove everything that carries the label, and the folder."""
        remove_labelled(f"{LABEL}={self.name}")
        if self.folder.exists():
            shutil.rmtree(self.folder)
