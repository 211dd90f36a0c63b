# SPDX-License-Identifier: GPL-3.0-or-later
"""Stacks of other shapes than the shop's: dependencies in every direction, scaled by hand, data that nobody named."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.nginx_reload import call as nginx_reload
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import Compose
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.host.engine import EngineView
from tests.bed.front import docker
from tests.bed.ports import free_port
from tests.bed.shop import WORKER
from tests.bed.small_stack import SmallStack

SITE = "server { listen 80; location / { proxy_pass http://api:8000; } }"
QUICK = {"prove_seconds": 0.5, "monitor": 0.5}
NAME = f"evenkeel-odd-{WORKER}"
Maker = Callable[..., SmallStack]


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    made: list[SmallStack] = []

    def make(services: Mapping[str, Any], site: str = "") -> SmallStack:
        folder: Path = tmp_path_factory.mktemp("stack")
        one = SmallStack(NAME, folder / "project", services, site, free_port())
        made.append(one)
        one.destroy()
        one.up("v1")
        return one

    yield make
    for one in made:
        one.destroy()


def of_kind(kind: str, *needed: str, **more: Any) -> dict[str, Any]:
    """A definition of a kind that depends on others."""
    return {"x-evenkeel": {"kind": kind, **QUICK}, "depends_on": list(needed), **more}


#: Who sends tasks needs who does them and who answers; who does them calls who answers.
CROSSED = {
    "api": of_kind("web"),
    "celery": of_kind("worker", "api"),
    "celery-beat": of_kind("scheduler", "api", "celery"),
}


def test_nothing_of_the_new_version_is_taken_away_for_what_depends_on_it(stack: Maker) -> None:
    one = stack(CROSSED, SITE)
    for before, after, options in (("v1", "v2", {}), ("v2", "v1", {"backward": True})):
        old = set(one.containers())
        with one.visited() as answers, one.watched() as gone:
            result = one.roll(after, **options)
        assert not result.get("failed"), result["msg"]
        assert {version for name in CROSSED for version in one.containers(name).values()} == {after}
        assert set(gone) <= old, "a container of the wanted version was removed in the middle of the roll"
        assert set(answers) == {before, after}, answers
        assert not one.roll(**options)["changed"]


def test_what_somebody_has_scaled_stays_so_when_what_depends_on_it_is_replaced(stack: Maker) -> None:
    one = stack(CROSSED, SITE)
    one.compose("up", "--detach", "--no-recreate", "--scale", "api=3", "api")
    api = one.containers("api")
    assert len(api) == 3
    with one.watched() as gone:
        result = one.roll("v2", services=["celery", "celery-beat"])
    assert not result.get("failed"), result["msg"]
    assert one.containers("api") == api and not set(gone) & set(api)
    assert set(one.containers("celery").values()) == {"v2"}


def test_an_nginx_that_is_started_anew_while_the_old_drain_knows_none_of_them_afterwards(stack: Maker) -> None:
    one = stack({"api": of_kind("web")}, SITE)
    (old,) = one.containers("api")
    address = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", old).strip()
    # Whoever waits for an answer keeps it from being stopped.
    with socket.create_connection((address, 8000)) as waiting, ThreadPoolExecutor() as pool:
        rolled = pool.submit(one.roll, "v2", drain_timeout=30.0)
        one.until_event("rotate api")
        time.sleep(3)
        docker("restart", "--time", "1", f"{one.name}-front-1")
        time.sleep(4)
        waiting.sendall(b"GET / HTTP/1.0\r\n\r\n")
        result = rolled.result(120)
    assert not result.get("failed"), result["msg"]
    with one.visited() as answers:
        time.sleep(3)
    assert set(answers) == {"v2"} and answers["v2"] > 50, answers


RESOLVED = """
server {
    listen 80;
    resolver 127.0.0.11 valid=1s;
    set $api api;
    location / { proxy_pass http://$api:8000; }
}
"""
#: By each address that the name has; refused is no answer.
_CALLED = """
import http.client, socket
for address in {found[4][0] for found in socket.getaddrinfo("api", 8000)}:
    try:
        asked = http.client.HTTPConnection(address, 8000, timeout=5)
        asked.request("GET", "/")
        print(asked.getresponse().read().decode())
    except OSError:
        pass
"""
#: Killed when it looks at what it has started, before it could do anything about it.
_KILLED = """
import json, os, signal, sys
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.compose_rolling import call as roll
known, inspect = set(sys.argv[2:]), Engine.inspect
def looking(self, key):
    found = inspect(self, key)
    if found.get("State", {}).get("Pid") and found["Name"].startswith(sys.argv[1]) and key not in known:
        os.kill(os.getpid(), signal.SIGKILL)
    return found
Engine.inspect = looking
roll(json.load(sys.stdin), False)
"""


def kill_after_its_start(one: SmallStack, version: str) -> None:
    """Roll to a version in a process that is killed as soon as a new container of the api runs."""
    one.write(version)
    name = f"/{one.name}-api-"
    argv = [sys.executable, "-c", _KILLED, name, *one.containers()]
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(
        argv, env=settings, input=json.dumps(one.parameters), text=True, check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def test_killed_right_after_a_start_nobody_meets_what_is_not_proven(stack: Maker) -> None:
    one = stack({"api": of_kind("web"), "calls": of_kind("worker")}, RESOLVED)
    assert one.ask() == "v1"
    kill_after_its_start(one, "v2")
    assert set(one.containers("api").values()) == {"v1", "v2"}
    with one.visited() as answers:
        time.sleep(6)
    assert set(answers) == {"v1"} and answers["v1"] > 50, answers
    asked = one.inside("calls", "python", "-c", _CALLED)
    assert set(asked.split()) == {"v1"}, "by other containers neither"
    assert not one.roll("v2").get("failed")
    with one.visited() as answers:
        time.sleep(3)
    assert set(answers) == {"v2"}, answers


def standing_by(one: SmallStack) -> list[int]:
    """The processes that guard, or wait to guard, a stack after a kill."""
    found = subprocess.run(
        ["pgrep", "-f", f"guard.host.standby.* {one.name} "], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def test_killed_with_a_pin_what_is_started_by_hand_is_found(stack: Maker) -> None:
    one = stack({"api": of_kind("web"), "others": {"command": ["sleep", "600"], "scale": 0}}, SITE)
    kill_after_its_start(one, "v2")
    assert "evenkeel" in one.inside("front", "cat", "/etc/hosts") and standing_by(one)
    assert one.ask() == "v1"
    docker("rm", "-f", *one.containers("api"))
    # Others take the addresses that were theirs.
    one.compose("up", "--detach", "--scale", "others=2", "--no-deps", "others")
    one.compose("up", "--detach", "--scale", "api=1", "--no-deps", "api")
    one.inside("front", "nginx", "-s", "reload")
    end = time.monotonic() + 30
    while one.ask() != "v2" and time.monotonic() < end:
        time.sleep(0.2)
    with one.visited() as answers:
        time.sleep(3)
    assert set(answers) == {"v2"}, answers
    assert "evenkeel" not in one.inside("front", "cat", "/etc/hosts")
    end = time.monotonic() + 30
    while standing_by(one) and time.monotonic() < end:
        time.sleep(0.2)
    assert not standing_by(one), "it has nothing left to do"
    kill_after_its_start(one, "v3")
    assert standing_by(one)
    assert not one.roll("v3").get("failed")
    end = time.monotonic() + 30
    while standing_by(one) and time.monotonic() < end:
        time.sleep(0.2)
    assert not standing_by(one), "the next roll has taken the pins away"
    assert one.ask() == "v3"


def answering(status: int) -> dict[str, Any]:
    return of_kind("web", environment={"STATUS": str(status)})


def test_an_api_that_has_nothing_at_its_root_is_ready_when_it_answers_as_ever(stack: Maker) -> None:
    one = stack({"api": answering(404)}, SITE)
    result = one.roll("v2", ready_timeout=20.0)
    assert not result.get("failed"), result["msg"]
    one.services["api"] = answering(500)
    assert "GET / answered 500" in one.roll("v3", ready_timeout=5.0)["msg"]
    one.services["api"] = answering(200)
    assert not one.roll("v4").get("failed")
    one.services["api"] = answering(404)
    assert "GET / answered 404" in one.roll("v5", ready_timeout=5.0)["msg"], (
        "the version that serves has something there"
    )
    assert one.ask() == "v4"


def test_a_health_check_that_always_succeeds_does_not_let_a_new_fault_in(stack: Maker) -> None:
    check = {"healthcheck": {"test": ["CMD", "true"], "interval": "2s", "start_period": "5s"}}
    one = stack({"api": {**answering(200), **check}}, SITE)
    one.services["api"] = {**answering(500), **check}
    with one.visited() as answers:
        said = one.roll("v2", ready_timeout=4.0)["msg"]
    assert "GET / answered 500, which the version from before does not" in said
    assert set(answers) == {"v1"}, answers
    one.services["api"] = {**answering(404), **check}
    assert not one.roll("v3").get("failed"), "its check may know better than we whether there is something at /"


def test_a_web_service_is_new_before_nginx_leads_to_it(stack: Maker) -> None:
    one = stack({"api": of_kind("web")}, SITE)
    one.services["live"] = of_kind("web")
    with one.visited() as answers:
        result = one.roll("v2")
    assert not result.get("failed"), result["msg"]
    assert set(answers) == {"v1", "v2"} and set(one.containers("live").values()) == {"v2"}
    assert not one.roll()["changed"]
    there = one.containers()
    with pytest.raises(BadInput, match="live: front has no proxy_pass to live"):
        one.roll("v3")
    assert one.containers() == there
    front = docker("ps", "-q", "--filter", f"name={one.name}-front").split()
    # Its nginx depends on one more now, which is no other container.
    one.site = SITE.replace("location /", "location /live/ { proxy_pass http://live:8000; } location /")
    with one.visited() as answers:
        result = one.roll("v3")
    assert not result.get("failed"), result["msg"]
    assert set(answers) == {"v2", "v3"} and set(one.containers("live").values()) == {"v3"}
    assert docker("ps", "-q", "--filter", f"name={one.name}-front").split() == front
    assert not one.roll()["changed"]
    project = Compose(str(one.folder)).resolved()
    view = EngineView(Engine(), one.name, project, str(one.folder), one.parameters["state_dir"])
    assert [c.outdated for s in view.services() for c in s.containers] == ["", "", ""]


def policy_of(container: str) -> str:
    return docker("inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", container).strip()


def test_who_is_stopped_in_a_roll_is_not_started_by_a_reboot_and_has_its_policy_again_afterwards(stack: Maker) -> None:
    beat = of_kind("scheduler", restart="always")
    one = stack({"api": of_kind("web"), "celery-beat": beat}, SITE)
    (old,) = one.containers("celery-beat")
    with ThreadPoolExecutor() as pool:
        rolled = pool.submit(one.roll, "v2", monitor=3.0)
        one.until_event("stop")
        end = time.monotonic() + 20
        while docker("inspect", "--format", "{{.State.Running}}", old).strip() == "true" and time.monotonic() < end:
            time.sleep(0.05)
        assert policy_of(old) == "unless-stopped"
        assert not rolled.result(60).get("failed")
    (new,) = one.containers("celery-beat")
    assert policy_of(new) == "always"
    one.services["celery-beat"] = {**beat, "command": ["sh", "-c", "exit 3"]}
    assert one.roll("v3")["failed"]
    assert list(one.containers("celery-beat")) == [new] and policy_of(new) == "always"


def full_policy_of(container: str) -> str:
    return docker("inspect", "--format", "{{json .HostConfig.RestartPolicy}}", container).strip()


def test_who_is_not_proven_yet_is_not_started_by_a_reboot_and_is_as_compose_has_it_afterwards(stack: Maker) -> None:
    deployed = {"restart_policy": {"condition": "on-failure", "max_attempts": 4}}
    one = stack(
        {
            "api": of_kind("web", restart="unless-stopped"),
            "celery": of_kind("worker", restart="on-failure:3"),
            "mail": of_kind("worker", deploy=deployed),
            "search": of_kind("worker", deploy={"restart_policy": {"condition": "any"}}),
            "flower": of_kind("worker"),
        },
        SITE,
    )
    old = {name: full_policy_of(next(iter(one.containers(name)))) for name in one.services}
    with ThreadPoolExecutor() as pool:
        rolled = pool.submit(one.roll, "v2", prove_seconds=4.0)
        one.until_event("start")
        end = time.monotonic() + 30
        while len(one.containers("api")) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        fresh = [i for name in one.services for i, version in one.containers(name).items() if version == "v2"]
        assert fresh and {policy_of(i) for i in fresh} == {"no"}
        assert not rolled.result(90).get("failed")
    assert {name: full_policy_of(next(iter(one.containers(name)))) for name in one.services} == old
    assert len(set(old.values())) == 5


def nginx(folder: Path, name: str, location: str) -> dict[str, Any]:
    """A definition of an nginx without a published port, led on to by another."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.conf"
    file.write_text(f"server {{ listen 80; {location} }}", encoding="utf-8")
    return {
        "image": "evenkeel/nginx:1.26",
        "command": None,
        "init": False,
        "volumes": [f"{file}:/etc/nginx/conf.d/default.conf:ro"],
        "depends_on": ["api"],
    }


def test_an_nginx_behind_another_is_the_one_that_is_led(stack: Maker, tmp_path: Path) -> None:
    inner = nginx(tmp_path, "inner", "location / { proxy_pass http://api:8000; }")
    edge = "server { listen 80; location / { proxy_pass http://spa:80; } }"
    one = stack({"api": of_kind("web"), "spa": inner}, edge)
    with one.visited() as answers:
        result = one.roll("v2", services=["api"])
    assert not result.get("failed"), result["msg"]
    assert set(answers) == {"v1", "v2"}, answers


def test_an_nginx_finds_again_the_one_behind_it_that_has_come_back_elsewhere(stack: Maker, tmp_path: Path) -> None:
    inner = nginx(tmp_path, "inner", "location / { proxy_pass http://api:8000; }")
    edge = "server { listen 80; location / { proxy_pass http://spa:80; } }"
    one = stack({"api": of_kind("web"), "spa": inner}, edge)
    release = {**one.parameters, "from_release": True}
    assert not nginx_reload(release, False)["changed"]
    docker("stop", f"{one.name}-spa-1")
    # Who starts meanwhile has its address.
    one.compose("up", "--detach", "--no-recreate", "--scale", "api=4", "api")
    docker("start", f"{one.name}-spa-1")
    time.sleep(1)
    assert one.ask() != "v1"
    looked = nginx_reload(release, True)
    assert looked["changed"] and "front-1: looks up again" in looked["msg"] and one.ask() != "v1"
    result = nginx_reload(release, False)
    assert [(e["step"], e["service"], e["result"]) for e in result["timeline"]] == [("reload", "front", "ok")], result
    assert one.ask() == "v1"
    assert not nginx_reload(release, False)["changed"]


def test_two_of_them_that_lead_to_the_same_service_are_refused(stack: Maker, tmp_path: Path) -> None:
    inner = nginx(tmp_path, "inner", "location / { proxy_pass http://api:8000; }")
    edge = (
        "server { listen 80; location / { proxy_pass http://spa:80; } location /api/ { proxy_pass http://api:8000; } }"
    )
    one = stack({"api": of_kind("web"), "celery": of_kind("worker"), "spa": inner}, edge)
    before = one.containers("api")
    with pytest.raises(
        BadInput, match=r"api: both front and .*-spa-1 lead to it|api: both spa and .*-front-1 lead to it"
    ):
        one.roll("v2", services=["api", "celery"])
    assert one.containers("api") == before
    assert not one.roll(services=["celery"]).get("failed"), "whom neither leads to is not concerned"


def test_an_nginx_beside_the_one_that_is_led_is_named_where_it_alone_leads_to_a_service(
    stack: Maker, tmp_path: Path
) -> None:
    side = {**nginx(tmp_path, "side", "location / { proxy_pass http://admin:8000; }"), "depends_on": ["admin"]}
    one = stack({"api": of_kind("web"), "admin": of_kind("web"), "side": side}, SITE)
    before = one.containers()
    with pytest.raises(BadInput, match=r"admin: .*-side-1 leads to it and front does not, and only one nginx"):
        one.roll("v2", services=["api", "admin"])
    assert one.containers() == before


def test_data_that_nobody_named_is_not_thrown_away(stack: Maker) -> None:
    kept = {"volumes": ["/data"], "x-evenkeel": {"order": "stop-first", **QUICK}}
    one = stack({"search": kept, "queue": kept})
    one.inside("search", "sh", "-c", "echo precious > /data/index")
    before = one.containers()
    with pytest.raises(BadInput, match=r"search: .* has data in an anonymous volume at /data"):
        one.roll("v2")
    with pytest.raises(BadInput, match="anonymous volume"):
        one.roll("v2", allow_downtime=True)
    assert one.containers() == before
    assert one.inside("search", "cat", "/data/index") == "precious\n"
    # Nothing is in the other one.
    assert one.roll("v2", services=["queue"], allow_downtime=True)["changed"]


def test_data_of_a_service_that_went_stays_on_the_engine(stack: Maker) -> None:
    one = stack({"api": of_kind("web"), "search": {"volumes": ["/data"]}}, SITE)
    one.inside("search", "sh", "-c", "echo precious > /data/index")
    mounts = docker("inspect", "--format", "{{range .Mounts}}{{.Name}}{{end}}", f"{one.name}-search-1").strip()
    del one.services["search"]
    one.write("v1")
    try:
        assert one.roll(remove_orphans=True)["changed"]
        assert not one.containers("search")
        assert docker("volume", "inspect", "--format", "{{.Name}}", mounts).strip() == mounts
    finally:
        docker("rm", "-fv", *docker("ps", "-aq", "--filter", f"label=evenkeel.bed={one.name}").split())
        docker("volume", "rm", "--force", mounts)
