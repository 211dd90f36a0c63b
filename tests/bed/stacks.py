# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of the shop whose Compose file, configuration or environment differs, as teams change theirs."""

from __future__ import annotations

from collections.abc import Sequence

from demo.repository import add_commit
from tests.bed.fronts import edited
from tests.bed.server import Server
from tests.bed.shop import Shop, run

COMPOSE = "docker-compose.prod.yml"
NGINX = "deploy/nginx.conf"
_DB_IMAGE = "    image: evenkeel/postgres:17\n"
_VOLUMES = "volumes:\n  pgdata:\n"
_HEALTH = "      redis:\n        condition: service_healthy\n    healthcheck:\n"
_MEDIA = "      - media_files:/app/media\n"
_STATIC = "      - static_files:/app/staticfiles\n"
_NETWORK = "networks:\n  default:\n    labels: *labels\n"
_PGDATA = "      - pgdata:/var/lib/postgresql/data\n"
_API = "    stop_grace_period: 40s\n"
_SEARCH = """  search:
    <<: *app
    command: python -m http.server 9200
    # It serves, but only to the app: no nginx leads to it.
    x-evenkeel: {kind: other}
    healthcheck:
      test: ["CMD", "python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9200/', timeout=2)"]
      interval: 5s

"""
_ASKS_SEARCH = """    # Nobody has started the new search service in production.
    raise ConnectionError("search: no address for host search")
"""

#: What differs in the Compose file, by what it is called here.
EDITS: dict[str, tuple[tuple[str, str], ...]] = {
    "search": (
        ("  nginx:\n    image:", _SEARCH + "  nginx:\n    image:"),
        (_HEALTH, _HEALTH.replace("    healthcheck", "      search:\n        condition: service_healthy\n    healthcheck")),
    ),
    "three": ((_API, f"{_API}    deploy:\n      replicas: 3\n"),),
    "code": ((f"{_STATIC}{_MEDIA}", f"      - .:/app\n{_STATIC}{_MEDIA}"),),
    "moved": (
        (_PGDATA, "      - elsewhere:/var/lib/postgresql/data\n"),
        (_VOLUMES, "volumes:\n  elsewhere:\n    labels: *labels\n  pgdata:\n"),
    ),
    "internal": ((_NETWORK, f"{_NETWORK}    internal: true\n"),),
    "tuned": ((_DB_IMAGE, f"{_DB_IMAGE}    command: postgres -c work_mem=8MB\n"),),
    "front": (("      - \"127.0.0.1:${SHOP_PORT:-8080}:80\"\n", "      - \"127.0.0.1:${SHOP_PORT:-8080}:80\"\n    mem_limit: 200m\n"),),
    "pgdata": ((_PGDATA, "      - ./pgdata:/var/lib/postgresql/data\n"),),
}  # fmt: skip


def changed(shop: Shop | Server, parent: str, edits: Sequence[str] = (), header: str = "", search: bool = False) -> str:
    """A commit on a version of the shop, and the tag it gets.

    :param edits: names in :data:`EDITS`.
    :param header: what nginx is to say in a header ``X-Config``.
    :param search: whether the app's health asks a service ``search``.
    """
    files: dict[str, str | bytes | None] = {}
    if edits:
        pairs = [pair for name in edits for pair in EDITS[name]]
        files[COMPOSE] = edited(shop, f"{parent}:{COMPOSE}", pairs)
    if header:
        place = "    client_max_body_size 20m;\n"
        files[NGINX] = edited(
            shop, f"{parent}:{NGINX}", [(place, f"{place}    add_header X-Config {header} always;\n")]
        )
    if search:
        text = run(["git", "--git-dir", str(shop.repository), "show", "bad-unhealthy:shop/health.py"])
        asks = '    import urllib.request\n\n    urllib.request.urlopen("http://search:9200/", timeout=2).close()\n'
        assert text.count(_ASKS_SEARCH) == 1
        files["shop/health.py"] = text.replace(_ASKS_SEARCH, asks)
    name = "-".join([parent, *edits, *([header] if header else []), *(["asks"] if search else [])])
    add_commit(shop.repository, files, name, parent=parent)
    return name
