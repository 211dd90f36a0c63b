# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.init.health_url import (
    addresses,
    is_name,
    paths_checked,
    paths_written,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import Route

PLAIN = Route("api", 8000, "shop.example.org", 80)
TLS = Route("api", 8000, "shop.example.org", 443, True)
NAMELESS = Route("api", 8000, "", 80)
BOTH = {80: 80, 443: 443}


@pytest.mark.parametrize(
    ("test", "paths"),
    [
        (["CMD", "curl", "-f", "http://localhost:8000/health/"], ["/health/"]),
        ("wget -q -O- http://127.0.0.1:8000/healthz || exit 1", ["/healthz"]),
        (["CMD-SHELL", "curl -f http://localhost:8000"], ["/"]),
        (["CMD", "python", "-c", "import urllib.request as r; r.urlopen('http://localhost:8000/up/')"], ["/up/"]),
        (["CMD", "pg_isready"], []),
        (["NONE"], []),
    ],
)
def test_the_paths_of_a_health_check(test: object, paths: list[str]) -> None:
    assert paths_checked({"test": test}) == paths
    assert paths_checked({"Test": test}) == paths


def test_the_paths_of_urls_py() -> None:
    text = 'urlpatterns = [path("health/", ok), path(\'api/ping\', ok), path("healthy-food/", menu), path("tours/<int:n>", x)]'
    assert paths_written(text) == ["/health/", "/api/ping"]


@pytest.mark.parametrize(
    ("routes", "published", "paths", "first"),
    [
        ([PLAIN, TLS], BOTH, ["/health/"], "https://shop.example.org/health/"),
        ([PLAIN], BOTH, ["/health/"], "http://shop.example.org/health/"),
        ([NAMELESS], {80: 8080}, ["/health/"], "http://127.0.0.1:8080/health/"),
        ([NAMELESS], None, [], "http://127.0.0.1/"),
        # TLS where nobody can come in is no way.
        ([TLS, PLAIN], {80: 80}, [], "http://shop.example.org/"),
        # The page is the front end's; only what begins with /api/ is the app's.
        ([Route("api", 8000, "", 80, location="/api/")], {80: 80}, ["/health/"], "http://127.0.0.1/api/health/"),
        ([Route("api", 8000, "", 80, location="/api/")], {80: 80}, [], "http://127.0.0.1/api/"),
        # As gunicorn's own example has it: try_files $uri @proxy_to_app.
        ([replace(TLS, location="@proxy_to_app")], BOTH, ["/health/"], "https://shop.example.org/health/"),
        ([Route("api", 8000, "", 80, location="^/(api|health)")], {80: 80}, ["/health/"], "http://127.0.0.1/health/"),
    ],
)
def test_the_likeliest_address_comes_first(
    routes: list[Route], published: dict[int, int] | None, paths: list[str], first: str
) -> None:
    assert addresses(routes, published, paths)[0] == first


def test_nobody_comes_to_a_port_that_is_not_published() -> None:
    assert addresses([NAMELESS], {8443: 8443}, ["/"]) == []


@pytest.mark.parametrize(
    ("name", "good"),
    [("shop.example.org", True), ("_", False), ("localhost", False), ("10.0.0.4", False), ("a.localhost", False)],
)
def test_names_that_a_user_can_write(name: str, good: bool) -> None:
    assert is_name(name) is good
