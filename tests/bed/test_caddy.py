# SPDX-License-Identifier: GPL-3.0-or-later
"""Behind a Caddy, Debian's and the newest: versions, a bad one, kills at each step and a crash, while users ask all the time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.inspection import PROJECT_LABEL, SERVICE_LABEL
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.caddy import Caddy
from tests.bed.front import docker
from tests.bed.ports import free_port
from tests.bed.proxy_images import from_debian, newest
from tests.bed.shop import WORKER
from tests.bed.small_stack import SmallStack
from tests.bed.users import RACE, failures, until, users

NAME = f"evenkeel-caddy-{WORKER}"
HOST = "site.localhost"
QUICK = {"prove_seconds": 0.5, "monitor": 0.5, "drain_timeout": 6}
SITE = """{
    auto_https off
}
:80 {
    encode gzip
    handle_path /docs/* {
        respond "docs"
    }
    handle {
        reverse_proxy app:8000 {
            header_up X-Real-IP {remote_host}
        }
    }
}
"""
PLACES = (
    "before:Start", "inside:Start", "after:Start", "after:AwaitReady", "after:Prove", "after:Join", "before:Drain", "before:Stop",
    "after:Stop", "inside:Remove", "before:Unpin",
)  # fmt: skip


class Behind(SmallStack):
    """An app behind a Caddy with a configuration."""

    def __init__(self, folder: Path, image: str, site: str = SITE, replicas: int = 1) -> None:
        app: dict[str, Any] = {"x-evenkeel": {"kind": "web", **QUICK}, "deploy": {"replicas": replicas}}
        super().__init__(NAME, folder, {"app": app}, site, free_port())
        self.front = {
            "image": image,
            "volumes": [f"{folder}/site.conf:/etc/caddy/Caddyfile:ro"],
            "depends_on": ["app"],
        }

    def start(self) -> None:
        """Start it by hand, at v1."""
        self.destroy()
        self.up("v1")
        until(lambda: self.ask() == "v1")


@pytest.fixture(scope="module", params=["debian", "newest"])
def image(request: pytest.FixtureRequest) -> str:
    return from_debian("caddy") if request.param == "debian" else newest("caddy")


@pytest.fixture
def stack(image: str, tmp_path: Path) -> Iterator[Behind]:
    one = Behind(tmp_path / "project", image)
    try:
        one.start()
        yield one
    finally:
        one.destroy()


def test_three_versions_and_a_bad_one(stack: Behind) -> None:
    total = stack.three_versions()
    print(f"\nevidence: behind Caddy, 3 updates and one undone: {total:,} requests, 0 failed")


def test_by_tls_and_http2(image: str, tmp_path: Path) -> None:
    site = f"https://{HOST} {{\n    tls internal\n    reverse_proxy app:8000\n}}\n"
    stack = Behind(tmp_path / "project", image, site)
    stack.front["ports"] = [f"127.0.0.1:{stack.port}:443"]
    total = stack.life_by_http2(HOST)
    print(f"\nevidence: behind Caddy by TLS and HTTP/2: {total:,} requests, 0 failed")


def test_having_it_load_again_loses_no_connection(stack: Behind) -> None:
    (front,) = Engine().containers({PROJECT_LABEL: NAME, SERVICE_LABEL: "front"})
    with users(stack.port, uploads=False) as answers:
        for _time in range(30):
            Caddy(front).reload()
            time.sleep(0.3)
    said = {a: count for a, count in answers.items() if a != RACE}
    assert set(said) == {"v1"} and said["v1"] > 100, answers
    assert stack.leftovers() == []


def test_it_is_replaced_itself_by_handing_its_port_over(stack: Behind) -> None:
    stack.front["environment"] = {"NUMBER": "1"}
    options = {"service_options": {"front": {**QUICK, "drain_timeout": 30}}}
    with users(stack.port) as answers:
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
        with users(stack.port) as answers:
            result = stack.roll("v2")
            assert not result.get("failed"), result["msg"]
        assert failures(answers) == {} and {"v1", "v2"} <= set(answers), answers
        assert list(stack.containers("app").values()) == ["v2"] * 3 and stack.leftovers() == []
    finally:
        stack.destroy()


@pytest.mark.parametrize("place", PLACES)
def test_killed_anywhere_users_are_served_and_the_same_call_ends_it(stack: Behind, place: str) -> None:
    stack.write("v2")
    with users(stack.port) as answers:
        stack.roll_killed(place)
        time.sleep(2)
        result = stack.roll()
        assert not result.get("failed"), result["msg"]
    assert failures(answers) == {} and sum(answers.values()) > 100, answers
    assert list(stack.containers("app").values()) == ["v2"] and stack.leftovers() == []


def test_one_that_crashes_a_minute_later_is_found_again_by_itself(stack: Behind) -> None:
    stack.services["app"]["restart"] = "always"
    assert not stack.roll("v2").get("failed")
    key = next(iter(stack.containers("app")))
    os.kill(int(docker("inspect", "--format", "{{.State.Pid}}", key)), signal.SIGKILL)
    until(lambda: stack.ask() == "v2")
    with users(stack.port) as answers:
        time.sleep(3)
    assert failures(answers) == {}


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (SITE.replace("reverse_proxy app:8000", "reverse_proxy {\n dynamic a app 8000"), ["dynamic", "reverse_proxy NAME:PORT"]),
        (SITE.replace("auto_https off", "auto_https off\n    admin off"), ["admin", "Caddyfile"]),
        (SITE.replace("app:8000", "{host}:8000"), ["name of the service"]),
    ],
)  # fmt: skip
def test_what_cannot_be_led_is_refused_with_what_to_write(
    image: str, tmp_path: Path, site: str, words: list[str]
) -> None:
    text = site.replace("dynamic a app 8000 {", "dynamic a app 8000\n")
    stack = Behind(tmp_path / "project", image, text)
    try:
        stack.destroy()
        stack.up("v1")
        time.sleep(1)
        with pytest.raises(BadInput) as refused:
            stack.roll("v2")
        said = f"{refused.value} {refused.value.advice}"
        assert all(word in said for word in words), said
        assert list(stack.containers("app").values()) == ["v1"]
    finally:
        stack.destroy()
