# SPDX-License-Identifier: GPL-3.0-or-later
"""What users were answered, read from access logs in the formats that people write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.syntax import parse
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.access_log import (
    AccessLog,
    Count,
    counted,
    is_worse,
    logs_in,
)

COMBINED = '10.0.0.9 - bob [26/Nov/2026:19:40:34 +0000] "POST /api/orders/ HTTP/1.1" {status} 12 "-" "curl/8 - [x] 500"'


def only(text: str) -> AccessLog:
    (log,) = logs_in(parse(text))
    return log


def test_a_log_without_a_format_has_nginx_own() -> None:
    log = only("http { access_log /var/log/nginx/access.log; }")
    assert (log.path, log.tells_who) == ("/var/log/nginx/access.log", False)
    lines = [COMBINED.format(status=s) for s in (200, 302, 404, 499, 500, 502)]
    assert counted(log, [*lines, "2026/11/26 [error] 500 is not a line of it"], ()) == (Count(), Count(6, 2))


def test_where_none_is_written_down_nginx_writes_one_all_the_same() -> None:
    assert only("http { server { listen 80; } }").path == "/var/log/nginx/access.log"


@pytest.mark.parametrize(
    "text",
    [
        "http { access_log off; }",
        "http { access_log syslog:server=10.0.0.1; }",
        "http { access_log /var/log/$host.log; }",
        "http { log_format short '$request'; access_log /a.log short; }",
        "http { access_log /a.log nobody_defined_it; }",
    ],
)
def test_what_cannot_be_read_is_left_out(text: str) -> None:
    assert logs_in(parse(text)) == ()


def test_who_answered_is_told_apart_where_the_format_says_so() -> None:
    log = only(
        "http { log_format up '$remote_addr \"$request\" $status to=$upstream_addr in $upstream_response_time'; "
        "server { access_log /dev/stdout up buffer=32k; } }"
    )
    assert log.tells_who
    lines = [
        '1.1.1.1 "GET / HTTP/1.1" 200 to=172.20.0.5:8000 in 0.1',
        '1.1.1.1 "GET / HTTP/1.1" 500 to=172.20.0.6:8000 in 0.1',
        '1.1.1.1 "GET / HTTP/1.1" 200 to=172.20.0.6:8000, 172.20.0.5:8000 in 0.0, 0.1',
        '1.1.1.1 "GET / HTTP/1.1" 502 to=[fd00::6]:8000 in 0.1',
        '1.1.1.1 "GET /static/a.css HTTP/1.1" 200 to=- in -',
    ]
    assert counted(log, lines, {"172.20.0.6", "fd00::6"}) == (Count(2, 2), Count(3, 0))


def test_json_is_a_format_as_any_other() -> None:
    log = only(
        """http { log_format j escape=json '{"time":"$time_iso8601",' '"status":"$status","up":"$upstream_addr"}';
        access_log /dev/stdout j; }"""
    )
    line = '{"time":"2026-11-26T19:40:34+00:00","status":"503","up":"10.0.0.2:80"}'
    assert counted(log, [line], {"10.0.0.2"}) == (Count(1, 1), Count())


@pytest.mark.parametrize(
    "new, old, worse",
    [
        (Count(100, 3), Count(1000, 0), False),
        (Count(100, 4), Count(1000, 0), True),
        (Count(100, 15), Count(1000, 100), False),
        (Count(100, 25), Count(1000, 100), True),
        (Count(0, 0), Count(0, 0), False),
        (Count(4, 4), Count(0, 0), True),
    ],
)
def test_more_fail_than_chance_lets(new: Count, old: Count, worse: bool) -> None:
    assert is_worse(new, old) is worse


@given(st.text(max_size=200))
def test_no_line_that_somebody_sends_breaks_the_reading(line: str) -> None:
    log = only("http { access_log /a.log; }")
    mine, others = counted(log, [line], ())
    assert mine == Count() and others.total in (0, 1)
