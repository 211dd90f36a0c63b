# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop of our own on this machine's engine: deployed, updated and looked at as a user would do it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processes
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.inspection import started_at
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.path_content import starting
from tests.bed.load.audit import Audit, Heartbeats, audit_heartbeats
from tests.bed.load.database import Database, wait_for_tasks
from tests.bed.load.process import LoadRun
from tests.bed.load.result import Result
from tests.bed.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
BEDS = ROOT / ".cache" / "beds"
LABEL = "evenkeel.bed"
#: Tells apart what two workers make side by side, of stacks that several files of tests use.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "0")
#: What users do at the same time: new and persistent connections, orders, 2-s requests, uploads of 4 s.
USERS = "new=4,keepalive=4,strict_keepalive=1,static=1,slow=2,upload=1"
#: The same with requests of 12 s, and streams: each roll then drains for as long, and so it is for where draining is the subject.
EVERYTHING = f"{USERS},slow12=1,stream=1"
#: Requests a second. Two shops on two cores that also build, start Djangos and run Ansible have no room for more, and
#: what then fails is the load generator; `make evidence` asks for 110.
RATE = float(os.environ.get("EVENKEEL_RATE", "30"))


class BedError(RuntimeError):
    """The bed itself could not be made: nothing about the product is known."""


@dataclass(frozen=True)
class Play:
    """How one ``ansible-playbook`` ended: exit code, everything it printed, seconds, tasks changed."""

    returncode: int
    output: str
    seconds: float

    @property
    def changed(self) -> int:
        found = re.findall(r"changed=(\d+)", self.output)
        return int(found[-1]) if found else -1

    @property
    def message(self) -> str:
        """The what/now/next of a failure."""
        at = self.output.rfind("What: ")
        return self.output[at:].split("PLAY RECAP")[0] if at >= 0 else ""

    @property
    def flat(self) -> str:
        """The output on one line, since the callback folds long ones."""
        return " ".join(self.output.split())

    @property
    def flat_message(self) -> str:
        """The message likewise."""
        return " ".join(self.message.split())


def succeeded(play: Play) -> Play:
    """The playbook's run, after asserting that it ended with 0."""
    assert play.returncode == 0, play.output[-5000:]
    return play


def run(argv: Sequence[str], timeout: float = 300.0, **kwargs: Any) -> str:
    """Run a command of the bed and return what it printed.

    :raises BedError: it failed.
    """
    done = subprocess.run(list(argv), capture_output=True, text=True, timeout=timeout, check=False, **kwargs)
    if done.returncode != 0:
        raise BedError(f"{' '.join(map(str, argv))}: {done.stderr.strip()[-1500:] or done.stdout.strip()[-1500:]}")
    return done.stdout


def settle(project: str, docker: Callable[..., str] = lambda *words: run(["docker", *words])) -> None:
    """Wait for containers that have given their answer and are on their way out, for which no playbook waits.

    After fifteen seconds they are left: then nobody takes them away. One that waits for another script does so for ten.

    :param docker: runs ``docker`` with words, on another engine, and returns what it printed.
    """
    label = ["--filter", f"label=com.docker.compose.project={project}", "--filter", "label=evenkeel.oneoff"]
    deadline = time.monotonic() + 15.0
    while docker("ps", "-aq", *label).strip() and time.monotonic() < deadline:
        time.sleep(0.1)


