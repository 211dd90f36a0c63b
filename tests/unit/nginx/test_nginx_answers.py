# SPDX-License-Identifier: GPL-3.0-or-later
"""For how long nginx goes on with what a name server told it, and with what refused it."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import seconds_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.syntax import UnreadableConfig
from tests.unit.nginx_dumps import routes_of

ANSWERS = [
    ("resolver 127.0.0.11;", "", 'set $a http://api:8000; location / { proxy_pass $a; }', (None, 0.0, 0)),
    ("resolver 127.0.0.11 valid=5s;", "", 'set $a http://api:8000; location / { proxy_pass $a; }', (5.0, 0.0, 0)),
    ("resolver 127.0.0.11 valid=5s;", "", "set $a api; location / { resolver x valid=1m; proxy_pass http://$a; }", (60.0, 0.0, 0)),
    ("resolver 127.0.0.11;", "", "set $a api; resolver x valid=2; location / { location /a/ { proxy_pass http://$a; } }", (2.0, 0.0, 0)),
    ("resolver 127.0.0.11 valid=9s;", "server api:8000 resolve;", "location / { proxy_pass http://u; }", (9.0, 10.0, 32)),
    ("", "resolver x valid=3s; server api:8000 resolve max_fails=0; keepalive 8;", "location / { proxy_pass http://u; }", (3.0, 0.0, 8)),
    ("resolver x;", "server api resolve fail_timeout=1m30s;", "location / { proxy_pass http://u; }", (None, 90.0, 32)),
]  # fmt: skip


@pytest.mark.parametrize(("http", "upstream", "server", "expected"), ANSWERS)
def test_for_how_long_nginx_goes_on_with_what_it_knows(
    http: str, upstream: str, server: str, expected: tuple[float | None, float, int]
) -> None:
    group = f"upstream u {{ zone u 64k; {upstream} }}" if upstream else ""
    found = routes_of(f"events {{}}\nhttp {{ {http} {group} server {{ {server} }} }}")
    assert [(r.static_name, r.kept, r.avoided, r.keepalive) for r in found] == [(False, *expected)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30.0), ("30s", 30.0), ("1h30m", 5400.0), ("1m 5s", 65.0), ("500ms", 0.5), ("2M", 5184000.0)],
)
def test_a_time_as_nginx_writes_it(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5 seconds", "-3s", "1.5s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UnreadableConfig):
        seconds_of(text)
