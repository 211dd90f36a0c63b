# SPDX-License-Identifier: GPL-3.0-or-later
"""Behind a Traefik that goes by labels: versions, a bad one, kills at each step, a crash, and a Traefik of another project."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from tests.bed.front import docker
from tests.bed.ports import free_port
from tests.bed.proxy_images import newest
from tests.bed.shop import WORKER
from tests.bed.small_stack import LABEL, SmallStack
from tests.bed.users import failures, rules_of, until, users

NAME = f"evenkeel-traefik-{WORKER}"
HOST = "site.example.org"
QUICK = {"prove_seconds": 0.5, "monitor": 0.5, "drain_timeout": 6}
ASKS = "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/', timeout=2)"
HEALTH = {"test": ["CMD", "python", "-c", ASKS], "interval": "1s", "retries": 2, "timeout": "3s"}
LABELS = {
    "traefik.enable": "true",
    "traefik.http.routers.site.rule": f"Host(`{HOST}`)",
    "traefik.http.routers.site.entrypoints": "web",
    "traefik.http.services.site.loadbalancer.server.port": "8000",
}
FLAGS = [
    "--providers.docker=true",
    "--providers.docker.exposedbydefault=false",
    "--entrypoints.web.address=:80",
]
PLACES = (
    "before:Start", "inside:Start", "after:Start", "after:AwaitReady", "after:Prove", "after:Join", "before:Drain", "before:Stop",
    "after:Stop", "inside:Remove", "after:AwaitDns",
)  # fmt: skip


class Behind(SmallStack):
    """An app with a health check, and a Traefik that finds it."""

    def __init__(self, folder: Path, image: str, health: dict[str, Any] | None = None, replicas: int = 1) -> None:
        app: dict[str, Any] = {
            "x-evenkeel": {"kind": "web", **QUICK},
            "deploy": {"replicas": replicas},
            "labels": {**LABELS, LABEL: NAME},
            **({"healthcheck": HEALTH if health is None else health} if health != {} else {}),
        }
        super().__init__(NAME, folder, {"app": app}, "traefik", free_port())
        self.front = {
            "image": image,
            "command": FLAGS,
            "volumes": ["/var/run/docker.sock:/var/run/docker.sock:ro"],
            "depends_on": ["app"],
        }

    def start(self, version: str = "v1") -> None:
        """Start it by hand."""
        self.destroy()
        self.up(version)
        until(lambda: self.ask(HOST) == version)


@pytest.fixture(scope="module")
def image() -> str:
    return newest("traefik")


@pytest.fixture
def stack(image: str, tmp_path: Path) -> Iterator[Behind]:
    one = Behind(tmp_path / "project", image)
    try:
        one.start()
        yield one
    finally:
        one.destroy()


def test_three_versions_and_a_bad_one(stack: Behind) -> None:
    total = stack.three_versions(HOST)
    print(f"\nevidence: behind Traefik, 3 updates and one undone: {total:,} requests, 0 failed")


def test_by_tls_and_http2(image: str, tmp_path: Path) -> None:
    stack = Behind(tmp_path / "project", image)
    stack.front["command"] = [*FLAGS, "--entrypoints.web.http.tls=true"]
    total = stack.life_by_http2(HOST)
    print(f"\nevidence: behind Traefik by TLS and HTTP/2: {total:,} requests, 0 failed")


def test_one_that_goes_bad_once_users_have_it_is_undone(stack: Behind) -> None:
    serving = stack.containers("app")
    stack.services["app"]["environment"] = {"SOURS": "5"}
    with users(stack.port, HOST) as answers:
        bad = stack.roll("v2", service_options={"app": {"prove": [{"path": "/", "status": 200}], "monitor": 20}})
        assert bad["failed"] and bad["rolled_back"], bad["msg"]
    assert "v2" in answers and all("500" in said for said in failures(answers)), answers
    assert stack.containers("app") == serving
    stack.services["app"].pop("environment")
    stack.write("v1")
    assert stack.leftovers() == []
    with users(stack.port, HOST) as answers:
        time.sleep(3)
    assert failures(answers) == {} and "v2" not in answers, answers


def test_it_is_replaced_itself_by_handing_its_port_over(stack: Behind) -> None:
    stack.front["environment"] = {"NUMBER": "1"}
    options = {"service_options": {"front": {**QUICK, "drain_timeout": 30}}}
    with users(stack.port, HOST) as answers:
        assert stack.roll("v1")["rest"]["handed"] == ["front"]
        result = stack.roll(only="proxies", **options)
        assert not result.get("failed") and result["changed"], result["msg"]
        assert not stack.roll(only="proxies", **options)["changed"]
    assert failures(answers) == {} and sum(answers.values()) > 100, answers
    assert stack.leftovers() == []


def test_several_replicas(image: str, tmp_path: Path) -> None:
    stack = Behind(tmp_path / "project", image, replicas=3)
    try:
        stack.start()
        with users(stack.port, HOST) as answers:
            result = stack.roll("v2")
            assert not result.get("failed"), result["msg"]
        assert failures(answers) == {} and {"v1", "v2"} <= set(answers), answers
        assert list(stack.containers("app").values()) == ["v2"] * 3 and stack.leftovers() == []
    finally:
        stack.destroy()


@pytest.mark.parametrize("place", PLACES)
def test_killed_anywhere_users_are_served_and_the_same_call_ends_it(stack: Behind, place: str) -> None:
    stack.write("v2")
    with users(stack.port, HOST) as answers:
        stack.roll_killed(place)
        time.sleep(4)
        result = stack.roll()
        assert not result.get("failed"), result["msg"]
    assert failures(answers) == {} and sum(answers.values()) > 100, answers
    assert list(stack.containers("app").values()) == ["v2"] and stack.leftovers() == []


def test_one_that_crashes_a_minute_later_is_found_again_by_itself(stack: Behind) -> None:
    stack.services["app"]["restart"] = "always"
    assert not stack.roll("v2").get("failed")
    key = next(iter(stack.containers("app")))
    os.kill(int(docker("inspect", "--format", "{{.State.Pid}}", key)), signal.SIGKILL)
    until(lambda: stack.ask(HOST) == "v2")
    time.sleep(3)
    with users(stack.port, HOST) as answers:
        time.sleep(3)
    assert failures(answers) == {}


def test_a_traefik_of_another_project_leads_it_as_well(image: str, tmp_path: Path) -> None:
    """As many have it: one Traefik for all sites of a server, in a Compose project of its own."""
    stack, edge = Behind(tmp_path / "project", image), Behind(tmp_path / "edge", image)
    edge.name, edge.services = f"{NAME}-edge", {}
    stack.site, stack.port = "", edge.port
    edge.front = {**edge.front, "depends_on": [], "networks": ["shared"]}
    try:
        stack.destroy()
        stack.up("v1")
        edge.write("v1")
        project = json.loads((edge.folder / "compose.yaml").read_text(encoding="utf-8"))
        project["networks"] = {"shared": {"external": True, "name": f"{NAME}_default"}}
        (edge.folder / "compose.yaml").write_text(json.dumps(project), encoding="utf-8")
        edge.compose("up", "--detach")
        until(lambda: stack.ask(HOST) == "v1")
        with users(stack.port, HOST) as answers:
            result = stack.roll("v2")
            assert not result.get("failed"), result["msg"]
        assert failures(answers) == {} and {"v1", "v2"} <= set(answers), answers
        assert stack.leftovers() == [] and rules_of(edge.name) == []
    finally:
        edge.compose("down")
        stack.destroy()


class ByFiles(Behind):
    """The same with a Traefik that has what it leads to from files, without the engine's socket."""

    def __init__(self, folder: Path, image: str, flags: tuple[str, ...] = (), closes: bool = False) -> None:
        super().__init__(folder, image, {})
        self.services["app"].pop("labels")
        self.closes = {"CLOSES": "1"} if closes else {}
        self.services["app"]["environment"] = self.closes
        self.front = {
            "image": image,
            "command": [*FLAGS[2:], "--providers.file.directory=/etc/traefik/dynamic", *flags],
            "volumes": [f"{folder}/dynamic:/etc/traefik/dynamic:ro"],
            "depends_on": ["app"],
        }

    def start(self, version: str = "v1") -> None:
        """Start it by hand."""
        self.destroy()
        (self.folder / "dynamic").mkdir(parents=True)
        (self.folder / "dynamic/site.yml").write_text(
            f"http:\n  routers:\n    site: {{rule: 'Host(`{HOST}`)', service: app, entryPoints: [web]}}\n  services:\n"
            "    app: {loadBalancer: {servers: [{url: 'http://app:8000'}]}}\n",
            encoding="utf-8",
        )
        self.up(version)
        until(lambda: self.ask(HOST) == version)


