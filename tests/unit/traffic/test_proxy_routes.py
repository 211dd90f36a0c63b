# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the ways that an nginx leads belong to which service: names that are parts of each other most of all."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import Route
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.proxy_routes import routes_to

SERVICES = ("db", "db-admin", "celery", "celery-flower", "api", "api2")


def led_to(host: str, static: bool = False) -> list[str]:
    """The services to which a route to this host is taken to lead."""
    every = (Route(host, 8000, static_name=static),)
    return [name for name in SERVICES if routes_to("shop", name, {}, every, {})]


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("static", [True, False])
def test_a_name_is_the_service_of_that_name_and_of_no_other(name: str, static: bool) -> None:
    assert led_to(name, static) == [name]


@pytest.mark.parametrize(
    ("host", "services"),
    [
        ("db-admin.shop_default", ["db-admin"]),
        ("db.elsewhere.example.org", []),
        ("shop-api-1", []),
        ("http://api$suffix:8000", ["api"]),
        ("$celery-flower", ["celery-flower"]),
        ("db_$number", []),
        ("$backend", []),
    ],
)
def test_what_is_asked_for_again_is_compared_as_a_whole_where_nothing_in_it_is_unknown(
    host: str, services: list[str]
) -> None:
    assert led_to(host) == services


def test_an_alias_counts_as_the_name() -> None:
    aliased = {"networks": {"default": {"aliases": ["backend"]}}}
    every = (Route("backend", 8000, static_name=False), Route("backend.shop_default", 8000, static_name=False))
    assert len(routes_to("shop", "api", aliased, every, {})) == 2