class Shop:
    """One shop: its folders, its git repository, its Compose project.

    :param name: also the Compose project's name and the label's value.
    :param variables: further variables of the playbooks.
    """

    #: The service that users come to.
    proxy = "nginx"

    def __init__(self, name: str, variables: Mapping[str, Any] | None = None) -> None:
        self.name = f"evenkeel-{name}"
        self.folder = BEDS / name
        self.root = self.folder / "srv"
        self.repository = self.folder / "shop.git"
        self.port = free_port()
        self.spare_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.variables: dict[str, Any] = {
            "app_name": self.name,
            "app_root": str(self.root),
            "app_state_dir": str(self.root / ".evenkeel"),
            "app_repo": str(self.repository),
            "app_health_url": f"{self.url}/health/",
            "app_verify_paths": [{"path": "/", "contains": "Even Keel Travel"}, {"path": "/api/tours/"}],
            # A version that never becomes ready is given up sooner than on a server.
            "app_services": {"api": {"ready_timeout": 20}},
            # Seconds of each update; it has a bed of its own.
            "app_image_archive": "never",
            **(variables or {}),
        }

    # -- life -----------------------------------------------------------------------------------------

    def create(self, env: str = "") -> Shop:
        """Make the folders, the repository and the server's own ``.env``."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.root / "shared").mkdir(parents=True)
        run([sys.executable, str(ROOT / "demo/repository.py"), str(self.repository)])
        text = (ROOT / "demo/shop/.env.example").read_text(encoding="utf-8")
        secrets = self.root / "shared/.env"
        secrets.write_text(f"{text}\nSHOP_PORT={self.port}\nSHOP_LABEL={self.name}\n{env}", encoding="utf-8")
        secrets.chmod(0o600)
        self.write_inventory()
        return self

    def write_inventory(self) -> None:
        """Make this machine the shop's server."""
        inventory = {
            "all": {
                "hosts": {"shop": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}},
                "vars": self.variables,
            }
        }
        (self.folder / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")

    def destroy(self) -> None:
        """Remove everything that carries this shop's label, and its folders."""
        own = f"label={LABEL}={self.name}"
        for listing, removal in (
            (["ps", "-aq"], ["rm", "-fv"]),
            (["volume", "ls", "-q"], ["volume", "rm"]),
            (["network", "ls", "-q"], ["network", "rm"]),
            (["images", "-q", "--no-trunc"], ["rmi", "-f"]),
        ):
            # The engine lists what is newest first: an image that was made of another goes before that one.
            found = list(dict.fromkeys(run(["docker", *listing, "--filter", own]).split()))
            if found:
                run(["docker", *removal, *found])
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what a user runs -----------------------------------------------------------------------------

    def playbook_argv(self, *arguments: str, playbook: str = "update", **variables: Any) -> list[str]:
        """The command line a user would type for ``update.yml``, or for another playbook."""
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), f"evenkeel.deploy.{playbook}"]
        return [*argv, "-i", str(self.folder / "inventory.json"), "-e", json.dumps(variables), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """What the playbook and our own scripts run with."""
        own = {
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}",
        }
        return {**os.environ, **own}

    def python(self, *arguments: str, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run a script of the beds in a process of its own."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def update(self, version: str, *arguments: str, **variables: Any) -> Play:
        """Run the playbook ``update`` to its end."""
        return self.play(*arguments, update_version=version, **variables)

    def rollback(self, *arguments: str, **variables: Any) -> Play:
        """Run the playbook ``rollback`` to its end."""
        return self.play(*arguments, playbook="rollback", **variables)

    def play(self, *arguments: str, **variables: Any) -> Play:
        """Run a playbook to its end."""
        began = time.monotonic()
        done = subprocess.run(
            self.playbook_argv(*arguments, **variables),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
            check=False,
        )
        seconds = time.monotonic() - began
        settle(self.name)
        return Play(done.returncode, done.stdout + done.stderr, seconds)

    def load(
        self, seconds: float = 300.0, rate: float = RATE, mix: str = USERS, arguments: Sequence[str] = ()
    ) -> LoadRun:
        """A load on this shop; it ends by itself after ``seconds``."""
        return LoadRun(self.url, self.folder / "load", rate=rate, seconds=seconds, mix=mix, arguments=arguments)

    # -- what is there --------------------------------------------------------------------------------

    def compose(self, *words: str) -> str:
        """A plain ``docker compose`` in ``current``, as an admin types it."""
        return run(["docker", "compose", *words], cwd=str(self.root / "current"))

    def inspections(self) -> list[dict[str, Any]]:
        """Every container of the project, one-offs included, but such as go while they are asked for."""
        ids = run(["docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={self.name}"]).split()
        if not ids:
            return []
        done = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=False)
        wrong = [line for line in done.stderr.splitlines() if "No such object" not in line]
        if done.returncode and (wrong or not done.stderr):
            raise BedError(f"docker inspect: {done.stderr.strip()[-1500:]}")
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def containers(self, service: str = "") -> dict[str, str]:
        """Names of the project's containers and the state of each."""
        return {
            i["Name"].lstrip("/"): i["State"]["Status"]
            for i in self.inspections()
            if not service or i["Config"]["Labels"].get("com.docker.compose.service") == service
        }

    def container(self, service: str) -> str:
        """The name of a service's one container."""
        names = list(self.containers(service))
        if len(names) != 1:
            raise BedError(f"{service} has {len(names)} containers: {names}")
        return names[0]

    def edit_by_hand(self, service: str, script: str, text: str = "") -> None:
        """Change files of a service's one container as a person does by a shell, who is not there in its first seconds.

        What is written in these is taken for its entrypoint's work.

        :param text: what the script reads.
        """
        name = self.container(service)
        _begin, end = starting(started_at(next(i for i in self.inspections() if i["Name"] == f"/{name}")))
        # Archives tell whole seconds.
        time.sleep(max(0.0, end + 1.0 - time.time()))
        run(["docker", "exec", "-i", "-u", "0", name, "sh", "-c", script], input=text)

    def mount(self, service: str, target: str) -> Path:
        """Where on this host lies what a service's one container mounts at a path."""
        name = self.container(service)
        mounts = next(i["Mounts"] for i in self.inspections() if i["Name"] == f"/{name}")
        return Path(next(m["Source"] for m in mounts if m["Destination"] == target))

    def version(self) -> str:
        """What ``/health/`` says through the proxy, empty when it does not answer."""
        try:
            text = run(["curl", "--silent", "--fail", "--max-time", "5", f"{self.url}/health/"])
            return str(json.loads(text)["version"])
        except (BedError, ValueError, KeyError):
            return ""

    def leftovers(self) -> list[str]:
        """What an operation should have taken away with it: pins, extra containers, what ``up -d`` would recreate."""
        found = [f"container {n} is {s}" for n, s in self.containers().items() if s != "running"]
        for service in ("api", "celery", "celery-beat"):
            number = len(self.containers(service))
            if number != self.variables.get("replicas", {}).get(service, 1):
                found.append(f"{service} has {number} containers")
        hosts = run(["docker", "exec", self.container(self.proxy), "cat", "/etc/hosts"])
        found += [f"pin left: {line}" for line in hosts.splitlines() if "evenkeel" in line and "# evenkeel" in line]
        found += self.rules_left() + self.links_left() + self.shares_left()
        plan = subprocess.run(
            ["docker", "compose", "up", "--detach", "--dry-run"],
            cwd=self.root / "current",
            capture_output=True,
            text=True,
            check=False,
        )
        text = plan.stdout + plan.stderr
        found += [
            f"a plain up -d would: {line.strip()}"
            for line in text.splitlines()
            if re.search(r"\b(Creat|Recreat|Remov|Start)(e|ed|ing)\b", line)
        ]
        found += [f"up -d fails: {text.strip()[-300:]}"] if plan.returncode else []
        return found

    def rules_left(self) -> list[str]:
        """Rules of ours in the network namespaces of the containers, which there can only be where we are root."""
        found = []
        if os.geteuid() == 0:
            mine = f"{self.name}/".encode().hex()
            tables = run(["nft", "list", "tables"]).splitlines()
            found += [f"a port is led elsewhere: {line}" for line in tables if "evenkeelports" in line and mine in line]
        for inspection in self.inspections() if os.geteuid() == 0 else ():
            pid = inspection["State"]["Pid"]
            if pid:
                tables = run(["nsenter", f"--net=/proc/{pid}/ns/net", "nft", "list", "tables"])
                found += [
                    f"rule left in {inspection['Name']}: {line}" for line in tables.splitlines() if "evenkeel" in line
                ]
        return found

    def shares_left(self) -> list[str]:
        """Containers that still leave the processors to others, as new ones do while they boot."""
        found = []
        for inspection in self.inspections():
            group, second = processes.control_group(inspection["State"]["Pid"], "cpu")
            share = processes.text_of(f"{group}/{'cpu.weight' if second else 'cpu.shares'}").strip()
            found += [f"share of {inspection['Name']} is {share}"] if share not in ("", "100", "1024") else []
        return found

    def links_left(self) -> list[str]:
        """Folders of links to sockets, and what is mounted over such a folder in nginx alone."""
        pid = next(i["State"]["Pid"] for i in self.inspections() if i["Name"] == f"/{self.container(self.proxy)}")
        mounted = (Path("/proc") / str(pid) / "mountinfo").read_text(encoding="utf-8").splitlines()
        found = [f"mount left in nginx: {line}" for line in mounted if "/.evenkeel-" in line]
        sources = {m["Source"] for i in self.inspections() for m in i["Mounts"] if m["Type"] == "volume"}
        return found + [f"left behind: {p}" for s in sorted(sources) for p in Path(s).glob(".evenkeel-*") if p.is_dir()]

    # -- what became of orders ------------------------------------------------------------------------

    @property
    def database(self) -> Database:
        return Database(self.container("db"), "shop", "shop")

    def settle_accounts(self, load: LoadRun, result: Result) -> Audit:
        """Hold every acknowledged order of a load against the rows and task runs that are there."""
        return wait_for_tasks(self.database, load.acknowledged(), result.unknown_orders).audit

    def heartbeats(self, since: float, until: float) -> Heartbeats:
        """The ticks of the scheduler between two UNIX times."""
        return audit_heartbeats(self.database.heartbeats(), since, until)


@contextmanager
def deployed(
    name: str, variables: Mapping[str, Any] | None = None, version: str = "v1", env: str = ""
) -> Iterator[Shop]:
    """A shop that the playbook deployed on an empty folder, whatever was left of one before; nothing is left of it."""
    made = Shop(name, variables)
    made.destroy()
    try:
        first = made.create(env).update(version)
        assert first.returncode == 0, first.output[-6000:]
        yield made
    finally:
        made.destroy()
