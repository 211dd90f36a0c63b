# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with an nginx of its own, as a container: Debian's nginx, and the shop behind it on the same machine."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from tests.bed.front import QUITTING, ROOT, docker, site
from tests.bed.nested import engine_image

NAME = "evenkeel-nginx-host"
LABEL = f"evenkeel.bed={NAME}"
ENABLED = "/etc/nginx/sites-enabled/travel"
AVAILABLE = "/etc/nginx/sites-available/travel"
PROJECT = "/srv/travel/current"
STATE = "/var/lib/evenkeel/travel"
# The log goes where `docker logs` reads it; the site is enabled by a link, as Debian has it.
_START = f"""
ln -sf /proc/1/fd/1 /var/log/nginx/access.log
rm /etc/nginx/sites-enabled/default
ln -s {AVAILABLE} {ENABLED}
mkdir -p {PROJECT}
printf %s "$1" >{AVAILABLE}
nginx
exec python3 -m tests.bed.front serve
"""


def host_site(extra: str = "", upstream: str = "127.0.0.1:8000") -> str:
    """The site of the shop on the server itself."""
    return site(extra, upstream)


class Server:
    """The server; privileged, since trying a configuration takes a mount namespace, as root has it on a real one."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def create(self) -> None:
        """Start it, and wait until it answers."""
        image = engine_image(("nginx", "curl", "python3"))
        docker(
            "run", "--detach", "--init", "--privileged", "--name", NAME, "--label", LABEL,
            "--publish", f"127.0.0.1:{self.port}:80", "--volume", f"{ROOT}:/code:ro", "--workdir", "/code",
            "--env", "PYTHONPATH=/code:/code/collections", "--env", "PYTHONDONTWRITEBYTECODE=1",
            image, "sh", "-ec", _START, "sh", host_site(),
        )  # fmt: skip
        end = time.monotonic() + 30
        while subprocess.run(["curl", "-sf", "-o", "/dev/null", f"{self.url}/"], check=False).returncode:
            assert time.monotonic() < end, docker("logs", NAME)
            time.sleep(0.2)

    def destroy(self) -> None:
        """Remove it, and what it kept."""
        found = docker("ps", "-aq", "--filter", f"label={LABEL}").split()
        if found:
            docker("rm", "-fv", *found)

    def run(self, *argv: str, user: str = "0") -> str:
        """A command on the server."""
        return docker("exec", "--user", user, NAME, *argv)

    def processes(self) -> list[str]:
        """Its nginx processes, those that are quitting left out: pid, start, title."""
        lines = self.run("ps", "-eo", "pid,lstart,args").splitlines()
        return sorted(line.strip() for line in lines if "nginx: " in line and QUITTING not in line)

    def untouched(self) -> tuple[Any, ...]:
        """What must be the same where nginx was left alone."""
        stat = self.run("stat", "-c", "%N %i %y", AVAILABLE, ENABLED)
        found = self.processes()
        assert any("master process" in line for line in found) and len(found) > 1, found
        return found, stat, self.run("cat", AVAILABLE)

    def parameters(self, content: str, **further: Any) -> dict[str, Any]:
        """The module's arguments."""
        own = {"project_src": PROJECT, "project_name": "travel", "dest": ENABLED, "content": content, "service": None}
        return {**own, "backup": True, "keep": 3, "validate_only": False, "lock_token": None, **further}

    def call(self, content: str, place: str = "nowhere", user: str = "0", **further: Any) -> dict[str, Any]:
        """One call of the module on the server, without Ansible; empty where it was killed at the place."""
        text = json.dumps(self.parameters(content, **further))
        argv = ["docker", "exec", "--interactive", "--user", user, NAME, "python3", "-m", "tests.bed.front", "call"]
        done = subprocess.run(
            [*argv, "/dev/stdin", place], input=text, capture_output=True, text=True, check=False, timeout=120
        )
        if place != "nowhere":
            assert done.returncode == 137, f"{place}: {done.returncode} {done.stdout}{done.stderr}"
            return {}
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def leftovers(self) -> list[str]:
        """Copies of the configuration, and files that were to be renamed."""
        places = ["/tmp", "/etc/nginx", f"{STATE}/nginx"]
        tests = ["-name", "evenkeel-twin-*", "-o", "-name", ".evenkeel-*", "-o", "-name", "pending-*"]
        return self.run("sh", "-c", 'find "$@" 2>/dev/null || :', "sh", *places, *tests).split()
