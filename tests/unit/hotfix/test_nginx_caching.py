# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lines of an nginx let browsers keep what a hotfix changes."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.browser_caching import kept_long
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.syntax import load, parse

MAIN, SITE = "/etc/nginx/nginx.conf", "/etc/nginx/conf.d/default.conf"
DAY = 86400.0


def kept(site: str, *paths: str, http: str = "") -> list[tuple[str, str, float]]:
    main = f"events {{}}\nhttp {{\n{http}\ninclude conf.d/*.conf;\n}}"
    dump = f"# configuration file {MAIN}:\n{main}\n\n# configuration file {SITE}:\n{site}\n"
    return [(one.path, one.at, one.seconds) for one in kept_long(load(dump), MAIN, paths)]


SERVER = """server {
    listen 80;
    location / {
        proxy_pass http://api:8000;
    }
    location /static/ {
        alias /app/static/;
        expires 30d;
        add_header Cache-Control "public";
    }
    location ~* \\.(jpe?g|png)$ {
        add_header Cache-Control "public, max-age=604800, immutable";
    }
    location = /index.html { expires 1h; }
    location ^~ /static/fresh/ { expires -1; }
}
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/static/tours/site.css", [("/static/tours/site.css", f"{SITE}:8", 30 * DAY)]),
        ("/static/tours/site.1a2b3c4d5e6f.css", []),
        ("/static/fresh/site.css", []),
        ("/static/banner.JPG", [("/static/banner.JPG", f"{SITE}:12", 7 * DAY)]),
        ("/index.html", [("/index.html", f"{SITE}:14", 3600.0)]),
        ("/other.html", []),
    ],
)
def test_the_line_that_counts_for_a_path_is_named(path: str, expected: list[tuple[str, str, float]]) -> None:
    assert kept(SERVER, path) == expected


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("expires max;", 315360000.0),
        ("expires 1y;", 365 * DAY),
        ("expires modified +2d;", 2 * DAY),
        ("expires @3h;", DAY),
        ("expires $far;", 90 * DAY),
        ("expires off;", 0.0),
        ("expires epoch;", 0.0),
        ("expires $unknown;", 0.0),
        ("expires 10m;", 0.0),
        ("add_header Cache-Control immutable;", 315360000.0),
        ('add_header cache-control "public, s-maxage=7200" always;', 7200.0),
        ('add_header Cache-Control "no-cache, max-age=7200";', 0.0),
        ("add_header X-Other max-age=7200;", 0.0),
        ("if ($arg_v) { expires 2d; }", 2 * DAY),
    ],
)
def test_what_a_directive_says(line: str, seconds: float) -> None:
    http = "map $uri $far { default off; ~css 90d; }"
    found = kept(f"server {{\nlocation / {{\n{line}\n}}\n}}", "/app.js", http=http)
    assert [s for _path, _at, s in found] == ([seconds] if seconds else [])


def test_what_is_said_further_out_counts_until_something_is_said_further_in() -> None:
    site = "server {\nlocation /a/ { add_header X-Other 1; }\nlocation /b/ { expires 1d; }\nlocation ~ [(] { expires 9d; }\n}"
    http = "expires 3d;\nadd_header Cache-Control max-age=7200;"
    assert kept(site, "/a/x.js", http=http) == [("/a/x.js", f"{MAIN}:3", 3 * DAY)]
    assert kept(site, "/b/x.js", http=http) == [
        ("/b/x.js", f"{SITE}:3", DAY),
        ("/b/x.js", f"{MAIN}:4", 7200.0),
    ]


def test_a_page_may_be_kept_for_less_and_each_line_is_told_once() -> None:
    site = "server {\nlocation / {\nexpires 5m;\n}\n}"
    assert kept(site, "/", "/index.html", "/app.js") == [("/", f"{SITE}:3", 300.0)]
    (one,) = kept_long(parse("http { server { location / { expires 30d; } } }"), MAIN, ["/app.js"])
    assert one.note() == (
        f"{MAIN}:1 (expires 30d) lets browsers keep /app.js for 30 days unless its name gets a hash: who has it sees the change only then"
    )


def test_lines_are_those_where_directives_begin() -> None:
    tree = parse('# one\n\nmap $a\n  $b {\n  "x\ny" 1;\n  z 2;\n}\nlast on;')
    assert [d.line for d in tree] == [3, 9] and [d.line for d in tree[0].block or ()] == [5, 7]
