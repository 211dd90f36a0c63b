# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told to whoever keeps copies of files in front of a site."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import browser_caching
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host.view import Serving
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.live_files import Live
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.public_paths import public_paths
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.nginx import NginxFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.unit.engine_in_memory import NOBODY


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


class Speaking:
    """An nginx that says its configuration, or why not."""

    def __init__(self, text: str) -> None:
        self.name, self.text = "nginx-1", text

    def described(self) -> str:
        if not self.text:
            raise NginxFailed("nginx-1: it does not run")
        return f"# configuration file /etc/nginx/nginx.conf:\n{self.text}\n"


PROJECT = {
    "services": {
        "nginx": {"volumes": [{"type": "volume", "source": "web", "target": "/srv/front"}]},
        "builder": {"volumes": [{"type": "volume", "source": "web", "target": "/out"}]},
    }
}


def serving(text: str, monkeypatch: pytest.MonkeyPatch) -> Serving:
    """What serves, with an nginx that says this configuration."""
    labels = {"com.docker.compose.service": "nginx"}
    containers = [
        {"Id": "n1", "Name": "/nginx-1", "State": {"Pid": NOBODY, "Running": True}, "Config": {"Labels": labels}}
    ]
    monkeypatch.setattr(browser_caching, "Nginx", lambda _engine, _inspection: Speaking(text))
    kinds = {"nginx": "proxy", "builder": "job"}
    return Serving(Store("/srv/x"), None, "r", {}, PROJECT, kinds, {}, containers)  # type: ignore[arg-type]


def where(text: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    live = Live("web", "/srv/front", "nginx", True)
    here = serving(text, monkeypatch)
    found: list[str] = browser_caching.public(here, live, "frontend", ["index.html", "assets/a.js"])
    return found


def test_nginx_says_where_built_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "http { server { location /app/ { alias /srv/front/; } } }"
    assert where(text, monkeypatch) == ["/app/", "/app/assets/a.js", "/app/index.html"]


@pytest.mark.parametrize("text", ["", "http {", "http { server { location / { proxy_pass http://api; } } }"])
def test_where_it_does_not_custom_does(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert where(text, monkeypatch) == ["/", "/assets/a.js", "/index.html"]


def test_what_cannot_be_told_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    here = serving("", monkeypatch)
    assert browser_caching.notes(here, ["/a.js"]) == [
        "what nginx-1 lets browsers keep of it cannot be told: nginx-1: it does not run"
    ]
    assert browser_caching.notes(here, []) == []


def test_of_source_the_page_that_is_built_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    here = serving("http { server { location /app/ { alias /srv/front/; } } }", monkeypatch)
    kinds = {"frontend": ["frontend/src/app.js"], "static": ["a/static/x.css"]}
    assert browser_caching.of_kinds(here, kinds) == ["/app/", "/app/index.html", "/static/x.css"]
    assert browser_caching.of_kinds(here, {"backend": ["views.py"]}) == []
