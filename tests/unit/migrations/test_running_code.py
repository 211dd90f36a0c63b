# SPDX-License-Identifier: GPL-3.0-or-later
"""Which containers are code of the app, that contract waits for, and which are a database or a broker of whatever name."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.host.running_code import code_of

OLD, NEW = f"sha256:{1:064x}", f"sha256:{2:064x}"


class Containers:
    """The part of an engine that tells which containers a project has."""

    def __init__(self, *made: dict[str, Any]) -> None:
        self.made = made

    def image(self, _name: str) -> dict[str, Any]:
        return {"Id": NEW, "Config": {"Labels": {"org.opencontainers.image.revision": "r1"}}}

    def containers(self, _labels: dict[str, str]) -> list[dict[str, Any]]:
        return list(self.made)

    def info(self) -> dict[str, str]:
        return {"ID": "engine", "Name": "web-1"}


def container(service: str, image: str, **config: Any) -> dict[str, Any]:
    labels = {"com.docker.compose.project": "held", "com.docker.compose.service": service}
    return {
        "Name": f"/held-{service}-1",
        "Image": image,
        "State": {"Running": True},
        "Config": {"Labels": labels, **config},
    }


@pytest.mark.parametrize(
    ("service", "config"),
    [({"x-evenkeel": {"kind": "database"}}, {}), ({}, {"Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["postgres"]})],
    ids=["somebody has said so", "it runs postgres"],
)
def test_a_database_of_an_unknown_name_is_no_older_code(service: dict[str, Any], config: dict[str, Any]) -> None:
    project = {"name": "held", "services": {"api": {"image": "held-api"}, "db": {"image": "heldbed-db", **service}}}
    engine: Any = Containers(container("api", NEW), container("db", OLD, **config))
    code = code_of(engine, project, "api", "/srv/held")
    assert [one["container"] for one in code.running] == ["held-api-1"]


def test_what_nobody_knows_is_taken_for_code() -> None:
    project = {"name": "held", "services": {"api": {"image": "held-api"}, "thing": {"image": "heldbed-thing"}}}
    engine: Any = Containers(container("api", OLD), container("thing", OLD, Cmd=["/thing"]))
    assert len(code_of(engine, project, "api", "/srv/held").running) == 2
