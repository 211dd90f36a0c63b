# SPDX-License-Identifier: GPL-3.0-or-later
"""The shop on a server of its own, reached as users reach one: ansible over ssh, sudo, a published port.

Engine and machine are a nested one's, so both may be killed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from demo.repository import add_commit
from tests.bed.load.process import LoadRun
from tests.bed.load.result import Result
from tests.bed.login import PACKAGES, Login
from tests.bed.nested import SUITE, NestedEngine
from tests.bed.ports import free_port
from tests.bed.shop import BEDS, ROOT, BedError, Play, run, settle

IMAGES = ("evenkeel/nginx:1.26", "evenkeel/postgres:17", "evenkeel/python:3.13", "evenkeel/redis:8")
#: Light: an engine that comes back needs the machine for itself.
MIX = "new=4,keepalive=4,slow=1"
_APP = "/srv/travel"
_COMPOSE = "docker-compose.prod.yml"


class Begun:
    """A playbook that runs; what it prints is in a file, so that it never waits for its reader."""

    def __init__(self, argv: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.began = time.monotonic()
        with log.open("w", encoding="utf-8") as stream:
            self.process = subprocess.Popen(
                argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str, timeout: float = 240.0) -> None:
        """Return once it has printed something.

        :raises BedError: it ended without, or did not within ``timeout`` seconds.
        """
        until = time.monotonic() + timeout
        while not re.search(pattern, self.output):
            if self.process.poll() is not None or time.monotonic() > until:
                raise BedError(f"the playbook never printed {pattern!r}:\n{self.output[-3000:]}")
            time.sleep(0.05)

    def end(self, timeout: float = 600.0) -> Play:
        """Wait for its end."""
        code = self.process.wait(timeout)
        return Play(code, self.output, time.monotonic() - self.began)


class Server:
    """A server with the shop's repository and the shop's ``.env``, and nothing deployed yet.

    :param name: of the bed; container, label and folder are named after it.
    :param packages: what is installed on it besides.
    :param compose: what its Compose file is made of the shop's; users of a server come from outside of it.
    :param memory: see :class:`NestedEngine`; ``arguments``, ``suite``, ``slices`` and ``ipv6`` too, by which users then come.
    :param variables: further variables of the playbooks.
    :param become: whether the plays become root; without it ``deploy`` owns ``app_root`` and is in the group docker.
    """

    def __init__(
        self,
        name: str,
        become: bool = True,
        packages: Sequence[str] = (),
        compose: Callable[[str], str] = lambda text: text.replace('"127.0.0.1:$', '"$'),
        memory: str = "",
        variables: Mapping[str, Any] | None = None,
        arguments: Sequence[str] = (),
        ipv6: bool = False,
        suite: str = SUITE,
        slices: bool = False,
    ) -> None:
        self.name = f"evenkeel-{name}"
        self.variables = dict(variables or {})
        self.become = become
        self.compose = compose
        self.folder = BEDS / name
        self.repository = self.folder / "shop.git"
        self.root = Path(_APP)
        self.port, self.spare_port = free_port(), free_port()
        self.url = f"http://{'[::1]' if ipv6 else '127.0.0.1'}:{self.port}"
        self.engine = NestedEngine(
            self.name,
            self.name,
            publish={self.port: 8080, free_port(): 22},
            packages=(*PACKAGES, "curl", "git", "python3-docker", *packages),
            keep_engine=True,
            memory=memory,
            arguments=arguments,
            ipv6=ipv6,
            suite=suite,
            slices=slices,
        )
        self.login = Login(self.engine, self.folder / "ssh")
        # Short, since a socket's path is; and what of ssh is ours is found by it.
        self.control = Path(tempfile.mkdtemp(prefix="evk-"))
        self._begun: list[Begun] = []

    def __enter__(self) -> Server:
        try:
            return self.create()
        except BaseException:
            self.destroy()
            raise

    def __exit__(self, *_error: object) -> None:
        self.destroy()

    # -- life -----------------------------------------------------------------------------------------

    def create(self) -> Server:
        """Start the server and bring it what a team has before the first deployment."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        run([sys.executable, str(ROOT / "demo/repository.py"), str(self.repository)])
        for tag in ("v1", "v2", "bad-500"):
            compose = run(["git", "--git-dir", str(self.repository), "show", f"{tag}:{_COMPOSE}"])
            add_commit(self.repository, {_COMPOSE: self.compose(compose)}, f"{tag}-server", parent=tag)
        self.engine.start()
        self.login.make()
        self.engine.load_image(*IMAGES)
        self.engine.exec("install", "-d", "-o", "deploy", "-g", "deploy", "/srv/git", _APP, f"{_APP}/shared")
        self._on_it("git init --quiet --bare /srv/git/shop.git")
        self.push()
        self.engine.write(f"{_APP}/shared/.env", (ROOT / "demo/shop/.env.example").read_text(encoding="utf-8"))
        self.engine.exec("chown", "deploy:deploy", f"{_APP}/shared/.env")
        if not self.become:
            self.engine.exec("usermod", "--append", "--groups", "docker", "deploy")
        host = {
            "ansible_user": "deploy",
            "ansible_become": self.become,
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": f"-F '{self.login.config}'",
        }
        variables: dict[str, Any] = {
            "app_name": "travel",
            "app_repo": "/srv/git/shop.git",
            "app_owner": "deploy" if self.become else "",
            "app_health_url": "http://127.0.0.1:8080/health/",
            "app_verify_paths": [{"path": "/", "contains": "Even Keel Travel"}, {"path": "/api/tours/"}],
            # Seconds of each update; it has a bed of its own.
            "app_image_archive": "never",
            **self.variables,
        }
        inventory = {"all": {"hosts": {self.name: host}, "vars": variables}}
        (self.folder / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")
        return self

    def push(self) -> None:
        """Bring the server's repository every tag that there is."""
        environment = {**os.environ, "GIT_SSH_COMMAND": f"ssh -F '{self.login.config}'"}
        push = ["git", "--git-dir", str(self.repository), "push", "--quiet", "--mirror"]
        run([*push, f"ssh://{self.name}/srv/git/shop.git"], env=environment)

    def destroy(self) -> None:
        """Remove the server and everything of it on this machine, playbooks that still run included."""
        for begun in self._begun:
            begun.process.kill()
            begun.process.wait()
        self.cut_connections()
        self.engine.destroy()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.control, ignore_errors=True)

    # -- what a user runs -----------------------------------------------------------------------------

    def begin(self, version: str, **variables: Any) -> Begun:
        """Start the playbook ``update`` over ssh, to a version of the shop or to a tag made of its ``-server`` one."""
        version = version if "-server" in version else f"{version}-server"
        return self.begin_playbook("update", update_version=version, **variables)

    def begin_playbook(self, playbook: str, **variables: Any) -> Begun:
        """Start a playbook of ours over ssh."""
        own = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"}
        argv = self.playbook_argv(playbook, **variables)
        self._begun.append(Begun(argv, {**self.environment, **own}, self.folder / "playbook.log"))
        return self._begun[-1]

    def playbook_argv(self, playbook: str, **variables: Any) -> list[str]:
        """The command of a playbook of ours on this server, for a process with :attr:`environment`."""
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), f"evenkeel.deploy.{playbook}"]
        return [*argv, "-i", str(self.folder / "inventory.json"), "-e", json.dumps(variables)]

    @property
    def environment(self) -> dict[str, str]:
        """Ours, with ssh connections that no other bed shares."""
        return {**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.control)}

    def update(self, version: str, **variables: Any) -> Play:
        """The playbook ``update``, to its end."""
        return self.begin(version, **variables).end()

    def rollback(self, **variables: Any) -> Play:
        """The playbook ``rollback``, to its end."""
        return self.begin_playbook("rollback", **variables).end()

    def cut_connections(self) -> int:
        """Kill every ssh of this server's playbooks, the one that keeps the connection included; returns how many."""
        cut = 0
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if command.startswith(b"ssh") and str(self.control).encode() in command:
                os.kill(int(entry.name), signal.SIGKILL)
                cut += 1
        return cut

    def load(self, seconds: float = 900.0, rate: float = 25.0, patience: float = 10.0) -> LoadRun:
        """A light load from outside.

        :param patience: seconds that an answer is waited for: few where an engine may be away, which cannot give one.
        """
        limits = ("--timeout", f"{patience:g}", "--connect-timeout", "3")
        return LoadRun(self.url, self.folder / "load", rate=rate, seconds=seconds, mix=MIX, arguments=limits)

    def judged(self, result: Result) -> Result:
        """A load's result with what nginx's log has no line for: closes of idle connections when it reloads."""
        return result.judged_by(self.engine.docker("logs", self.nginx()))

    # -- what is there --------------------------------------------------------------------------------

    def _on_it(self, command: str) -> str:
        done = self.login.try_run(command)
        if done.returncode:
            raise BedError(f"{self.name}: {command}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def version(self) -> str:
        """What users get from ``/health/``, empty when they get nothing."""
        try:
            # An IPv6 address is no name that Django's ALLOWED_HOSTS has.
            name = f"Host: 127.0.0.1:{self.port}"
            text = run(["curl", "--silent", "--fail", "--max-time", "2", "--header", name, f"{self.url}/health/"])
            return str(json.loads(text)["version"])
        except (BedError, ValueError, KeyError):
            return ""

    def serves_within(self, timeout: float) -> float | None:
        """Seconds until users were answered ten times in a row, None where they were not in time."""
        began, row, first = time.monotonic(), 0, 0.0
        while time.monotonic() - began < timeout:
            first = time.monotonic() if row == 0 else first
            row = row + 1 if self.version() else 0
            if row == 10:
                return first - began
            time.sleep(0.1)
        return None

    def containers(self) -> dict[str, str]:
        """Every container on it: service and number → state."""
        form = '{{.Label "com.docker.compose.service"}}-{{.Label "com.docker.compose.container-number"}} {{.State}}'
        lines = self.engine.docker("ps", "--all", "--format", form).splitlines()
        return dict(line.rsplit(" ", 1) for line in lines)

    def container(self, service: str) -> str:
        """The name of a service's container, its first where it has several."""
        own = f"label=com.docker.compose.service={service}"
        return self.engine.docker("ps", "--all", "--quiet", "--filter", own).split()[0]

    def nginx(self) -> str:
        """The name of the proxy's container."""
        return self.container("nginx")

    def leftovers(self) -> list[str]:
        """What a converged server does not have: pins, containers beside or ended, anything that ``up -d`` would do."""
        settle("travel", self.engine.docker)
        seen = self.containers()
        found = [f"{name} is {state}" for name, state in seen.items() if state != "running"]
        services = sorted(name.rsplit("-", 1)[0] for name in seen)
        if services != ["api", "celery", "celery-beat", "db", "nginx", "redis"]:
            found.append(f"containers of {services}")
        if not any(name.startswith("nginx-") and state == "running" for name, state in seen.items()):
            return [*found, "nginx does not run"]
        hosts = self.engine.docker("exec", self.nginx(), "cat", "/etc/hosts")
        found += [f"pin left: {line}" for line in hosts.splitlines() if "# evenkeel" in line]
        # As root: it is the owner's file, and only an owner reads it.
        plan = self.engine.try_exec("sh", "-c", f"cd {_APP}/current && docker compose up --detach --dry-run 2>&1")
        found += [
            f"a plain up -d would: {line.strip()}"
            for line in plan.stdout.splitlines()
            if re.search(r"\b(Creat|Recreat|Remov|Start)(e|ed|ing)\b", line)
        ]
        return found + ([f"up -d fails: {plan.stdout.strip()[-300:]}"] if plan.returncode else [])
