# SPDX-License-Identifier: GPL-3.0-or-later
"""Which published ports stand in the way of a roll, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling import published_ports
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.port_rules import beside

LOCAL = {"target": 8000, "published": "8000", "host_ip": "127.0.0.1"}


@pytest.mark.parametrize(
    ("ports", "found"),
    [
        (None, []),
        ([{"target": 8000}], []),
        ([{"target": 8000, "published": "0"}], []),
        ([{"target": 8000, "published": "8080"}], ["8080"]),
        ([LOCAL, {"target": 1, "published": "8001-8002"}], ["127.0.0.1:8000", "8001-8002"]),
    ],
)
def test_what_is_published(ports: list[dict[str, Any]] | None, found: list[str]) -> None:
    assert published_ports.published({"ports": ports}) == found


@pytest.mark.parametrize(
    ("ports", "replicas", "steered", "allowed", "words"),
    [
        ([], 3, False, False, ""),
        (["127.0.0.1:8000"], 1, True, False, ""),
        (["[::1]:8000"], 1, True, False, ""),
        (["8000"], 1, True, True, ""),
        (["127.0.0.1:8000"], 2, True, True, "publishes port 127.0.0.1:8000, which only one container can hold"),
        (["8000"], 1, False, True, "remove ports: (nginx reaches it by name)"),
        (["127.0.0.1:1", "8000"], 1, True, False, "publishes port 8000 to the outside"),
        (["10.0.0.1:8000"], 1, True, False, "allow_downtime: true"),
    ],
)
def test_what_is_refused(ports: list[str], replicas: int, steered: bool, allowed: bool, words: str) -> None:
    said = published_ports.objection("api", ports, replicas, steered, allowed)
    assert (words in said) if words else said == ""


def test_a_stand_in_differs_in_its_ports_alone() -> None:
    project = {"name": "x", "services": {"api": {"image": "a", "ports": [LOCAL]}, "nginx": {"ports": [LOCAL]}}}
    plain = published_ports.with_other_ports(project, {"api": ()})
    assert plain == {"name": "x", "services": {"api": {"image": "a"}, "nginx": {"ports": [LOCAL]}}}
    assert project["services"]["api"]["ports"] == [LOCAL]
    ports = beside(project["services"]["api"], False)
    handed = published_ports.with_other_ports(project, {"api": ports})["services"]["api"]["ports"]
    assert handed == [{"mode": "ingress", "target": 8000, "protocol": "tcp", "host_ip": "127.0.0.1"}]
