# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ways in which a shop lies on a server, and what an operator types there to get from v1 to v2.

:class:`Checkout` is what small teams have: the git checkout beside its ``.env``, plain ``docker compose`` in it.
:class:`Releases` is what playbook ``update`` makes. Both are made afresh for each measurement, from images
that were built before.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.types import Mount

from tests.bed.meter import (
    LONGEST_IN_FLIGHT,
    WARM_SECONDS,
    Command,
    Method,
    load_on,
    memory_group,
    wait_until_serving,
)
from tests.bed.processors import wait_until_quiet
from tests.bed.shop import LABEL, ROOT, BedError, Shop, run
from tests.bed.tasks import AS_JSON

HERE = Path(__file__).resolve().parent
COMPOSE_FILE = "docker-compose.prod.yml"
WORKER, SCHEDULER = "celery", "celery-beat"
#: What they log when they have begun.
BEGUN = {WORKER: b" ready.", SCHEDULER: b"beat: Starting"}
OURS = (WORKER, SCHEDULER, "api")
NO_PROOF = {"prove_seconds": 0, "monitor": 0}
BIN = Path(sys.executable).parent

# Manifests merged, nothing deleted: pages of either version find their files, whichever workers serve them.
PUBLISH = """
import json, os
from pathlib import Path
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
import django
django.setup()
from django.core.management import call_command
manifest = Path("/app/staticfiles/staticfiles.json")
before = json.loads(manifest.read_text()) if manifest.exists() else {"paths": {}}
call_command("collectstatic", interactive=False, verbosity=0)
after = json.loads(manifest.read_text())
after["paths"] = {**before["paths"], **after["paths"]}
manifest.write_text(json.dumps(after))
"""


#: How requests fail where the load is more than a machine carries, and nothing is wrong with what answers.
_TOO_MANY = {"overflow", "timeout"}


class Overloaded(BedError):
    """The load is more than this machine carries."""


class OnThisEngine:
    """What both have in common: containers of this machine's engine that carry the shop's label."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.url = shop.url
        self.folder = shop.folder
        self.engine = docker.APIClient(timeout=120)
        self._groups: dict[str, Path] = {}

    def clear(self) -> None:
        """Remove containers, volumes and networks; images stay, they are built once."""
        own = f"label={LABEL}={self.shop.name}"
        for listing, removal in ((["ps", "-aq"], ["rm", "-fv"]), (["volume", "ls", "-q"], ["volume", "rm", "-f"]),
                                 (["network", "ls", "-q"], ["network", "rm"])):  # fmt: skip
            found = run(["docker", *listing, "--filter", own]).split()
            if found:
                run(["docker", *removal, *found])

    def _containers(self, *labels: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.engine.containers(
            filters={"label": [f"{LABEL}={self.shop.name}", *labels], "status": "running"}
        )
        return found

    def inspections(self, service: str) -> list[dict[str, Any]]:
        """The running containers of one service."""
        listed = self._containers(f"com.docker.compose.service={service}", "com.docker.compose.oneoff=False")
        return [self.engine.inspect_container(entry["Id"]) for entry in listed]

    def pids(self, services: Sequence[str]) -> list[int]:
        """See :class:`tests.bed.meter.World`."""
        return [int(i["State"]["Pid"]) for service in services for i in self.inspections(service)]

    def groups(self) -> list[Path]:
        """See :class:`tests.bed.meter.World`."""
        found = []
        for entry in self._containers():
            identity = str(entry["Id"])
            if identity not in self._groups:
                group = memory_group(int(self.engine.inspect_container(identity)["State"]["Pid"]))
                if group is None:
                    continue
                self._groups[identity] = group
            found.append(self._groups[identity])
        return found

    @contextlib.contextmanager
    def _fresh(self, service: str, image: str) -> Iterator[str]:
        """A container like a service's, of another image, that nobody but us knows; created, not started."""
        model = self.inspections(service)[0]
        network = sorted(model["NetworkSettings"]["Networks"])[0]
        mounts = [Mount(m["Destination"], m["Name"], "volume") for m in model["Mounts"] if m["Type"] == "volume"]
        # The tasks are another one's.
        command = [*model["Config"]["Cmd"], *(["--queues", "nobody"] if service == WORKER else [])]
        made = self.engine.create_container(
            image, command, environment=model["Config"]["Env"], labels={LABEL: self.shop.name},
            host_config=self.engine.create_host_config(mounts=mounts, network_mode=network),
        )  # fmt: skip
        try:
            yield str(made["Id"])
        finally:
            self.engine.remove_container(made["Id"], force=True, v=True)

    def _wait_until_ready(self, service: str, identity: str, deadline: float) -> None:
        if service not in BEGUN:
            networks = self.engine.inspect_container(identity)["NetworkSettings"]["Networks"]
            _wait_for_health(next(iter(networks.values()))["IPAddress"], deadline)
            return
        while BEGUN[service] not in self.engine.logs(identity):
            if time.monotonic() > deadline:
                raise BedError(f"a fresh {service} does not begin")
            time.sleep(0.02)

    def boots_and_stops(self, image: str, times: int, service: str = "api") -> Bound:
        """Create and boot, and stop, a fresh container of an image a number of times: medians.

        :param service: api, or the worker or scheduler, which have no request in flight; tasks are not counted.
        """
        boots, stops = [], []
        for _time in range(times):
            began = time.monotonic()
            with self._fresh(service, image) as identity:
                self.engine.start(identity)
                self._wait_until_ready(service, identity, began + 60)
                boots.append(time.monotonic() - began)
                time.sleep(1.0)
                began = time.monotonic()
                self.engine.stop(identity, timeout=40)
                stops.append(time.monotonic() - began)
            time.sleep(1.0)
        in_flight = 0 if service in BEGUN else LONGEST_IN_FLIGHT
        return Bound(statistics.median(boots), statistics.median(stops), tuple(boots), tuple(stops), in_flight)


