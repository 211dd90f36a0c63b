# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which address of an app says that it is well, by what its Compose file, its nginx and its own code say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..nginx.config import Route, may_lead
from ..traffic.site_url import SiteUrl

_URL = re.compile(r"\bhttps?://[\w.-]+(?::\d+)?(/[\w./-]*)?")
#: The paths of Django's ``urls.py`` that are there to be asked: a word of these, alone or between slashes.
_HEALTH = re.compile(
    r"""\bpath\(\s*r?["']((?:[\w-]+/)*(?:health|healthz|health[-_]?check|livez|readyz|ping|ht)/?)["']"""
)


def paths_checked(healthcheck: Mapping[str, Any]) -> list[str]:
    """The paths that a health check asks (``curl -f http://localhost:8000/health/``); of Compose, or of an image."""
    test = healthcheck.get("test") or healthcheck.get("Test") or []
    text = test if isinstance(test, str) else " ".join(map(str, test))
    return [match.group(1) or "/" for match in _URL.finditer(text)]


def paths_written(urls: str) -> list[str]:
    """The paths for health checks in the text of a ``urls.py``. One that is included elsewhere has more before it."""
    return [f"/{match.group(1)}" for match in _HEALTH.finditer(urls)]


def addresses(routes: Sequence[Route], published: Mapping[int, int] | None, paths: Sequence[str]) -> list[str]:
    """The URLs by which users could ask these paths, the likeliest first.

    :param routes: those that lead to the web service.
    :param published: port of the proxy's container → port of the server; None where nginx runs on the server itself.
    :param paths: the likeliest first; after them come ``/`` and the beginnings of what nginx passes on.
    """
    reachable = [r for r in routes if published is None or r.listen in published]
    ordered = sorted(reachable, key=lambda r: (not r.tls, not is_name(r.server_name)))
    beginnings = [r.location for r in ordered if r.location.startswith("/")]
    # Where nginx takes a beginning off, or Django's urls.py includes another one below it.
    below = [f"{b.rstrip('/')}{path}" for path in paths for b in beginnings if b.strip("/")]
    found = []
    for path in dict.fromkeys([*paths, *below, "/", *beginnings]):
        found += [f"{_site(r, published)}{path}" for r in ordered if may_lead(r.location, path)]
    return list(dict.fromkeys(found))


def is_name(server_name: str) -> bool:
    """Whether users can write this ``server_name`` into a browser: no ``_``, ``localhost`` or address."""
    return "." in server_name and SiteUrl("http", server_name, 80).is_name


def _site(route: Route, published: Mapping[int, int] | None) -> str:
    scheme = "https" if route.tls else "http"
    host = route.server_name if is_name(route.server_name) else "127.0.0.1"
    return f"{scheme}://{SiteUrl(scheme, host, (published or {}).get(route.listen, route.listen)).authority}"
