# SPDX-License-Identifier: GPL-3.0-or-later
"""Under which paths nginx serves a file."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.files import addresses
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.syntax import parse


@pytest.mark.parametrize(
    ("site", "file", "expected"),
    [
        ("location /app/ { alias /srv/front/; }", "/srv/front/assets/a.js", ["/app/assets/a.js"]),
        ("location /app { alias /srv/front; }", "/srv/front/a.js", ["/app/a.js"]),
        ("root /srv/front; location / { try_files $uri /index.html; }", "/srv/front/index.html", ["/index.html"]),
        ("location /app/ { root /srv; }", "/srv/app/a.js", ["/app/a.js"]),
        ("location /app/ { root /srv; }", "/srv/other/a.js", []),
        (
            "location /app/ { root /srv; location /app/assets/ { expires 1y; } }",
            "/srv/app/assets/a.js",
            ["/app/assets/a.js"],
        ),
        ("root /srv/front; location /x/ { alias /srv/front/; }", "/srv/front/a.js", ["/a.js", "/x/a.js"]),
        ("location = /logo.svg { alias /srv/front/logo.svg; }", "/srv/front/logo.svg", ["/logo.svg"]),
        ("location ~ \\.js$ { root /srv/front; }", "/srv/front/a.js", []),
        ("root /srv/$host;", "/srv/$host/a.js", []),
        ("location / { proxy_pass http://api; }", "/srv/front/a.js", []),
    ],
)
def test_root_and_alias(site: str, file: str, expected: list[str]) -> None:
    assert addresses(parse(f"http {{ server {{ {site} }} }}"), file) == expected
