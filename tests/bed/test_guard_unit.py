# SPDX-License-Identifier: GPL-3.0-or-later
"""Role ``guard`` on a server with systemd: its unit, with all that it forbids itself, does what the guard is for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.nested import NestedEngine
from tests.bed.shop import ROOT

_UNIT = "evenkeel-guard@travel.service"
_COMPOSE = """
services:
  api:
    image: evenkeel/python:3.13
    command: python -m http.server 8000
    stop_grace_period: 1s
  nginx:
    image: evenkeel/nginx:1.26
    volumes: ["./nginx.conf:/etc/nginx/conf.d/default.conf:ro"]
    ports: ["8080:80"]
"""
_NGINX = "server { listen 80; location / { proxy_pass http://api:8000; proxy_connect_timeout 1s; } }\n"


@pytest.fixture(scope="module")
def server() -> Iterator[NestedEngine]:
    with NestedEngine("evenkeel-unit", "unit", packages=("curl", "python3-docker"), systemd=True) as made:
        made.load_image("evenkeel/nginx:1.26", "evenkeel/python:3.13")
        made.write("/srv/travel/shared/compose.yaml", _COMPOSE, "0644")
        made.write("/srv/travel/shared/nginx.conf", _NGINX, "0644")
        made.exec("mkdir", "-p", "-m", "0700", "/var/lib/evenkeel/travel")
        compose(made, "up", "--detach", "--no-build", "api")
        compose(made, "up", "--detach", "--no-build")
        yield made


def compose(server: NestedEngine, *words: str) -> str:
    return server.docker("compose", "--project-name", "travel", "--project-directory", "/srv/travel/shared", *words)


def guard(server: NestedEngine, tmp_path: Path, **variables: str) -> str:
    """Run the playbook on the server, as the note says; returns what it printed."""
    host = {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}
    known = {"app_name": "travel", "app_repo": "unused", **variables}
    inventory = {"all": {"hosts": {server.name: host}, "vars": known}}
    (tmp_path / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "inventory.json")]
    done = subprocess.run(
        [*argv, "evenkeel.deploy.guard"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


def served_within(server: NestedEngine, seconds: float) -> float | None:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if server.try_exec("curl", "--silent", "--fail", "--max-time", "2", "http://127.0.0.1:8080/").returncode == 0:
            return time.monotonic() - began
        time.sleep(0.2)
    return None


def move(server: NestedEngine) -> None:
    """Let the container of api come back at another address, as after a crash."""
    server.docker("stop", "travel-api-1")
    server.docker(
        "run", "--detach", "--name", "taker", "--network", "travel_default", "evenkeel/python:3.13", "sleep", "90"
    )
    server.docker("start", "travel-api-1")


def test_the_unit_heals_a_container_that_moved_and_goes_without_a_trace(server: NestedEngine, tmp_path: Path) -> None:
    assert served_within(server, 20) is not None
    assert "changed=0" not in guard(server, tmp_path)
    assert "changed=0" in guard(server, tmp_path)
    assert server.exec("systemctl", "is-active", _UNIT).strip() == "active"
    time.sleep(3)
    move(server)
    healed = served_within(server, 30)
    log = server.exec("journalctl", "--no-pager", "-u", _UNIT)
    assert healed is not None, log[-3000:]
    assert "was reloaded" in log
    shown = server.exec("systemctl", "show", "--property", "NRestarts,MemoryCurrent,Result", _UNIT)
    assert "NRestarts=0" in shown and "Result=success" in shown, shown
    # It follows the engine over its restart, and its own end is clean.
    server.exec("systemctl", "restart", "docker")
    time.sleep(5)
    assert server.exec("systemctl", "is-active", _UNIT).strip() == "active"
    print(f"\nevidence: under systemd: healed after {healed:.1f} s; {' '.join(shown.split())}")
    guard(server, tmp_path, guard_state="absent")
    assert server.try_exec("systemctl", "cat", _UNIT).returncode != 0
    assert server.try_exec("ls", "/usr/local/lib/evenkeel").returncode != 0
