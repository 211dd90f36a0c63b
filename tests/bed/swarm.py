# SPDX-License-Identifier: GPL-3.0-or-later
"""The shop as a stack on a Swarm of one node, in an engine of its own.

Names lead straight to the tasks (``endpoint_mode: dnsrr``) and nginx's port is its host's: that runs on kernels
without IP_VS too. With Swarm's virtual addresses, its default where the kernel has them, nginx would not
have to learn anything; that cannot be measured here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bed.baselines import PUBLISH, Checkout
from tests.bed.meter import Command, Method, memory_group, serves
from tests.bed.nested import NestedEngine
from tests.bed.ports import free_port
from tests.bed.shop import BedError

STACK = "shop"
PLACE = "/srv/shop"


class Swarm:
    """A server with Swarm; :meth:`close` takes it away.

    :param checkout: where the images of both versions and the configuration come from.
    """

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.folder = checkout.folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = NestedEngine(f"{checkout.shop.name}-swarm", checkout.shop.name, publish={self.port: 80})
        self._group: Path | None = None

    def close(self) -> None:
        """Remove the server with everything in it."""
        self.server.destroy()

    def definition(self, resolver: bool) -> dict[str, Any]:
        """The stack: the Compose file's services, in what ``docker stack deploy`` understands."""
        resolved = json.loads(self.checkout.compose("config", "--format", "json"))["services"]
        services: dict[str, Any] = {}
        for name, service in resolved.items():
            kept = {
                k: service[k] for k in ("command", "environment", "healthcheck", "stop_grace_period") if service.get(k)
            }
            kept["image"] = service.get("image") or self.checkout.image("v1")
            kept["volumes"] = [
                f"{v['source']}:{v['target']}" for v in service.get("volumes", []) if v["type"] == "volume"
            ]
            kept["deploy"] = {"endpoint_mode": "dnsrr", "restart_policy": {"condition": "any", "delay": "1s"}}
            services[name] = kept
        services["api"]["deploy"]["update_config"] = {"order": "start-first", "failure_action": "rollback"}
        services["nginx"]["ports"] = [{"target": 80, "published": 80, "mode": "host"}]
        services["nginx"]["configs"] = [{"source": "nginx", "target": "/etc/nginx/conf.d/default.conf"}]
        conf = self.checkout.place / "deploy/nginx.conf"
        text = conf.read_text(encoding="utf-8")
        if resolver:
            asking = "resolver 127.0.0.11 valid=1s; set $api http://api:8000; proxy_pass $api;"
            text = text.replace("proxy_pass http://api:8000;", asking)
        self.server.write(f"{PLACE}/nginx.conf", text)
        named = {v.split(":")[0] for service in services.values() for v in service["volumes"]}
        return {
            "version": "3.8", "services": services, "volumes": {name: {} for name in sorted(named)},
            "configs": {"nginx": {"file": f"{PLACE}/nginx.conf"}},
        }  # fmt: skip

    def prepare(self, method: Method) -> None:
        """See :class:`tests.bed.meter.World`: a new server each time."""
        self._group = None
        self.server.start()
        self._group = memory_group(self.server.pid)
        versions = [self.checkout.image("v1"), self.checkout.image("v2")]
        self.server.load_image("evenkeel/postgres:17", "evenkeel/redis:8", "evenkeel/nginx:1.26", *versions)
        self.server.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        stack = json.dumps(self.definition(bool(method.options.get("resolver"))))
        self.server.docker("stack", "deploy", "--resolve-image", "never", "--compose-file", "-", STACK, stdin=stack)
        self._wait_for("api")
        self._manage("migrate", "--noinput", "-v0")
        for version in ("v1", "v2"):
            self._publish(version)
        deadline = time.monotonic() + 90
        while not serves(self.url, "v1"):
            if time.monotonic() > deadline:
                raise BedError(f"the stack does not serve:\n{self.server.docker('stack', 'ps', '--no-trunc', STACK)}")
            time.sleep(0.5)

    def _running(self, service: str, healthy: bool = False) -> list[str]:
        wanted = ["--filter", f"label=com.docker.swarm.service.name={STACK}_{service}", "--filter", "status=running"]
        return self.server.docker("ps", "-q", *wanted, *(["--filter", "health=healthy"] if healthy else [])).split()

    def _wait_for(self, service: str) -> None:
        deadline = time.monotonic() + 90
        while not self._running(service, healthy=True):
            if time.monotonic() > deadline:
                raise BedError(f"no healthy {service}:\n{self.server.docker('stack', 'ps', '--no-trunc', STACK)}")
            time.sleep(0.3)

    def _manage(self, *words: str) -> None:
        self.server.docker("exec", self._running("api")[0], "python", "manage.py", *words)

    def _publish(self, version: str) -> None:
        model = json.loads(self.server.docker("inspect", self._running("api")[0]))[0]
        environment = [word for value in model["Config"]["Env"] for word in ("--env", value)]
        volume = f"{STACK}_static_files:/app/staticfiles"
        image = self.checkout.image(version)
        self.server.docker("run", "--rm", "--volume", volume, *environment, image, "python", "-c", PUBLISH)

    def command(self, method: Method) -> Command:
        """See :class:`tests.bed.meter.World`."""
        update = ["docker", "service", "update", "--no-resolve-image", "--image", self.checkout.image("v2")]
        return Command(["docker", "exec", self.server.name, *update, f"{STACK}_api"], self.folder)

    def pids(self, services: Sequence[str]) -> list[int]:
        """See :class:`tests.bed.meter.World`."""
        found = [identity for service in services for identity in self._running(service)]
        inner = self.server.docker("inspect", "--format", "{{.State.Pid}}", *found).split()
        return self.server.outer_pids(*map(int, inner))

    def groups(self) -> list[Path]:
        """See :class:`tests.bed.meter.World`: the stack's containers, without the engine they run in."""
        inner = self._group / "docker" if self._group else None
        return [path for path in inner.iterdir() if path.is_dir()] if inner and inner.is_dir() else []