class Checkout(OnThisEngine):
    """A git checkout with plain Compose in it."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop)
        self.place = shop.folder / "checkout"
        self.environment = {"COMPOSE_PROJECT_NAME": shop.name, "HEALTH_URL": f"{shop.url}/health/", "PREBUILT": "1"}

    def image(self, version: str) -> str:
        """The name under which a version's image is kept."""
        return f"{self.shop.name}-api:{version}"

    def compose(self, *words: str, timeout: float = 300.0) -> str:
        """Plain Compose, as an admin types it in the checkout."""
        environment = {**os.environ, **self.environment}
        return run(["docker", "compose", "-f", COMPOSE_FILE, *words], timeout, cwd=str(self.place), env=environment)

    def build(self) -> None:
        """Check out the repository and build both versions."""
        if not self.place.exists():
            run(["git", "clone", "--quiet", str(self.shop.repository), str(self.place)])
            (self.place / ".env").symlink_to(self.shop.root / "shared/.env")
        for version in ("v1", "v2"):
            self._check_out(version)
            self.compose("build", "--quiet", "api", timeout=600)
            run(["docker", "tag", f"{self.shop.name}-api:latest", self.image(version)])

    def _check_out(self, version: str) -> None:
        run(["git", "-C", str(self.place), "checkout", "--quiet", version])

    def _release(self, version: str) -> None:
        """What ``git pull`` and ``docker compose build`` leave."""
        self._check_out(version)
        for service in OURS:
            run(["docker", "tag", self.image(version), f"{self.shop.name}-{service}:latest"])

    def prepare(self, method: Method) -> None:
        """See :class:`tests.bed.meter.World`."""
        self.clear()
        state = self.folder / "state"
        if state.exists():
            shutil.rmtree(state)
        self._release("v1")
        self.compose("up", "--detach", "--wait", "db", "redis")
        steps = "python manage.py migrate --noinput -v0 && python manage.py collectstatic --noinput -v0"
        self.compose("run", "--rm", "--no-deps", "-T", "api", "sh", "-c", steps)
        if method.version == "v2":
            self._release("v2")
            if method.options.get("publish", True):
                self.compose("run", "--rm", "--no-deps", "-T", "api", "python", "-c", PUBLISH)
            self._release("v1")
        self.compose("up", "--detach", "--wait")
        self._release(method.version)

    def command(self, method: Method) -> Command:
        """See :class:`tests.bed.meter.World`."""
        argv = method.options["argv"]
        if argv[0] == "compose_rolling":
            return self._compose_rolling(method.options.get("settings", {}))
        root = ["sudo", "-n", "--preserve-env"] if method.options.get("root") and os.geteuid() else []
        return Command([*root, *argv], self.place, self.environment)

    def _compose_rolling(self, settings: Mapping[str, Any]) -> Command:
        arguments = {
            "project_src": str(self.place), "files": [COMPOSE_FILE], "project_name": self.shop.name,
            "services": ["api"], "state_dir": str(self.folder / "state"), "service_options": {"api": dict(settings)},
        }  # fmt: skip
        argv = [str(BIN / "ansible"), "shop", "-i", str(self.folder / "inventory.json")]
        argv += ["-m", "evenkeel.deploy.compose_rolling", "-a", json.dumps(arguments)]
        return Command(argv, ROOT, {**self.shop.environment, **AS_JSON})

    # -- the least that any method can take -----------------------------------------------------------

    def lower_bounds(self, rate: float, times: int = 5) -> dict[str, Bound]:
        """Create and boot, and stop, a fresh container of each service while v1 is under load: medians.

        :param rate: requests a second.
        :raises Overloaded: this machine does not carry so many beside a boot.
        :raises BedError: requests failed in another way.
        """
        self.prepare(Method("bound", "", "checkout", ("api",)))
        wait_until_serving(self.url, "v1")
        wait_until_quiet()
        with load_on(self, rate) as load:
            time.sleep(WARM_SECONDS)
            bounds = {service: self.boots_and_stops(self.image("v2"), times, service) for service in OURS}
            result = load.stop()
        if result.failed_beyond_race:
            said = (
                f"{result.failed} of {result.total} requests failed while nothing was updated: {result.failed_by_kind}"
            )
            if result.failed_by_kind.keys() <= _TOO_MANY:
                raise Overloaded(f"{said}. A lower --rate than {rate:g} may be carried here.")
            raise BedError(said)
        return bounds


