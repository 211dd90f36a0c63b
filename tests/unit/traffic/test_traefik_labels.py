# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ways a Traefik leads by labels, how it was told to find containers, and which health checks can be kept from an app."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.traefik_labels import (
    BY_FILES,
    THROTTLE,
    Provider,
    file_routes,
    health_check_of,
    is_enabled,
    label_routes,
    provider_of,
)


@pytest.mark.parametrize(
    ("command", "asks"),
    [
        (["curl", "-fsS", "http://localhost:8000/v1/healthz"], (8000, "/v1/healthz")),
        (["/bin/sh", "-c", "wget -qO- http://127.0.0.1:5000/ || exit 1"], (5000, "/")),
        (
            ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz')"],
            (8080, "/healthz"),
        ),
        (["/bin/sh", "-c", "curl -f http://$HOSTNAME:8000/ping/?full=1"], (8000, "/ping/?full=1")),
        (["/bin/sh", "-c", 'curl -f "http://localhost/health"'], (80, "/health")),
        (["curl", "http://[::1]:9000"], (9000, "/")),
    ],
)
def test_a_health_check_that_asks_the_app(command: list[str], asks: tuple[int, str]) -> None:
    check = health_check_of({}, {}, command)
    assert check and (check.port, check.path) == asks


@pytest.mark.parametrize(
    "command",
    [[], ["true"], ["pgrep", "gunicorn"], ["/bin/sh", "-c", "test -S /run/app.sock"], ["curl", "http://db:5432/"],
     ["curl", "https://localhost/"]],
)  # fmt: skip
def test_one_that_does_not_cannot_be_kept_from_it(command: list[str]) -> None:
    assert health_check_of({}, {}, command) is None


def test_its_times_are_the_services_then_the_images_then_the_engines() -> None:
    command = ["curl", "http://localhost:8000/"]
    own = health_check_of({"interval": "2s", "timeout": "1s", "retries": 2}, {"Interval": 9e9, "Retries": 9}, command)
    assert own and (own.up, own.down) == (2 + 1 + THROTTLE, 3 * 3)
    inherited = health_check_of({}, {"Interval": 4_000_000_000, "Timeout": 3_000_000_000, "Retries": 1}, command)
    assert inherited and (inherited.up, inherited.down) == (4 + 3 + THROTTLE, 2 * 7)
    usual = health_check_of({}, {}, command)
    assert usual and (usual.up, usual.down) == (30 + 5 + THROTTLE, 4 * 35)


@pytest.mark.parametrize(
    ("words", "environment", "text", "found"),
    [
        (["traefik", "--providers.docker"], {}, "", Provider(True, True)),
        (
            ["traefik", "--providers.docker=true", "--providers.docker.exposedByDefault=false"],
            {},
            "",
            Provider(True, False),
        ),
        (["traefik", "--providers.docker.endpoint=tcp://proxy:2375"], {}, "", Provider(True, True)),
        (["traefik", "--providers.docker=false"], {}, "", Provider(False, True)),
        (["traefik"], {"TRAEFIK_PROVIDERS_DOCKER_EXPOSEDBYDEFAULT": "false"}, "", Provider(True, False)),
        (["traefik"], {}, "providers:\n  docker:\n    exposedByDefault: false\n", Provider(True, False)),
        (["traefik"], {}, "[providers.docker]\n  exposedByDefault = false\n", Provider(True, False)),
        (
            ["traefik"],
            {},
            "providers:\n  file:\n    filename: /etc/traefik/traefik.yml\n",
            Provider(False, True, ("/etc/traefik/traefik.yml",)),
        ),
        (
            ["traefik", "--providers.file.directory=/etc/dynamic", "--serversTransport.maxIdleConnsPerHost=-1"],
            {},
            "",
            Provider(False, True, ("/etc/dynamic",), False),
        ),
        (
            ["traefik"],
            {},
            "serversTransport:\n  maxIdleConnsPerHost: -1\nproviders: {file: {directory: /d, watch: true}}\n",
            Provider(False, True, ("/d",), False),
        ),
        (["traefik", "--entrypoints.web.address=:80"], {"PATH": "/bin"}, "", Provider(False, True)),
    ],
)
def test_how_it_finds_containers(words: list[str], environment: dict[str, str], text: str, found: Provider) -> None:
    assert provider_of(words, environment, text) == found


@pytest.mark.parametrize(
    ("labels", "exposed", "enabled"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"traefik.enable": "true"}, False, True),
        ({"traefik.enable": "false"}, True, False),
    ],
)
def test_whether_it_sends_to_one(labels: dict[str, str], exposed: bool, enabled: bool) -> None:
    assert is_enabled(labels, exposed) is enabled


LABELS: dict[str, Any] = {
    "traefik.enable": "true",
    "traefik.http.routers.web.rule": "Host(`shop.example.org`) && PathPrefix(`/`)",
    "traefik.http.routers.web.tls.certresolver": "le",
    "traefik.http.services.web.loadbalancer.server.port": "8000",
}


def test_how_users_come() -> None:
    (route,) = label_routes("app", LABELS, {80, 443, 8080})
    assert (route.host, route.port, route.server_name) == ("app", 8000, "shop.example.org")
    assert (route.listen, route.tls, route.static_name) == (443, True, False)


def test_a_router_by_plain_http_and_one_by_tls_are_two_ways() -> None:
    plain = {**LABELS, "traefik.http.routers.plain.rule": "Host(`shop.example.org`)"}
    assert [(r.listen, r.tls) for r in label_routes("app", plain, {80, 443})] == [(80, False), (443, True)]


def test_without_labels_of_its_own_it_is_found_by_what_it_listens_on() -> None:
    (route,) = label_routes("app", {}, {80})
    assert (route.port, route.server_name, route.listen, route.tls) == (0, "", 80, False)


def test_tls_that_something_before_traefik_ends() -> None:
    (route,) = label_routes("app", LABELS, {8080})
    assert (route.listen, route.tls) == (8080, False)


@pytest.mark.parametrize(
    "text",
    [
        "http:\n  services:\n    django:\n      loadBalancer:\n        servers:\n          - url: http://django:5000\n",
        "services: {django: {loadBalancer: {servers: [{url: 'http://django:5000'}]}}}",
        '[[http.services.django.loadBalancer.servers]]\n  url = "http://django:5000/"\n',
    ],
)
def test_the_servers_that_a_file_names(text: str) -> None:
    (route,) = file_routes(text, {80, 443}, True)
    assert (route.host, route.port, route.how, route.listen, route.tls) == ("django", 5000, BY_FILES, 443, True)
    assert route.kept == 0.0 and route.keepalive and not route.static_name
    assert file_routes(text, {80}, False)[0].keepalive == 0


def test_a_server_by_tls_is_another_way_and_twice_the_same_is_one() -> None:
    text = "servers: [{url: https://api:8443}, {url: http://web}, {url: http://web}]"
    assert [(r.host, r.port, r.how) for r in file_routes(text, {80}, True)] == [
        ("api", 8443, "TLS of Traefik"),
        ("web", 80, BY_FILES),
    ]