@pytest.mark.parametrize(
    ("flags", "closes"),
    [(("--serversTransport.maxIdleConnsPerHost=-1",), False), ((), True)],
    ids=["keeps none", "closed"],
)
def test_by_files_three_versions_and_a_bad_one(
    image: str, tmp_path: Path, flags: tuple[str, ...], closes: bool
) -> None:
    stack = ByFiles(tmp_path / "project", image, flags, closes)
    try:
        stack.start()
        total = stack.three_versions(HOST, health_url=f"http://{HOST}/")
        print(f"\nevidence: behind Traefik by files, 3 updates and one undone: {total:,} requests, 0 failed")
    finally:
        stack.destroy()


def test_by_files_with_connections_that_it_keeps_it_is_refused(image: str, tmp_path: Path) -> None:
    stack = ByFiles(tmp_path / "project", image)
    try:
        stack.start()
        with pytest.raises(BadInput) as refused:
            stack.roll("v2")
        assert "maxIdleConnsPerHost=-1" in f"{refused.value} {refused.value.advice}"
        assert list(stack.containers("app").values()) == ["v1"] and stack.ask(HOST) == "v1"
    finally:
        stack.destroy()


@pytest.mark.parametrize("health", [{}, {"test": ["CMD", "true"], "interval": "1s"}], ids=["none", "asks nothing"])
def test_without_a_health_check_that_asks_it_is_refused_with_what_to_write(
    image: str, tmp_path: Path, health: dict[str, Any]
) -> None:
    stack = Behind(tmp_path / "project", image, health)
    try:
        stack.start()
        with pytest.raises(BadInput) as refused:
            stack.roll("v2")
        said = f"{refused.value} {refused.value.advice}"
        assert "healthcheck" in said and "Traefik" in said and "http://localhost:PORT" in said, said
        assert list(stack.containers("app").values()) == ["v1"] and stack.ask(HOST) == "v1"
        # And with what it says, the next one is led; what runs has no health check yet.
        stack.services["app"]["healthcheck"] = HEALTH
        with users(stack.port, HOST, uploads=False) as answers:
            result = stack.roll("v2")
            assert not result.get("failed"), result["msg"]
        assert sum(failures(answers).values()) <= 3 and "v2" in answers, answers
    finally:
        stack.destroy()
