# SPDX-License-Identifier: GPL-3.0-or-later
"""A server whose nginx is its own: it knows the containers by a file of addresses, whether they publish a port or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.bed.load.audit import Audit
from tests.bed.load.database import Database, wait_for_tasks
from tests.bed.load.process import LoadRun
from tests.bed.load.result import Result
from tests.bed.server import Server

_API = "    stop_grace_period: 40s\n"
ADDRESSES = "/etc/nginx/evenkeel/travel-api.conf"
SITE = """
upstream travel_api { include evenkeel/travel-api.conf; }
server {
    listen 8080;
    server_name shop.localhost;
    client_max_body_size 20m;
    location /static/ { alias /var/lib/docker/volumes/travel_static_files/_data/; }
    location / {
        proxy_pass http://travel_api;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
}
"""


def without_nginx(compose: str) -> str:
    """The shop's Compose file without its proxy."""
    found = re.sub(r"\n  nginx:\n.*?(?=\nvolumes:\n)", "\n", compose, flags=re.DOTALL)
    assert "nginx" not in found
    return found


def with_a_port(compose: str) -> str:
    """The same, and the web service is published as most do who have such an nginx."""
    found = without_nginx(compose).replace(_API, f'{_API}    ports: ["127.0.0.1:8000:8000"]\n')
    assert "8000:8000" in found
    return found


class HostFronted(Server):
    """The shop on such a server."""

    def __init__(self, compose: Callable[[str], str]) -> None:
        super().__init__("front-host", packages=("nginx",), compose=compose)

    def create(self) -> Server:
        super().create()
        self.engine.exec("mkdir", "-p", "/etc/nginx/evenkeel")
        self.engine.exec("sed", "-i", "s/^user .*/user root;/", "/etc/nginx/nginx.conf")
        # Until the first roll only the port counts.
        self.engine.write(ADDRESSES, "server 127.0.0.1:8000;\n", "0644")
        self.engine.write("/etc/nginx/conf.d/travel.conf", SITE, "0644")
        self.engine.exec("rm", "-f", "/etc/nginx/sites-enabled/default")
        self.engine.exec("nginx")
        return self

    def leftovers(self) -> list[str]:
        """Anything but the shop's own containers, each once and running; and what nginx is told of others."""
        seen = self.containers()
        found = [f"{name} is {state}" for name, state in seen.items() if state != "running"]
        services = sorted(name.rsplit("-", 1)[0] for name in seen)
        found += [] if services == ["api", "celery", "celery-beat", "db", "redis"] else [f"containers of {services}"]
        address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        api = self.engine.docker("inspect", "--format", address, self._container("api")).strip()
        told = re.findall(r"^server (\S+):8000;$", self.engine.exec("cat", ADDRESSES), re.MULTILINE)
        return found + ([] if told == [api] else [f"nginx is told of {told}, api is {api}"])

    def _container(self, service: str) -> str:
        own = f"label=com.docker.compose.service={service}"
        return self.engine.docker("ps", "--quiet", "--filter", own).split()[0]

    def log(self) -> str:
        """What nginx logged of the requests that it has read."""
        return self.engine.exec("cat", "/var/log/nginx/access.log")

    def audit(self, load: LoadRun, result: Result) -> Audit:
        """Each order that was acknowledged, looked for in the database with its task."""

        def rows(argv: Sequence[str]) -> str:
            return self.engine.exec(*argv)

        database = Database(self._container("db"), "shop", "shop", run=rows)
        return wait_for_tasks(database, load.acknowledged(), result.unknown_orders).audit


@pytest.fixture(scope="module", params=[without_nginx, with_a_port])
def fronted(request: pytest.FixtureRequest) -> Iterator[HostFronted]:
    server = HostFronted(request.param)
    with server:
        first = server.update("v1")
        assert first.returncode == 0, first.output[-6000:]
        yield server


def assert_nothing_lost(server: HostFronted, load: LoadRun, result: Result) -> None:
    result = result.judged_by(server.log())
    assert result.total > 500
    assert result.failed_beyond_race == 0, result.failures[:5]
    assert server.audit(load, result).flawless
    print(f"evidence: nginx of the server: {result.total} requests, 0 failed, keep-alive races {result.keepalive_race}")


def test_updates_lose_nothing_and_the_second_changes_nothing(fronted: HostFronted) -> None:
    again = fronted.update("v1")
    assert (again.returncode, again.changed) == (0, 0), again.output[-4000:]
    with fronted.load(seconds=600, rate=60) as load:
        for version in ("v2", "v1", "v2"):
            play = fronted.update(version)
            assert play.returncode == 0, play.output[-4000:]
            # Beside a load on a shared machine one answer may take longer than the look for it lasts; the load counts.
            assert fronted.serves_within(20) is not None
            assert (fronted.version(), fronted.leftovers()) == (version, [])
        result = load.stop()
    assert_nothing_lost(fronted, load, result)


def test_a_bad_version_is_met_by_nobody(fronted: HostFronted) -> None:
    serving = fronted.version()
    with fronted.load(seconds=300, rate=60) as load:
        play = fronted.update("bad-500")
        result = load.stop()
    assert play.returncode != 0
    assert (fronted.version(), fronted.leftovers()) == (serving, [])
    assert "bad-500" not in result.versions
    assert_nothing_lost(fronted, load, result)
