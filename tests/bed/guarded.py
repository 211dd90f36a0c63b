# SPDX-License-Identifier: GPL-3.0-or-later
"""A small stack with a guard beside it: one nginx, three answering services, and neighbours that take addresses."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.bed.front import QUITTING, docker
from tests.bed.guard_process import GuardProcess

NAME = "evenkeel-guard"
# Answers with its service's name; ends by itself after as many seconds as a file says.
SERVER = """
import http.server, os, signal, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["WHO"].encode())
    def log_message(self, *_): pass
try:
    life = float(open("/flags/life").read())
    threading.Timer(life, os._exit, [1]).start()
except FileNotFoundError:
    pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), H).serve_forever()
"""
SITE = """server {
    listen 80;
    proxy_connect_timeout 1s;
    set $unused "hunter2-token";
    location / { proxy_pass http://api:8000; }
    location /web/ { proxy_pass http://pool/; }
    location /shelf/ { proxy_pass http://shelf/; }
}
upstream pool { server web:8000; }
upstream shelf { include evenkeel/evenkeel-guard-shelf.conf; }
"""


class Guarded:
    """The stack's folder, its containers and its guard.

    :param folder: a folder of its own; removed with everything else by :meth:`destroy`.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.state = folder / "state"
        self.guard = GuardProcess(folder, NAME, self.state)
        self._takers = 0
        from docker import APIClient

        self.engine = APIClient(timeout=60)

    # -- life -----------------------------------------------------------------------------------------

    def create(self) -> None:
        """Write the project, the copy that the role makes, and start everything but the guard."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("flags-api", "flags-web", "flags-shelf", "addresses"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "addresses/evenkeel-guard-shelf.conf").write_text("server shelf:8000;\n", encoding="utf-8")
        (self.folder / "site.conf").write_text(SITE, encoding="utf-8")
        self.guard.install()
        self._write(self._project())
        docker("compose", "--project-directory", str(self.folder), "up", "--detach", "--quiet-pull")
        assert self.heals("/", "api", 20) and self.heals("/web/", "web", 20)

    def _write(self, project: object) -> None:
        (self.folder / "compose.yaml").write_text(json.dumps(project), encoding="utf-8")

    def _project(self) -> object:
        labels = {"evenkeel.bed": NAME}
        common = {"labels": labels, "restart": "always", "stop_grace_period": "5s"}
        # Their events are many, and none of them is the guard's business.
        health = {"test": ["CMD", "true"], "interval": "2s"}

        def service(name: str) -> object:
            return {
                **common,
                "image": "evenkeel/python:3.13",
                "command": ["python", "-c", SERVER.replace("$", "$$")],
                "environment": {"WHO": name, "PYTHONDONTWRITEBYTECODE": "1"},
                "volumes": [f"{self.folder}/flags-{name}:/flags:ro"],
                "healthcheck": health,
            }

        nginx = {
            **common,
            "image": "evenkeel/nginx:1.26",
            "depends_on": ["api", "web", "shelf"],
            "ports": [f"127.0.0.1:{self.port}:80"],
            "volumes": [
                f"{self.folder}/site.conf:/etc/nginx/conf.d/default.conf",
                f"{self.folder}/addresses:/etc/nginx/evenkeel:ro",
            ],
        }
        services = {**{name: service(name) for name in ("api", "web", "shelf")}, "nginx": nginx}
        return {"name": NAME, "services": services, "networks": {"default": {"labels": labels}}}

    def destroy(self) -> None:
        """End the guard and remove everything that carries the label, and the folder."""
        self.guard.end()
        for listing, removal in ((["ps", "-aq"], ["rm", "-fv"]), (["network", "ls", "-q"], ["network", "rm"])):
            found = docker(*listing, "--filter", f"label=evenkeel.bed={NAME}").split()
            if found:
                docker(*removal, *found)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- the guard ------------------------------------------------------------------------------------

    def said(self) -> str:
        """What it has logged."""
        return self.guard.said()

    def reloads(self) -> int:
        """How often it says that it had nginx reload."""
        return self.said().count("was reloaded")

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        assert self.guard.process is not None
        fields = Path(f"/proc/{self.guard.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> dict[str, int]:
        """KiB that it holds, all and its own."""
        assert self.guard.process is not None
        rows = [line.split() for line in Path(f"/proc/{self.guard.process.pid}/status").read_text().splitlines()]
        return {row[0].rstrip(":"): int(row[1]) for row in rows if row[0] in ("VmRSS:", "RssAnon:")}

    # -- the stack ------------------------------------------------------------------------------------

    def container(self, service: str) -> str:
        """Name of a service's container."""
        return f"{NAME}-{service}-1"

    def address(self, container: str) -> str:
        """Its address now."""
        networks = self.engine.inspect_container(container)["NetworkSettings"]["Networks"]
        return str(networks[f"{NAME}_default"]["IPAddress"])

    def pid(self, container: str) -> int:
        """The host's id of its main process, 0 when it does not run."""
        return int(self.engine.inspect_container(container)["State"]["Pid"])

    def workers(self, service: str = "nginx") -> set[str]:
        """nginx's workers that take connections."""
        listed = self.engine.top(self.container(service), "-o pid,args")["Processes"]
        return {p[0] for p in listed if "worker process" in " ".join(p) and QUITTING not in " ".join(p)}

    def ask(self, path: str) -> str:
        """What nginx answers, its status where that is none of 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else str(answer.status)
        except OSError as error:
            return str(error)
        finally:
            connection.close()

    def heals(self, path: str, who: str, patience: float) -> float | None:
        """Seconds until nginx answers rightly, three times running; None when it does not."""
        began = time.monotonic()
        while time.monotonic() - began < patience:
            seconds = time.monotonic() - began
            if all(self.ask(path) == who for _attempt in range(3)):
                return max(seconds, 0.001)
            time.sleep(0.1)
        return None

    def take(self) -> str:
        """A neighbour that takes the lowest free address, and opens no port."""
        self._takers += 1
        name = f"{NAME}-taker-{self._takers}"
        docker(
            "run", "--detach", "--name", name, "--label", f"evenkeel.bed={NAME}", "--network", f"{NAME}_default",
            "evenkeel/python:3.13", "sleep", "infinity",
        )  # fmt: skip
        return name

    def move(self, service: str) -> tuple[str, str]:
        """A service ends, a neighbour takes its address, and it comes back elsewhere; where it was, and where it is."""
        name = self.container(service)
        before = self.address(name)
        docker("stop", name)
        self.take()
        docker("start", name)
        after = self.address(name)
        assert before != after
        self.until(lambda: self.listens(service), 20)
        return before, after

    def listens(self, service: str) -> bool:
        """Whether a service's container answers by itself."""
        connection = http.client.HTTPConnection(self.address(self.container(service)) or "0.0.0.0", 8000, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read() == service.encode()
        except OSError:
            return False
        finally:
            connection.close()

    def loop(self, service: str, life: float) -> None:
        """From its next start on a service ends after so many seconds, 0: no more."""
        flag = self.folder / f"flags-{service}" / "life"
        if life:
            flag.write_text(str(life), encoding="utf-8")
        else:
            flag.unlink(missing_ok=True)

    def restarts(self, service: str) -> int:
        """How often the engine has started it again."""
        return int(self.engine.inspect_container(self.container(service))["RestartCount"])

    def hold_lock(self) -> subprocess.Popen[bytes]:
        """A living process that works under the app's lock until it is killed."""
        script = (
            "import sys, time; from evenkeel.operation.host.journal import Keeper; from evenkeel.operation.lease import Operation; "
            "k = Keeper(sys.argv[1]); k.take(Operation('update', 'x', 'v2'), 'anna', alone=True); "
            "print('held', flush=True); time.sleep(300)"
        )
        holder = subprocess.Popen(
            [sys.executable, "-B", "-c", script, str(self.state)], cwd=self.guard.lib, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        return holder

    @staticmethod
    def until(true: object, patience: float) -> bool:
        """Wait until something is so."""
        assert callable(true)
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if true():
                return True
            time.sleep(0.05)
        return False
