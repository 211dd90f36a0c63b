# SPDX-License-Identifier: GPL-3.0-or-later
"""A drawn stack on the real engine: started by hand as its owner would, visited, and brought through its life."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.nginx_reload import call as nginx_reload
from tests.bed.front import docker
from tests.bed.ports import free_port
from tests.bed.small_stack import IMAGE, LABEL, SmallStack
from tests.stacks.drawn_stacks import REST, SCHEDULERS, STORES, WEBS, WORKERS, Drawn, grown, led_to, shrunk
from tests.stacks.power_cut import reboot

NGINX = "evenkeel/nginx:1.26"
QUICK = {"prove_seconds": 0.5, "monitor": 1.0, "drain_timeout": 10.0, "ready_timeout": 15.0}
#: Of a bad version: what is wrong with it, by the kind of the service that has it.
FAULTS = {"web": ("500", "exit", "deaf"), "worker": ("exit",), "scheduler": ("exit",), "other": ("exit",)}
_CALL = """
import json, sys
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.compose_rolling import call as roll
roll(json.load(sys.stdin), False)
"""


class Visitors:
    """Requests on every route all the time: GETs, POSTs whose rows are looked for later, slow ones; each on a new connection."""

    def __init__(self, routes: dict[tuple[int, str], str]) -> None:
        self.routes = routes
        self.answers: Counter[tuple[str, str]] = Counter()
        self.failures: list[str] = []
        self.acknowledged: list[str] = []
        self.sent = 0
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def _visit(self, number: int) -> None:
        turn = 0
        while not self._ended.is_set():
            for (port, path), service in self.routes.items():
                turn += 1
                self._ask(port, path, service, f"{number}-{turn}")
            time.sleep(0.03)

    def _ask(self, port: int, path: str, service: str, row: str) -> None:
        method = "POST" if int(row.split("-")[1]) % 3 == 0 else "GET"
        where = path + ("slow" if int(row.split("-")[1]) % 40 == 0 else "")
        row = f"{id(self)}-{row}"
        try:
            call = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
            call.request(method, where, body=row if method == "POST" else None)
            answer = call.getresponse()
            text, problem = answer.read().decode(), "" if answer.status == 200 else f"{answer.status}"
            call.close()
        except (OSError, http.client.HTTPException) as error:
            text, problem = "", f"{type(error).__name__}: {error}"
        with self._lock:
            self.sent += 1
            if problem:
                self.failures.append(f"{time.time() % 1000:.2f} {method} {service}: {problem}")
            else:
                self.answers[service, text] += 1
                self.acknowledged += [row] if method == "POST" else []

    @contextmanager
    def visiting(self) -> Iterator[Visitors]:
        """Let two of them come and go."""
        threads = [threading.Thread(target=self._visit, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            for thread in threads:
                thread.join(30)

    def versions(self, service: str) -> set[str]:
        """Which versions of a service have answered."""
        return {text for name, text in self.answers if name == service}


class LiveStack(SmallStack):
    """See the module's text.

    :param ports: of 127.0.0.1, for each nginx.
    """

    def __init__(self, name: str, folder: Path, drawn: Drawn, ports: dict[str, int]) -> None:
        super().__init__(name, folder, drawn.services, "drawn", ports["front"])
        self.drawn, self.ports = drawn, ports
        self.fault: tuple[str, str] = ("", "")
        self.version, self.before = "", ""
        self.rows: list[str] = []
        self.kept: dict[str, str] = {}
        self.requests = 0
        self.seconds: list[tuple[str, float]] = []

    def write(self, version: str) -> None:
        """Write the Compose file of a version; ``fault`` says which service of it is bad, and how."""
        (self.folder / "programs").mkdir(parents=True, exist_ok=True)
        for program in (*WEBS, *WORKERS, *SCHEDULERS, *STORES, *REST):
            shutil.copy(Path(__file__).with_name("programs.py"), self.folder / "programs" / program)
        labels = {LABEL: self.name}
        services: dict[str, Any] = {}
        for name, one in self.drawn.services.items():
            kind = self.drawn.kinds[name]
            kept = version if kind != "database" else "always"
            fault = self.fault[1] if self.fault[0] == name else ""
            services[name] = {
                "image": IMAGE, "init": True, "labels": labels, "stop_grace_period": "3s", **one,
                "environment": {"VERSION": kept, **({"FAULT": fault} if fault else {})},
                "volumes": [
                    f"{self.folder}/programs:/programs:ro", *one.get("volumes", []), *(["rows:/rows"] if kind == "web" else []),
                ],
            }  # fmt: skip
        for nginx, led in self.drawn.led.items():
            (self.folder / f"{nginx}.conf").write_text(self._site(nginx), encoding="utf-8")
            services[nginx] = {
                "image": NGINX, "labels": labels, "ports": [f"127.0.0.1:{self.ports[nginx]}:80"],
                "volumes": [f"{self.folder}/{nginx}.conf:/etc/nginx/conf.d/default.conf:ro"],
                "depends_on": sorted(set(led.values())), "restart": "always",
            }  # fmt: skip
        mounted = [
            str(v).partition(":")[0] for one in services.values() for v in one["volumes"] if not str(v).startswith("/")
        ]
        networks = {name for one in services.values() for name in one.get("networks", ("default",))}
        project = {
            "name": self.name, "services": services, "networks": {name: {"labels": labels} for name in sorted(networks)},
            "volumes": {name: {"labels": labels} for name in mounted},
        }  # fmt: skip
        (self.folder / "compose.yaml").write_text(json.dumps(project).replace("$", "$$"), encoding="utf-8")

    def _site(self, nginx: str) -> str:
        mode, upstreams, locations = self.drawn.modes[nginx], "", ""
        for number, (path, service) in enumerate(self.drawn.led[nginx].items()):
            port = 80 if service in self.drawn.led else 8000
            to = {"plain": f"{service}:{port}", "upstream": f"up{number}", "resolver": f"$to{number}:{port}"}[mode]
            upstreams += f"upstream up{number} {{ server {service}:{port}; }}\n" if mode == "upstream" else ""
            known = f"set $to{number} {service};" if mode == "resolver" else ""
            locations += f"    location {path} {{ {known} proxy_pass http://{to}; }}\n"
        resolver = "    resolver 127.0.0.11 valid=1s;\n" if mode == "resolver" else ""
        return f"{upstreams}server {{\n    listen 80;\n{resolver}{locations}}}\n"

    # -- its life -----------------------------------------------------------------------------------------------

    def live(self) -> None:
        """Bring it through all of it; raises :class:`AssertionError` where something does not hold."""
        self.version = "v1"
        began = time.monotonic()
        self.up("v1")
        self.stores = {name: set(self.containers(name)) for name in self.drawn.of_kind("database")}
        self.hold("start")
        self.seconds = [("start", time.monotonic() - began)]
        for number, (operation, how) in enumerate(self.drawn.life, 2):
            began = time.monotonic()
            getattr(self, f"do_{operation}")(f"v{number}", how)
            self.hold(f"{operation} v{number}")
            self.seconds.append((operation, time.monotonic() - began))

    @contextmanager
    def visiting(self, forgiven: bool = False) -> Iterator[Visitors]:
        """Visitors meanwhile, none of whom fails.

        :param forgiven: nginx itself is away for a moment.
        """
        with Visitors(self._routes()).visiting() as visitors:
            yield visitors
        self.rows += visitors.acknowledged
        self.requests += visitors.sent
        assert forgiven or not visitors.failures, (
            f"{len(visitors.failures)} of {visitors.sent} failed: {visitors.failures[:5]}"
        )

    def _routes(self) -> dict[tuple[int, str], str]:
        """Port and path → the service that answers there in the end."""
        front = self.drawn.led["front"]
        behind = {"front": front["/"]}
        return {
            (self.ports[nginx], path): behind.get(name, name)
            for nginx, led in self.drawn.led.items()
            for path, name in led.items()
        }

    def go(self, version: str = "", **options: Any) -> dict[str, Any]:
        """One call of the module."""
        return self.roll(version, **{**QUICK, **options})

    def becomes(self, version: str) -> None:
        """A version serves from now on."""
        self.before, self.version = self.version, version

    def do_update(self, version: str, _how: float, **options: Any) -> None:
        """A good version."""
        old = set(self.containers())
        with self.visiting() as visitors, self.watched() as gone:
            result = self.go(version, **options)
        assert not result.get("failed"), result["msg"]
        assert set(gone) <= old, "a container of the wanted version was removed"
        for name in visitors.routes.values():
            assert visitors.versions(name) <= {self.version, version}, visitors.answers
        self.becomes(version)

    def do_back(self, version: str, how: float) -> None:
        """To the version before, or to a good one where there is none."""
        self.do_update(self.before or version, how, backward=bool(self.before))

    def do_bad(self, version: str, how: float) -> None:
        """A version of which one service is bad: nobody meets it, and nothing of it is left."""
        victims = [(name, fault) for name in self.drawn.rolled for fault in FAULTS[self.drawn.kinds[name]]]
        self.fault = victims[int(how * len(victims))]
        old = self.containers()
        with self.visiting() as visitors:
            result = self.go(version, ready_timeout=4.0)
        assert result.get("failed"), f"{self.fault} was not noticed"
        assert self.containers() == old, f"{self.fault}: others serve than before: {result['msg']}"
        for name in visitors.routes.values():
            assert visitors.versions(name) == {self.version}, f"{self.fault}: {visitors.answers}"
        self.fault = ("", "")
        self.write(self.version)

    def do_kill(self, version: str, how: float) -> None:
        """The process is killed at any moment, and the same call comes again."""
        self.write(version)
        with self.visiting():
            with self.called() as process:
                time.sleep(0.5 + how * 6)
                process.send_signal(signal.SIGKILL)
            time.sleep(how)
            result = self.go()
        assert not result.get("failed"), result["msg"]
        self.becomes(version)

    def do_reboot(self, version: str, how: float) -> None:
        """The server's power is cut at any moment of an update, and the same call comes again when it is back."""
        self.write(version)
        with self.visiting(forgiven=True), self.called():
            time.sleep(0.5 + how * 6)
            reboot()
        result = self._after_a_reboot()
        assert not result.get("failed"), result["msg"]
        self.becomes(version)

    def _after_a_reboot(self) -> dict[str, Any]:
        """The call that is run again until it is not refused any more, by a person who does what it says.

        What is to be started after it is started, and looked for by who leads to it, as ``update`` does it.
        """
        end = time.monotonic() + 60
        while True:
            try:
                result = self.go()
                late = result["rest"]["start_last"]
                if late:
                    self.compose("up", "--detach", "--no-deps", "--no-recreate", "--wait", *late)
                self.find_again()
                return result
            except BadInput as error:
                assert "does not run" in str(error) and time.monotonic() < end, error
                self.compose("start")
                time.sleep(2)

    def find_again(self) -> None:
        """The last step of ``update`` at nginx: one before another knows that one by an address that it may not have any more."""
        result = nginx_reload({**self.parameters, "from_release": True}, False)
        assert not result.get("failed"), result["msg"]

    def do_refused(self, version: str, _how: float) -> None:
        """A version that cannot be brought in without a loss: it is said, and nothing is touched."""
        there = self.containers()
        with self.visiting():
            try:
                said = str(self.go(version)["msg"])
            except BadInput as error:
                said = str(error)
        assert "anonymous volume" in said, said
        assert self.containers() == there, f"refused, and yet changed: {said}"
        self.write(self.version)

    @contextmanager
    def called(self) -> Iterator[subprocess.Popen[str]]:
        """A call of the module as a process of its own, which has ended at the end."""
        settings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(
            [sys.executable, "-c", _CALL], env=settings, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, text=True,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            process.stdin.write(json.dumps({**self.parameters, **QUICK}))
            process.stdin.close()
            yield process

    def do_nginx(self, version: str, how: float) -> None:
        """nginx is started anew in the middle of an update."""
        self.write(version)
        with self.visiting(forgiven=True), ThreadPoolExecutor() as pool:
            rolled = pool.submit(self.go)
            time.sleep(how * 5)
            docker("restart", "--time", "1", f"{self.name}-front-1")
            try:
                result = rolled.result(180)
            except BadInput as error:
                # It had not begun when nginx was away; one behind which it is leads to none of them.
                assert re.search(
                    "requests could not be moved|nginx does not run any more|is not running", str(error)
                ), error
                result = {"failed": True}
        if result.get("failed"):
            result = self.go()
        assert not result.get("failed"), result["msg"]
        self.find_again()
        self.becomes(version)

    def _with_dependents(self, names: Iterable[str]) -> set[str]:
        """Services and those that depend on them, which Compose creates anew with them; each nginx depends on what it leads to."""
        needs = {n: set(one.get("depends_on") or ()) for n, one in self.drawn.services.items()}
        needs.update({nginx: set(led.values()) for nginx, led in self.drawn.led.items()})
        found = set(names)
        while more := {name for name, needed in needs.items() if needed & found} - found:
            found |= more
        return found

    def do_person(self, version: str, how: float) -> None:
        """A plain ``up --detach`` after an update finds everything as it is to be, but what the update says of it."""
        self.do_update(version, how)
        told = [note for note in self.go()["notes"] if "up --detach would create it anew" in note]
        anew = self._with_dependents(note.partition(":")[0] for note in told)
        made_anew = {key for name in anew for key in self.containers(name)}
        there = self.containers()
        self.compose("up", "--detach", "--quiet-pull")
        assert set(there) - made_anew == set(self.containers()) & set(there), "up --detach has changed what was rolled"
        self.stores.update({name: set(self.containers(name)) for name in self.stores if name in anew})

    def do_scale(self, version: str, how: float) -> None:
        """Somebody has scaled a service by hand."""
        name = self.drawn.of_kind("web", "worker")[int(how * len(self.drawn.of_kind("web", "worker")))]
        self.compose("up", "--detach", "--no-recreate", "--no-deps", "--scale", f"{name}=4", name)
        time.sleep(1)
        self.do_update(version, how)

    def do_grow(self, version: str, how: float) -> None:
        """A version with a service more; nginx leads to a new web service when it is there."""
        self.drawn, name = grown(self.drawn, how)
        self.do_update(version, how)
        if self.drawn.kinds[name] == "web":
            self.drawn = led_to(self.drawn, name)
            self.load_again(version)

    def do_shrink(self, version: str, how: float) -> None:
        """A version with a service less; nginx has forgotten a web service before."""
        smaller, name = shrunk(self.drawn, how)
        self.drawn = replace(self.drawn, led=smaller.led)
        self.load_again(self.version)
        self.drawn = smaller
        self.do_update(version, how, remove_orphans=True)
        assert not name or not self.containers(name), f"{name} is there yet"

    def load_again(self, version: str) -> None:
        """Let nginx read what is written for a version."""
        self.write(version)
        self.inside("front", "nginx", "-s", "reload")
        time.sleep(1)

    def said(self) -> str:
        """The last complaints of each nginx, for a failure's sake."""
        logs = [self.compose("logs", "--tail", "200", nginx).splitlines() for nginx in self.drawn.led]
        return "\n".join(line for lines in logs for line in [x for x in lines if "[e" in x or "[crit" in x][-8:])

    # -- what must hold after each of them ----------------------------------------------------------------------

    def hold(self, after: str) -> None:
        """Look at all that has to be true when nothing is going on."""
        try:
            self._hold()
        except AssertionError as error:
            raise AssertionError(f"after {after}: {error}") from error

    def _hold(self) -> None:
        for name in self.drawn.rolled:
            number = (self.drawn.services[name].get("deploy") or {}).get("replicas", 1)
            found = sorted(self.containers(name).values())
            assert found == [self.version] * number, f"{name} has {found}, wanted {number} of {self.version}"
        assert {name: set(self.containers(name)) for name in self.stores} == self.stores, "a database was replaced"
        for name in self.drawn.of_kind("scheduler", "database"):
            told = self.inside(name, "sh", "-c", "ls /alone; cat /alone/kept")
            assert "two" not in told.split(), f"{name}: two of it ran at once"
            assert told.startswith(self.kept.get(name, "")), (
                f"{name}: {self.kept[name]!r} was in its volume, now {told!r}"
            )
            self.kept[name] = told
        ended = docker("ps", "-aq", "--filter", f"label={LABEL}={self.name}", "--filter", "status=exited").split()
        ended += docker("ps", "-aq", "--filter", f"label={LABEL}={self.name}", "--filter", "status=created").split()
        assert not ended, f"containers were left: {ended}"
        for nginx in self.drawn.led:
            assert "evenkeel" not in self.inside(nginx, "cat", "/etc/hosts"), f"{nginx}: a pin was left"
        again = self.go()
        assert not again["changed"] and not again.get("failed"), f"a second run: {again['msg']}"
        if "resolver" in self.drawn.modes.values():
            # It may know the addresses of before for its second.
            time.sleep(1.2)
        with self.visiting() as visitors:
            time.sleep(0.3)
        for name in visitors.routes.values():
            assert visitors.versions(name) == {self.version}, visitors.answers
        kept = set(
            self.inside(self.drawn.of_kind("web")[0], "sh", "-c", "cat /rows/kept || [ ! -e /rows/kept ]").split()
        )
        lost = [row for row in self.rows if row not in kept]
        assert not lost, f"{len(lost)} acknowledged rows are gone"


@dataclass(frozen=True)
class Lived:
    """How a stack came through its life: requests in all, and how long each operation took with the look after it (seconds)."""

    requests: int
    seconds: list[tuple[str, float]]


def bring_through(drawn: Drawn, name: str) -> Lived:
    """Start a drawn stack on this machine's engine, bring it through its life, and take it away.

    :param name: of the Compose project; what a killed run of this name has left goes first.
    :raises AssertionError: something did not hold; the message says what.
    """
    with TemporaryDirectory(prefix="evenkeel-drawn-") as folder:
        stack = LiveStack(name, Path(folder) / "project", drawn, {nginx: free_port() for nginx in drawn.led})
        stack.destroy()
        try:
            stack.live()
        except (AssertionError, BadInput) as error:
            refused = "refused: " * isinstance(error, BadInput)
            raise AssertionError(f"{refused}{error}\n{stack.said()}") from error
        finally:
            stack.destroy()
        return Lived(stack.requests, stack.seconds)
