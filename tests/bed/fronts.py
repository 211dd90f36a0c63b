# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which users let nginx name a service, put into the shop's own configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.repository import add_commit
from tests.bed.server import Server
from tests.bed.shop import BedError, Shop, run

_PLAIN = "    location / {\n        proxy_pass http://api:8000;"
NEWER_NGINX = "evenkeel/nginx:newer"
_API = "    stop_grace_period: 40s\n"
_NGINX_VOLUME = "      - ./deploy/nginx.conf:/etc/nginx/conf.d/default.conf:ro\n"
_UWSGI = (
    "gunicorn shop.wsgi:application --bind 0.0.0.0:8000 --protocol uwsgi --uwsgi-allow-from '*' --workers 2 --threads 8"
    " --worker-class gthread --graceful-timeout 30 --timeout 60"
)
_AT_SOCKET = (
    "gunicorn shop.wsgi:application --bind unix:/run/shop/gunicorn.sock --workers 2 --threads 8 --worker-class gthread"
    " --graceful-timeout 30 --timeout 60"
)
_IN_MEMORY = "driver_opts: {type: tmpfs, device: tmpfs, o: mode=1777}"
_STATIC = "      - static_files:/app/staticfiles\n"
_VOLUMES = "volumes:\n  pgdata:\n"
_NETWORK = "networks:\n  default:\n    labels: *labels\n"
_NGINX = "  nginx:\n    image: evenkeel/nginx:1.26\n"
_READ_ONLY = "    read_only: true\n    tmpfs: [/run, /tmp, /var/lib/nginx]\n    networks: [front]\n"
_HEALTH = "r.urlopen(r.Request('http://127.0.0.1:8000/health/', headers={'Host': 'shop.localhost'}), timeout=4)"
_OWN = '        proxy_http_version 1.1;\n        proxy_set_header Connection "";\n'


@dataclass(frozen=True)
class Front:
    """One way: what stands before the server block, inside it, and in its location; what differs in the Compose file, and
    what lies in ``shared`` before the first deployment. ``ROOT``, ``PROJECT``, ``SPARE`` (a free port) and
    ``HEX`` (the same in hexadecimal) stand for the shop's own.
    """

    name: str
    before: str = ""
    inside: str = ""
    target: str = "http://api:8000"
    keepalive: bool = False
    passed_by: str = "proxy_pass"
    compose: tuple[tuple[str, str], ...] = ()
    shared: tuple[tuple[str, str], ...] = ()