@dataclass(frozen=True)
class Bound:
    """The parts of the lower bound (seconds)."""

    boot: float
    stop: float
    boots: tuple[float, ...]
    stops: tuple[float, ...]
    in_flight: float = LONGEST_IN_FLIGHT

    @property
    def seconds(self) -> float:
        return self.boot + self.in_flight + self.stop

    def __str__(self) -> str:
        """For people, with its parts."""
        parts = (
            f"create and boot {self.boot:.1f} + longest request in flight {self.in_flight:.0f} + stop {self.stop:.1f}"
        )
        return f"{self.seconds:.1f}: {parts}"


def described(bounds: Mapping[str, Bound]) -> str:
    """The bounds of services, for people."""
    return "; ".join(f"{service} {bound}" for service, bound in bounds.items())


def _wait_for_health(address: str, deadline: float) -> None:
    curl = ["curl", "--silent", "--fail", "--max-time", "2", "--output", os.devnull, "--header", "Host: shop.localhost"]
    while subprocess.run([*curl, f"http://{address}:8000/health/"], check=False).returncode:
        if time.monotonic() > deadline:
            raise BedError(f"a fresh api at {address} answers nothing at /health/")
        time.sleep(0.02)


class Releases(OnThisEngine):
    """``app_root`` with its releases, as playbook ``update`` makes it."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop)
        self._built = False

    def prepare(self, method: Method) -> None:
        """See :class:`tests.bed.meter.World`; the first time both images are built."""
        for version in ("v1",) if self._built else ("v1", "v2"):
            self._first_update(version)
        if not self._built:
            self._built = True
            self._first_update("v1")

    def _first_update(self, version: str) -> None:
        if version == "v1":
            self.clear()
            for name in ("current", "releases", "mounts", ".evenkeel"):
                path = self.shop.root / name
                if path.is_symlink():
                    path.unlink()
                elif path.exists():
                    shutil.rmtree(path)
        play = self.shop.update(version)
        if play.returncode:
            raise BedError(f"update to {version} failed:\n{play.output[-3000:]}")

    def command(self, method: Method) -> Command:
        """See :class:`tests.bed.meter.World`."""
        settings = method.options.get("settings")
        # As users have it, who set nothing.
        playbook = method.options.get("playbook", "update")
        variables: dict[str, Any] = {"app_image_archive": "auto", **method.options.get("variables", {})}
        if playbook == "update":
            variables["update_version"] = method.version
        if settings is not None:
            variables["app_services"] = dict.fromkeys(OURS, settings)
        return Command(
            self.shop.playbook_argv(playbook=playbook, **variables), ROOT, {**self.shop.environment, **AS_JSON}
        )


def script(name: str, *arguments: str) -> tuple[str, ...]:
    """The command line of a script beside this file."""
    return (str(HERE / name), *arguments)
