# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ways a Caddy leads, as the JSON that it serves with says: written after what ``caddy adapt`` makes of Caddyfiles."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import request_headers
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.caddy_config import (
    UnreadableCaddy,
    caddy_routes,
    caddyfile_routes,
)


def config(
    *handlers: dict[str, Any], hosts: tuple[str, ...] = (), listen: str = ":443", **server: Any
) -> dict[str, Any]:
    match = {"match": [{"host": list(hosts)}]} if hosts else {}
    route = {**match, "handle": [{"handler": "subroute", "routes": [{"handle": list(handlers)}]}]}
    return {"apps": {"http": {"servers": {"srv0": {"listen": [listen], "routes": [route], **server}}}}}


def proxy(*dials: str, **more: Any) -> dict[str, Any]:
    return {"handler": "reverse_proxy", "upstreams": [{"dial": d} for d in dials], **more}


def test_a_site_with_a_name_is_reached_by_tls_and_asks_for_the_name_at_each_connection() -> None:
    (route,) = caddy_routes(config({"handler": "encode"}, proxy("api:8000"), hosts=("shop.example.org",)), {})
    assert (route.host, route.port, route.server_name, route.listen, route.tls) == (
        "api",
        8000,
        "shop.example.org",
        443,
        True,
    )
    assert (route.static_name, route.kept, route.how, route.keepalive) == (False, 0.0, "reverse_proxy", 32)
    assert request_headers(route)["Host"] == "shop.example.org"
    assert request_headers(route)["X-Forwarded-Proto"] == "https"


@pytest.mark.parametrize(
    ("listen", "server", "tls"),
    [
        (":80", {}, False),
        (":8080", {"automatic_https": {"disable": True}}, False),
        (":8443", {"tls_connection_policies": [{}]}, True),
        (":443", {}, True),
    ],
)
def test_whether_users_speak_tls(listen: str, server: dict[str, Any], tls: bool) -> None:
    (route,) = caddy_routes(config(proxy("api:8000"), listen=listen, **server), {})
    assert route.tls is tls and route.listen == int(listen[1:])


def test_each_upstream_is_a_way_and_those_for_errors_too() -> None:
    tree = config(proxy("api:8000", "api2:8001"))
    server = tree["apps"]["http"]["servers"]["srv0"]
    server["routes"][0]["handle"][0]["errors"] = {"routes": [{"handle": [proxy("fallback:80")]}]}
    assert [(r.host, r.port) for r in caddy_routes(tree, {})] == [("api", 8000), ("api2", 8001), ("fallback", 80)]


def test_a_name_from_the_environment_of_caddy() -> None:
    (route,) = caddy_routes(config(proxy("{env.BACKEND}:8000")), {"BACKEND": "api"})
    assert route.host == "api"


def test_connections_that_it_does_not_keep_need_no_reload() -> None:
    off = {"protocol": "http", "keep_alive": {"enabled": False}}
    (route,) = caddy_routes(config(proxy("api:8000", transport=off)), {})
    assert route.keepalive == 0


def test_the_host_that_it_calls_the_other_side() -> None:
    headers = {
        "request": {"set": {"Host": ["{http.reverse_proxy.upstream.hostport}"], "X-Real-Ip": ["{http.request.remote}"]}}
    }
    (route,) = caddy_routes(config(proxy("api:8000", headers=headers), hosts=("a.example.org",)), {})
    assert request_headers(route)["Host"] == "api:8000"
    headers = {"request": {"set": {"host": ["inner.example.org"]}}}
    (route,) = caddy_routes(config(proxy("api:8000", headers=headers)), {})
    assert request_headers(route)["Host"] == "inner.example.org"


def test_a_socket_and_what_is_no_http() -> None:
    (socket, php) = caddy_routes(
        config(proxy("unix//run/app.sock"), proxy("php:9000", transport={"protocol": "fastcgi"})), {}
    )
    assert (socket.host, socket.port) == ("unix:/run/app.sock", 0)
    assert php.how == "fastcgi of Caddy"


@pytest.mark.parametrize(
    "handler",
    [
        {"handler": "reverse_proxy", "dynamic_upstreams": {"source": "a", "name": "api", "port": "8000"}},
        proxy("{http.request.host}:8000"),
        proxy("api"),
        proxy(""),
    ],
)
def test_where_only_a_request_tells_it_is_refused_with_what_to_write(handler: dict[str, Any]) -> None:
    with pytest.raises(UnreadableCaddy) as refused:
        caddy_routes(config(handler), {})
    assert "service" in refused.value.advice


@pytest.mark.parametrize("tree", [{}, {"apps": {}}, {"apps": {"http": {"servers": {"s": {}}}}}, {"apps": {"tls": {}}}])
def test_one_that_leads_nowhere(tree: dict[str, Any]) -> None:
    assert caddy_routes(tree, {}) == ()


CADDYFILE = """{
    email webmaster@example.org
}

{$SITE:shop.example.org}, www.example.org {
    @backend path /api/* /docs
    handle @backend {
        reverse_proxy backend:9000 {
            header_up X-Real-IP {remote_host}
        }
    }
    reverse_proxy /old/* http://legacy:81 http://legacy:82
    handle {
        reverse_proxy nuxt:3000 # pages
    }
}

http://status.example.org {
    reverse_proxy status:80
}
:8080 {
    respond "ok"
}
"""


def test_a_caddyfile_that_nobody_has_loaded_yet() -> None:
    found = [(r.host, r.port, r.server_name, r.listen, r.tls) for r in caddyfile_routes(CADDYFILE, {})]
    assert found == [
        ("backend", 9000, "shop.example.org", 443, True),
        ("legacy", 81, "shop.example.org", 443, True),
        ("legacy", 82, "shop.example.org", 443, True),
        ("nuxt", 3000, "shop.example.org", 443, True),
        ("status", 80, "status.example.org", 80, False),
    ]
    assert caddyfile_routes(CADDYFILE, {"SITE": "http://a.test:8000"})[0].listen == 8000