#: Docker's own name server, as every container of a network knows it.
_NAMES = "resolver 127.0.0.11"
FRONTS = {
    front.name: front
    for front in (
        Front("plain"),
        Front("upstream", "upstream shop_api {\n    server api:8000;\n}\n", target="http://shop_api"),
        # Shorter than gunicorn's --keep-alive 5: else nginx may send on a connection that gunicorn is closing.
        Front(
            "upstream keepalive",
            "upstream shop_api {\n    server api:8000;\n    keepalive 16;\n    keepalive_timeout 3s;\n}\n",
            target="http://shop_api",
            keepalive=True,
        ),
        Front(
            "resolver valid=5s",
            inside=f"    {_NAMES} valid=5s;\n    set $shop_api http://api:8000;\n",
            target="$shop_api",
        ),
        Front(
            "container_name",
            target="http://shop-backend:8000",
            compose=((_API, f"{_API}    container_name: shop-backend\n"),),
        ),
        Front(
            "uwsgi",
            target="api:8000",
            passed_by="uwsgi_pass",
            compose=(
                (_API, f"{_API}    command: {_UWSGI}\n"),
                ("import urllib.request as r;", "import socket;"),
                (_HEALTH, "socket.create_connection(('127.0.0.1', 8000), 4)"),
            ),
        ),
        # In memory, so that whoever runs in the container may write there.
        Front(
            "unix socket",
            target="http://unix:/run/shop/gunicorn.sock",
            compose=(
                (_API, f"{_API}    command: {_AT_SOCKET}\n"),
                (_STATIC, f"{_STATIC}      - sockets:/run/shop\n"),
                (_NGINX_VOLUME, f"{_NGINX_VOLUME}      - sockets:/run/shop:ro\n"),
                (_VOLUMES, f"volumes:\n  sockets:\n    labels: *labels\n    {_IN_MEMORY}\n  pgdata:\n"),
                ("import urllib.request as r;", "import socket;"),
                (_HEALTH, "socket.socket(socket.AF_UNIX).connect('/run/shop/gunicorn.sock')"),
            ),
        ),
        Front("published port", compose=((_API, f'{_API}    ports: ["127.0.0.1:SPARE:8000"]\n'),)),
        Front(
            "IPv6",
            compose=(
                (_API, f"{_API}    command: {_AT_SOCKET.replace('unix:/run/shop/gunicorn.sock', '[::]:8000')}\n"),
                (
                    _NETWORK,
                    f"{_NETWORK}    enable_ipv6: true\n    ipam: {{config: [{{subnet: 'fd65:6b:HEX::/64'}}]}}\n",
                ),
            ),
        ),
        # nginx shares one of two networks with the service, may write nothing, and something that is off is left alone.
        Front(
            "several networks, read-only nginx, a profile",
            compose=(
                (_API, f"{_API}    networks: [default, front]\n"),
                (
                    _NGINX,
                    f"  shell:\n    <<: *app\n    command: sleep 1\n    profiles: [debug]\n\n{_NGINX}{_READ_ONLY}",
                ),
                (_NETWORK, f"{_NETWORK}  front:\n    labels: *labels\n"),
            ),
        ),
        Front(
            "both",
            inside=f"    {_NAMES} valid=5s;\n    set $shop_api http://api:8000;\n"
            "    location /api/ { proxy_pass http://api:8000; proxy_set_header Host $host; }\n",
            target="$shop_api",
        ),
        Front(
            "include",
            "upstream shop_api {\n    include evenkeel/PROJECT-api.conf;\n}\n",
            target="http://shop_api",
            compose=((_NGINX_VOLUME, f"{_NGINX_VOLUME}      - ROOT/shared/nginx:/etc/nginx/evenkeel:ro\n"),),
            shared=(("nginx/PROJECT-api.conf", "server api:8000;\n"),),
        ),
        Front(
            "resolve",
            f"upstream shop_api {{\n    zone shop_api 64k;\n    {_NAMES} valid=5s;\n    server api:8000 resolve;\n"
            "    keepalive_timeout 3s;\n}\n",
            target="http://shop_api",
            compose=(("evenkeel/nginx:1.26", NEWER_NGINX),),
        ),
        Front("resolver", inside=f"    {_NAMES};\n    set $shop_api api;\n", target="http://$shop_api:8000"),
    )
}


def fronted(shop: Shop | Server, tag: str, front: Front, replicas: int = 1) -> str:
    """A version of the shop behind such a configuration, as a tag of its own.

    :raises BedError: the shop's configuration is another one than this file knows.
    """
    if any(NEWER_NGINX in after for _before, after in front.compose):
        folder = Path(__file__).parent / "newer_nginx"
        run(
            ["docker", "build", "--quiet", "--label", "evenkeel.base=1", "--tag", NEWER_NGINX, str(folder)], timeout=600
        )
    for name, text in front.shared:
        path = shop.root / "shared" / _own_to(shop, name)
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(text, encoding="utf-8")
    changes: dict[str, str | bytes | None] = {}
    edits = list(front.compose)
    if replicas > 1:
        edits.append((_API, f"{_API}    deploy:\n      replicas: {replicas}\n"))
    if edits:
        changes["docker-compose.prod.yml"] = edited(shop, f"{tag}:docker-compose.prod.yml", edits)
    if front != FRONTS["plain"]:
        own = _OWN if front.keepalive else ""
        own += "        include uwsgi_params;\n" if front.passed_by == "uwsgi_pass" else ""
        location = f"{front.inside}    location / {{\n{own}        {front.passed_by} {front.target};"
        changes["deploy/nginx.conf"] = _own_to(shop, front.before) + edited(
            shop, f"{tag}:deploy/nginx.conf", [(_PLAIN, location)]
        )
    if not changes:
        return tag
    name = f"{tag}-{front.name.replace(' ', '-').replace('=', '-').replace(',', '')}-{replicas}"
    add_commit(shop.repository, changes, name, parent=tag)
    return name


def edited(shop: Shop | Server, path: str, edits: Sequence[tuple[str, str]]) -> str:
    """A file of the shop's repository with something replaced once each.

    :raises BedError: the file is another one than this file knows.
    """
    text = run(["git", "--git-dir", str(shop.repository), "show", path])
    for before, after in edits:
        if text.count(before) != 1:
            raise BedError(f"{path} of the shop has changed ({before!r}): adapt tests/bed/fronts.py")
        text = text.replace(before, _own_to(shop, after))
    return text


def _own_to(shop: Shop | Server, text: str) -> str:
    return (
        text.replace("ROOT", str(shop.root))
        .replace("PROJECT", shop.name)
        .replace("SPARE", str(shop.spare_port))
        .replace("HEX", f"{shop.spare_port:x}")
    )
