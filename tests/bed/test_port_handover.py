# SPDX-License-Identifier: GPL-3.0-or-later
"""A published port goes from one container to the next while users knock: nginx itself, a service without one, and both ways at once."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from tests.bed.front import docker
from tests.bed.ports import free_port
from tests.bed.shop import WORKER
from tests.bed.small_stack import IMAGE, SmallStack
from tests.bed.users import until

NAME = f"evenkeel-ports-{WORKER}"
SITE = "server { listen 80; client_max_body_size 20m; location / { proxy_pass http://api:8000; } }"
QUICK = {"prove_seconds": 0.5, "monitor": 0.5, "drain_timeout": 5}
PROXY = {"only": "proxies", "service_options": {"front": {**QUICK, "drain_timeout": 30}}}
#: Each kind of step of a hand-over; those in which a web is looked at by nginx do not come.
PLACES = (
    "before:Start", "inside:Start", "after:Start", "after:Prove", "before:Join", "after:Join", "before:Stop", "after:Stop", "inside:Remove",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "project"


@contextmanager
def started(folder: Path, services: dict[str, Any], site: str, port: int) -> Iterator[SmallStack]:
    with SmallStack(NAME, folder, services, site, port).started() as one:
        yield one


@pytest.fixture
def behind_nginx(folder: Path) -> Iterator[SmallStack]:
    with started(folder, {"api": {"x-evenkeel": {"kind": "web"}}}, SITE, free_port()) as one:
        yield one


@pytest.fixture
def without(folder: Path) -> Iterator[SmallStack]:
    port = free_port()
    services = {"api": {"x-evenkeel": {"kind": "web", **QUICK}, "ports": [f"127.0.0.1:{port}:8000"]}}
    with started(folder, services, "", port) as one:
        yield one


def rules_left() -> list[str]:
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return [line for line in tables.splitlines() if "evenkeelports" in line and f"{NAME}/".encode().hex() in line]


def assert_settled(stack: SmallStack, service: str) -> None:
    """One container, which has the port; nothing that leads elsewhere; nothing that a plain ``up`` would do."""
    assert len(stack.containers(service)) == 1 and rules_left() == []
    assert str(stack.port) in docker("port", next(iter(stack.containers(service))))
    dry = subprocess.run(
        ["docker", "compose", "--project-directory", str(stack.folder), "up", "--detach", "--dry-run"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "ecreate" not in dry.stderr, dry.stderr


@contextmanager
def transfers(port: int) -> Iterator[list[str]]:
    """Long uploads on connections of their own, one begun each second; yields what went wrong with any of them."""
    wrong: list[str] = []
    ended = threading.Event()

    def upload() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.putrequest("POST", "/")
            connection.putheader("Content-Length", "64000")
            connection.endheaders()
            for _part in range(64):
                connection.send(b"x" * 1000)
                time.sleep(0.06)
            if connection.getresponse().status != 200:
                wrong.append("refused")
        except OSError as error:
            wrong.append(repr(error))
        finally:
            connection.close()

    def begin() -> None:
        while not ended.is_set():
            one = threading.Thread(target=upload)
            one.start()
            uploads.append(one)
            ended.wait(1)

    uploads: list[threading.Thread] = []
    beginner = threading.Thread(target=begin)
    beginner.start()
    try:
        yield wrong
    finally:
        ended.set()
        beginner.join(10)
        for one in uploads:
            one.join(40)
        assert len(uploads) > 3


def test_nginx_itself_ten_times_with_uploads_in_flight(behind_nginx: SmallStack) -> None:
    with behind_nginx.visited() as answers, transfers(behind_nginx.port) as wrong:
        for number in range(10):
            behind_nginx.front = {"environment": {"NUMBER": str(number)}}
            planned = behind_nginx.roll("v1")["rest"]
            assert planned["handed"] == ["front"] and planned["recreate_last"] == []
            result = behind_nginx.roll(**PROXY)
            assert not result.get("failed") and result["changed"], result["msg"]
            assert not behind_nginx.roll(**PROXY)["changed"]
            assert_settled(behind_nginx, "front")
    assert set(answers) == {"v1"} and answers["v1"] > 1000 and wrong == []
    print(f"\nevidence: nginx replaced 10 times: {answers['v1']:,} requests, 0 failed")


@pytest.mark.parametrize("broken", [{"command": ["nginx", "-c", "/nowhere"]}, {"command": ["sleep", "60"]}])
def test_an_nginx_that_does_not_serve_is_met_by_nobody(behind_nginx: SmallStack, broken: dict[str, Any]) -> None:
    before = behind_nginx.containers("front")
    with behind_nginx.visited() as answers:
        behind_nginx.front = broken
        behind_nginx.write("v1")
        options = {"front": {**QUICK, "ready_timeout": 4}}
        result = behind_nginx.roll(only="proxies", service_options=options)
        assert result["failed"] and result["rolled_back"], result["msg"]
    assert set(answers) == {"v1"} and answers["v1"] > 50
    assert behind_nginx.containers("front") == before and rules_left() == []


@pytest.mark.parametrize("place", PLACES)
def test_killed_anywhere_users_are_served_and_the_same_call_ends_it(behind_nginx: SmallStack, place: str) -> None:
    behind_nginx.front = {"environment": {"PLACE": place}}
    behind_nginx.write("v1")
    with behind_nginx.visited() as answers:
        behind_nginx.roll_killed(place, **PROXY)
        time.sleep(1)
        result = behind_nginx.roll(**PROXY)
        assert not result.get("failed"), result["msg"]
    assert set(answers) == {"v1"} and answers["v1"] > 50, answers
    assert_settled(behind_nginx, "front")


def test_a_service_without_a_proxy_forward_and_back_and_a_bad_version(without: SmallStack) -> None:
    for before, after in (("v1", "v2"), ("v2", "v1")):
        with without.visited() as answers, transfers(without.port) as wrong:
            result = without.roll(after)
            assert not result.get("failed"), result["msg"]
        assert set(answers) == {before, after} and wrong == [], (answers, wrong)
        assert not without.roll()["changed"]
        assert_settled(without, "api")
    serving = without.containers("api")
    without.services["api"]["environment"] = {"STATUS": "500"}
    with without.visited() as answers:
        result = without.roll("v3", ready_timeout=4.0)
        assert result["failed"] and result["rolled_back"], result["msg"]
    assert set(answers) == {"v1"}, answers
    assert without.containers("api") == serving and rules_left() == []


def test_behind_nginx_and_at_a_port_of_its_own(folder: Path) -> None:
    own = free_port()
    services = {"api": {"x-evenkeel": {"kind": "web", **QUICK}, "ports": [f"127.0.0.1:{own}:8000"]}}
    with started(folder, services, SITE, free_port()) as one:
        beside = SmallStack(NAME, folder, {}, "", own)
        with one.visited() as led, beside.visited() as knocked:
            result = one.roll("v2")
            assert not result.get("failed"), result["msg"]
        assert set(led) == {"v1", "v2"} and set(knocked) == {"v1", "v2"}, (led, knocked)
        assert rules_left() == [] and not one.roll()["changed"]


@pytest.mark.parametrize(
    ("front", "words"),
    [
        ({"container_name": "evenkeel-ports-front"}, ["container_name", "handed over"]),
        ({"ports": ["127.0.0.1:{}:80", "127.0.0.1:{}:80/udp"]}, ["no TCP port"]),
    ],
)
def test_what_cannot_be_handed_over_is_refused_and_says_why(
    behind_nginx: SmallStack, front: dict[str, Any], words: list[str]
) -> None:
    behind_nginx.front = json.loads(json.dumps(front).replace("{}", str(behind_nginx.port)))
    with pytest.raises(BadInput) as refused:
        behind_nginx.roll("v1")
    text = f"{refused.value} {refused.value.advice}"
    assert all(word in text for word in [*words, "allow_downtime"]), text


_GUEST = """
import sys, time, urllib.request
while True:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=3).read()
        print("ok")
    except OSError as error:
        print("failed", error)
    time.sleep(0.05)
"""


def test_others_in_its_network_come_by_the_address_of_the_host(folder: Path) -> None:
    """By the gateway's address, as who calls the public name of the site from within does."""
    port = free_port()
    with started(folder, {"api": {"x-evenkeel": {"kind": "web"}}}, SITE, port) as one:
        gateway = json.loads(docker("network", "inspect", f"{NAME}_default"))[0]["IPAM"]["Config"][0]["Gateway"]
        one.front = {"ports": [f"127.0.0.1:{port}:80", f"{gateway}:{port}:80"]}
        one.up("v1")
        guest = f"{NAME}-guest"
        docker(
            "run", "--detach", "--name", guest, "--network", f"{NAME}_default", "--label", f"evenkeel.bed={NAME}", IMAGE,
            "python", "-u", "-c", _GUEST, f"http://{gateway}:{port}/",
        )  # fmt: skip
        until(lambda: "ok" in docker("logs", guest))
        one.front = {**one.front, "environment": {"NUMBER": "2"}}
        one.roll("v1")
        result = one.roll(**PROXY)
        assert not result.get("failed"), result["msg"]
        said = docker("logs", guest).split("\n")
        failed = [line for line in said if "failed" in line]
        assert failed == [] and said.count("ok") > 50, failed[:5]
