# SPDX-License-Identifier: GPL-3.0-or-later
"""By which addresses nginx's configuration says that users ask an app."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import routes
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.syntax import load
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.site_url import (
    named_in_nginx,
    parse,
    suggested,
)

_TLS, _PLAIN = "443 ssl", "80"
_APP = "location / { proxy_pass http://api:8000; }"
_HEALTH = "https://shop.test/health/"


def server(listen: str, names: str = "shop.test www.shop.test", body: str = _APP) -> str:
    named_ = f"server_name {names};" if names else ""
    return f"server {{ listen {listen}; {named_} {body} }} "


def named(
    servers: str, target: str = "/health/", published: dict[int, int] | None = None, backends: tuple[int, ...] = ()
) -> list[str]:
    dump = f"# configuration file /etc/nginx/nginx.conf:\nhttp {{ {servers} }}\n"
    return [str(url) for url in named_in_nginx(routes(load(dump)), published, target, backends)]


_FRONT_END = "location / { try_files $uri /index.html; } location /api/ { proxy_pass http://api:8000; }"
_FILES_FIRST = "location / { try_files $uri @app; } location @app { proxy_pass http://api:8000; }"


@pytest.mark.parametrize(
    ("servers", "published", "found"),
    [
        (server(_TLS), {443: 443}, [_HEALTH]),
        (server(_TLS), {443: 8443}, ["https://shop.test:8443/health/"]),
        # What is published by nobody no user of this host reaches.
        (server(_TLS), {80: 80}, []),
        # With the network of the host a port is a port.
        (server(_TLS), None, [_HEALTH]),
        # The one that redirects leads nowhere; of plain and TLS, TLS.
        (server(_PLAIN, body="return 301 https://$host$request_uri;") + server(_TLS), {80: 80, 443: 443}, [_HEALTH]),
        (server(_PLAIN) + server(_TLS), {80: 80, 443: 443}, [_HEALTH]),
        # A page of a front end answers 200 to every path; it is not the app.
        (server(_TLS, body=_FRONT_END), {443: 443}, []),
        (server(_TLS, body=_FILES_FIRST), {443: 443}, [_HEALTH]),
        (server(_TLS, body="location ~ ^/(health|api)/ { proxy_pass http://api:8000; }"), {443: 443}, [_HEALTH]),
        (server(_TLS, body="location ~ ^/(admin|api)/ { proxy_pass http://api:8000; }"), {443: 443}, []),
        # No name that a user could ask by.
        (server(_PLAIN, "_"), {80: 80}, []),
        (server(_PLAIN, "localhost"), {80: 80}, []),
        (server(_PLAIN, "10.0.0.5"), {80: 80}, []),
        (server(_PLAIN, ""), {80: 80}, []),
        (server(_TLS, "a.test") + server(_TLS, "b.test"), {443: 443}, ["https://a.test/health/", "https://b.test/health/"]),
    ],
)  # fmt: skip
def test_names_and_ports_are_those_that_lead_users_to_the_app(
    servers: str, published: dict[int, int] | None, found: list[str]
) -> None:
    assert named(servers, published=published) == found


def test_of_this_hosts_own_nginx_only_what_leads_to_the_project_counts() -> None:
    sites = {"mine.test": "127.0.0.1:8000", "other.test": "127.0.0.1:9000", "far.test": "10.0.0.9:8000"}
    every = "".join(server(_TLS, name, f"location / {{ proxy_pass http://{to}; }}") for name, to in sites.items())
    assert named(every, backends=(8000,)) == ["https://mine.test/health/"]


def test_query_and_path_go_along() -> None:
    one = server(_TLS, body="location /api/ { proxy_pass http://api:8000; }")
    assert named(one, "/api/health/?deep=1") == ["https://shop.test/api/health/?deep=1"]


def test_what_to_write_is_a_line_that_can_be_pasted() -> None:
    assert (
        suggested([parse("https://shop.test/health/")])
        == "by its server_name in nginx it is app_health_url: https://shop.test/health/"
    )
    assert "app_health_url: https://www.example.com/health/" in suggested([])
