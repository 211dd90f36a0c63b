# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told to whoever keeps copies of files in front of a site."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.decide.public_paths import public_paths


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ({"static": ["tours/static/tours/site.css", "static/app.js"]}, ["/static/app.js", "/static/tours/site.css"]),
        ({"static": ["a/static/static/x.css"]}, ["/static/x.css"]),
        ({"media": ["banners/summer.jpg"]}, ["/media/banners/summer.jpg"]),
        ({"frontend": ["index.html", "assets/app.1234abcd.js"]}, ["/", "/assets/app.1234abcd.js", "/index.html"]),
        ({"frontend": ["de/index.html", "myindex.html"]}, ["/de/", "/de/index.html", "/myindex.html"]),
        ({"backend": ["shop/views.py"], "nginx": ["nginx.conf"], "env": ["KEY"]}, []),
        ({}, []),
    ],
)
def test_paths_as_users_ask_for_them(kinds: dict[str, list[str]], expected: list[str]) -> None:
    assert public_paths(kinds) == expected
