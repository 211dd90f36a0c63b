# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of addresses that a user's upstream block includes: whose it is, what it says, what nginx makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import routes
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.include import addresses_in, is_managed, text_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.syntax import load, parse

ADDRESSES = st.lists(st.ip_addresses().map(str), min_size=1, max_size=4, unique=True)
MAIN = """# configuration file /etc/nginx/nginx.conf:
events {}
http {
    upstream travel { include evenkeel/travel-api.conf; }
    server { location / { proxy_pass http://travel; } }
}
# configuration file /etc/nginx/evenkeel/travel-api.conf:
"""


@given(ADDRESSES, st.lists(st.ip_addresses().map(str), max_size=3))
def test_what_is_written_is_read_again(addresses: list[str], before: list[str]) -> None:
    text = text_of("travel", "api", addresses, 8000, before)
    assert addresses_in(text) == (tuple(addresses), tuple(before))
    assert all(directive.words[0] == "server" for directive in parse(text))


@given(ADDRESSES)
def test_the_reader_knows_where_an_address_comes_from(addresses: list[str]) -> None:
    found = routes(load(MAIN + text_of("travel", "api", addresses, 8000, ())))
    assert [r.host.strip("[]") for r in found] == addresses
    assert {(r.include, r.port) for r in found} == {("/etc/nginx/evenkeel/travel-api.conf", 8000)}


def test_an_upstream_of_an_included_file_is_the_users_own() -> None:
    text = """# configuration file /etc/nginx/nginx.conf:
events {}
http { include conf.d/*.conf; }
# configuration file /etc/nginx/conf.d/travel.conf:
upstream travel { server api:8000; }
server { location / { proxy_pass http://travel; } }
"""
    assert [(r.host, r.include) for r in routes(load(text))] == [("api", "")]


@pytest.mark.parametrize(
    ("path", "managed"),
    [
        ("/etc/nginx/evenkeel/travel-api.conf", True),
        ("/opt/conf/evenkeel/travel-api.conf", True),
        ("/etc/nginx/conf.d/travel-api.conf", False),
        ("/etc/nginx/evenkeel/travel-web.conf", False),
        ("/etc/nginx/evenkeel/other-travel-api.conf", False),
        ("", False),
    ],
)
def test_the_name_says_whose_it_is(path: str, managed: bool) -> None:
    assert is_managed(path, "travel", "api") is managed
