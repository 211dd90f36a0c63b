# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx is replaced while users come from another machine: by IPv4 and IPv6, with the engine's own proxy or without, by a newer engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from demo.repository import add_commit
from tests.bed.nested import NEWER, SUITE, NestedEngine
from tests.bed.server import Server
from tests.bed.shop import run
from tests.bed.stacks import COMPOSE

_CONF = "deploy/nginx.conf"
_PORT = '      - "${SHOP_PORT:-8080}:80"\n'
_NETWORK = "networks:\n  default:\n    labels: *labels\n"
_SIX = "    enable_ipv6: true\n    ipam: {config: [{subnet: 'fd65:6b:9::/64'}]}\n"


@dataclass(frozen=True)
class Way:
    """How users come, and how the engine passes them on."""

    arguments: tuple[str, ...] = ()
    ipv6: bool = False
    containers_have: bool = False
    suite: str = SUITE
    legacy: bool = False

    def compose(self, text: str) -> str:
        assert text.count(_NETWORK) == 1
        text = text.replace('"127.0.0.1:$', '"$')
        return text.replace(_NETWORK, _NETWORK + _SIX) if self.containers_have else text


WAYS = {
    "IPv4": Way(),
    "IPv4, no userland-proxy": Way(("--userland-proxy=false",)),
    "IPv6": Way(ipv6=True),
    "IPv4, iptables-legacy": Way(legacy=True),
    "IPv4, a newer engine": Way(suite=NEWER),
    "IPv6, a newer engine": Way(ipv6=True, suite=NEWER),
    "IPv6 to the container": Way(("--experimental", "--ip6tables"), ipv6=True, containers_have=True),
}


def by_legacy_rules(engine: NestedEngine) -> None:
    """Have the engine make its rules with the older program, whose tables are others."""
    for name in ("iptables", "ip6tables"):
        engine.exec("update-alternatives", "--set", name, f"/usr/sbin/{name}-legacy")
    engine.end_engine("TERM")
    engine.exec("nft", "flush", "ruleset")
    engine.wait_for_engine()
    assert "DOCKER" in engine.exec("iptables-legacy", "--table", "nat", "--list-rules")


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    way = WAYS[request.param]
    with Server("outside", compose=way.compose, arguments=way.arguments, ipv6=way.ipv6, suite=way.suite) as made:
        if way.legacy:
            by_legacy_rules(made.engine)
        told = "    listen 80;\n"
        conf = run(["git", "--git-dir", str(made.repository), "show", f"v2-server:{_CONF}"])
        text = run(["git", "--git-dir", str(made.repository), "show", f"v2-server:{COMPOSE}"])
        assert (text.count(_PORT), conf.count(told)) == (1, 1)
        conf = conf.replace(told, f"{told}    listen [::]:80;\n") if way.containers_have else conf
        for number, limit in enumerate(("190m", "200m", "210m", "220m")):
            changed = text.replace(_PORT, f"{_PORT}    mem_limit: {limit}\n")
            add_commit(made.repository, {COMPOSE: changed, _CONF: conf}, f"v2-server-{number}", parent="v2-server")
        made.push()
        first = made.update("v2-server-0")
        assert first.returncode == 0, first.output[-4000:]
        assert "DOCKER" not in made.engine.exec("nft", "list", "ruleset") or not way.legacy
        yield made


def test_nginx_is_replaced_three_times_and_nobody_from_outside_fails(
    server: Server, request: pytest.FixtureRequest
) -> None:
    seen = {server.nginx()}
    results = []
    for number in (1, 2, 3):
        # A load of its own for each: what nginx's log says of a request goes with its container.
        with server.load(rate=30) as load:
            play = server.update(f"v2-server-{number}")
            results.append(load.stop())
        assert play.returncode == 0 and "Hand published ports over" in play.output, play.output[-4000:]
        seen.add(server.nginx())
    assert len(seen) == 4 and (server.version(), server.leftovers()) == ("v2", [])
    tables = server.engine.exec("nft", "list", "tables")
    assert "evenkeelports" not in tables.replace("_", ""), tables
    # nginx closes kept connections when it is loaded again; its log, which would tell, has gone with its container.
    raced = [
        f for r in results for f in r.failures if (f["kind"], f["client"]) == ("closed_before_response", "keepalive")
    ]
    failed = [*map(json.dumps, [f for r in results for f in r.failures if f not in raced][:5])]
    assert sum(r.failed for r in results) == len(raced) <= 3, failed
    total = sum(r.total for r in results)
    way = request.node.callspec.params["server"]
    print(
        f"\nevidence: nginx replaced 3 times, users from outside by {way}: {total:,} requests, 0 failed, {len(raced)} raced"
    )
