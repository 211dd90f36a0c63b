# SPDX-License-Identifier: GPL-3.0-or-later
"""Behind which proxies other people's stacks are, and how many of these can be led, by their files alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ansible_collections.evenkeel.deploy.plugins.module_utils.init.host import describe
from tests.stacks.corpus import SEEN, UNSEEN

FOLDERS = sorted(path.parent for parent in (SEEN, UNSEEN) for path in parent.glob("*/expected.yaml"))
FRONTS = {folder.name: yaml.safe_load((folder / "expected.yaml").read_text())["front"] for folder in FOLDERS}
#: Behind HAProxy or Apache: led once an nginx of the project is between, as ``tests/bed/test_behind_others.py`` does it.
BY_AN_NGINX_BETWEEN = {"haproxy-twins-pika-consumer", "role-by-variable-haproxy", "apache-front-docs-and-pgadmin"}
#: Led by what writes its configuration by the engine's events, which no bed has; or one container has the host's own network.
NOT_LED = {
    "caddy-labels-ofelia-minio",
    "https-portal-flask-run-sqlite",
    "split-dockergen-rq",
    "waitress-mariadb-backup-loop",
    "djangoq-nginx-proxy-acme",
    "iot-host-network-influx",
}
_UNLED = ("cannot be led", "has no proxy_pass", "no running nginx", "put an nginx")


@pytest.mark.parametrize("folder", [f for f in FOLDERS if FRONTS[f.name] != "nginx"], ids=lambda f: f.name)
def test_behind_caddy_traefik_and_nothing_users_can_be_led(folder: Path) -> None:
    table = yaml.safe_load((folder / "expected.yaml").read_text())
    sources = tuple(str(folder / name) for name in table["files"])
    problems = describe.project_variables(describe.Request(sources), check_mode=True)["problems"]
    unled = [p for p in problems if any(words in p for words in _UNLED)]
    assert bool(unled) == (folder.name in NOT_LED | BY_AN_NGINX_BETWEEN), problems


def test_how_many_that_are() -> None:
    assert len(NOT_LED | BY_AN_NGINX_BETWEEN) <= 0.15 * len(FRONTS)
    assert len(NOT_LED) <= 0.1 * len(FRONTS)
