# SPDX-License-Identifier: GPL-3.0-or-later
"""Canary and blue-green on stacks unlike the shop: names asked for again, several replicas, Caddy, Traefik, a port of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from tests.bed.ports import free_port
from tests.bed.proxy_images import from_debian, newest
from tests.bed.shop import WORKER
from tests.bed.small_stack import LABEL, SmallStack
from tests.bed.users import RACE, failures, rules_of, users

NAME = f"evenkeel-strategies-{WORKER}"
QUICK = {"prove_seconds": 1, "monitor": 0.5, "drain_timeout": 6}
NAMED = "server { listen 80; location / { proxy_pass http://app:8000; } }"
LEAST = (
    "upstream apps { least_conn; server app:8000; } "
    "server { listen 80; location / { proxy_pass http://apps; } access_log /var/log/nginx/own.log; }"
)
ASKED = "server { listen 80; resolver 127.0.0.11 valid=1s; set $app http://app:8000; location / { proxy_pass $app; } access_log off; }"
CADDY = ":80 {\n    reverse_proxy app:8000\n}\n"
ASKS = "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/', timeout=2)"
HEALTH = {"test": ["CMD", "python", "-c", ASKS], "interval": "1s", "retries": 2, "timeout": "3s"}
LABELS = {
    "traefik.enable": "true",
    "traefik.http.routers.site.rule": "Host(`localhost`)",
    "traefik.http.services.site.loadbalancer.server.port": "8000",
}
FLAGS = ["--providers.docker=true", "--providers.docker.exposedbydefault=false", "--entrypoints.web.address=:80"]


def made(folder: Path, front: str, replicas: int) -> SmallStack:
    app: dict[str, Any] = {
        "x-evenkeel": {"kind": "web", **QUICK},
        "deploy": {"replicas": replicas},
        "restart": "always",
    }
    site = {"named": NAMED, "least": LEAST, "asked": ASKED, "caddy": CADDY}.get(front, front)
    if front == "traefik":
        app |= {"labels": {**LABELS, LABEL: NAME}, "healthcheck": HEALTH}
    stack = SmallStack(NAME, folder, {"app": app}, site, free_port())
    if front == "caddy":
        stack.front = {
            "image": from_debian("caddy"),
            "volumes": [f"{folder}/site.conf:/etc/caddy/Caddyfile:ro"],
            "depends_on": ["app"],
        }
    if front == "traefik":
        socket = "/var/run/docker.sock:/var/run/docker.sock:ro"
        stack.front = {"image": newest("traefik"), "command": FLAGS, "volumes": [socket], "depends_on": ["app"]}
    return stack


@pytest.fixture(
    params=[("named", 1), ("least", 3), ("asked", 2), ("caddy", 2), ("traefik", 1)], ids=lambda p: f"{p[0]}-{p[1]}"
)
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallStack]:
    front, replicas = request.param
    with made(tmp_path / "project", front, replicas).started() as one:
        yield one


def test_both_strategies_and_the_way_back_lose_nothing(stack: SmallStack) -> None:
    before, number = stack.containers("app"), len(stack.containers("app"))
    with users(stack.port) as answers:
        blue = stack.roll("v2", strategy="blue_green", keep_old="10m")
        assert not blue.get("failed"), blue["msg"]
        assert len(blue["spares"]["containers"]) == number
        assert sorted(stack.containers("app").values()) == ["v1"] * number + ["v2"] * number
        assert {stack.ask() for _each in range(20)} == {"v2"}
        again = stack.roll(strategy="blue_green", keep_old="10m")
        assert not again["changed"], again["msg"]
        back = stack.roll("v1", backward=True)
        assert not back.get("failed"), back["msg"]
        assert stack.containers("app") == before
        steps = [entry["step"] for entry in back["timeline"]]
        assert steps.index("join") < steps.index("stop") and "start" not in steps, steps
        answers.pop("v2", None)
        canary = stack.roll("v2", strategy="canary", canary_time="4s")
        assert not canary.get("failed"), canary["msg"]
        assert set(stack.containers("app").values()) == {"v2"}
    assert failures(answers) == {} and answers["v2"] > 20, answers
    assert rules_of(NAME) == [] and not (stack.folder / "state/spares.json").exists()
    print(f"\nevidence: both strategies: {sum(answers.values()):,} requests, 0 failed; {canary['notes']}")


def test_a_canary_that_fails_users_later_is_taken_back(tmp_path: Path) -> None:
    """It is right in its proofs, and turns sour under its users; nginx writes its log into a file of its own."""
    with made(tmp_path / "project", "least", 2).started() as stack:
        before = stack.containers("app")
        stack.services["app"]["environment"] = {"SOURS": "8"}
        with users(stack.port, uploads=False) as answers:
            bad = stack.roll("v2", strategy="canary", canary_time="60s", prove=[])
        assert bad["failed"] and bad["rolled_back"] and "users got an answer of 5xx" in bad["msg"], bad["msg"]
        assert stack.containers("app") == before and rules_of(NAME) == []
        failed = sum(count for said, count in answers.items() if said not in ("v1", "v2", RACE))
        assert 0 < failed < 80, answers
        print(f"\nevidence: 1 of 3 turned sour: {failed} of {sum(answers.values()):,} requests met it")


@pytest.mark.parametrize(
    ("site", "service", "told", "words"),
    [
        ("", {"ports": ["127.0.0.1:PORT:8000"]}, {"strategy": "blue_green"}, "one alone can hold"),
        ("", {"ports": ["127.0.0.1:PORT:8000"]}, {"strategy": "canary"}, "one alone can hold"),
        (ASKED, {}, {"strategy": "canary", "canary_share": 5}, "takes turns among them"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_touched(
    tmp_path: Path, site: str, service: dict[str, Any], told: dict[str, Any], words: str
) -> None:
    port = free_port()
    own = json.loads(json.dumps(service).replace("PORT", str(port)))
    stack = SmallStack(
        NAME, tmp_path / "project", {"app": {"x-evenkeel": {"kind": "web", **QUICK}, **own}}, site, port if site else 0
    )
    try:
        stack.destroy()
        stack.up("v1")
        before = stack.containers("app")
        with pytest.raises(BadInput, match=words) as refused:
            stack.roll("v2", **told)
        assert "use strategy: rolling" in refused.value.advice or "canary_share" in refused.value.advice
        assert stack.containers("app") == before
    finally:
        stack.destroy()
