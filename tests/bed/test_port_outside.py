# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx is replaced while users come from another machine, with the engine's own proxy for published ports and without it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from demo.repository import add_commit
from tests.bed.server import Server
from tests.bed.shop import run
from tests.bed.stacks import COMPOSE

_PORT = '      - "${SHOP_PORT:-8080}:80"\n'


@pytest.fixture(scope="module", params=["with userland-proxy", "without"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    arguments = ["--userland-proxy=false"] if request.param == "without" else []
    with Server("outside", arguments=arguments) as made:
        for number, limit in enumerate(("200m", "210m", "220m"), 1):
            text = run(["git", "--git-dir", str(made.repository), "show", f"v2-server:{COMPOSE}"])
            assert text.count(_PORT) == 1
            changed = text.replace(_PORT, f"{_PORT}    mem_limit: {limit}\n")
            add_commit(made.repository, {COMPOSE: changed}, f"v2-server-{number}", parent="v2-server")
        made.push()
        first = made.update("v2")
        assert first.returncode == 0, first.output[-4000:]
        yield made


def test_nginx_is_replaced_three_times_and_nobody_from_outside_fails(server: Server) -> None:
    seen = {server.nginx()}
    results = []
    for number in (1, 2, 3):
        # A load of its own for each: what nginx's log says of a request goes with its container.
        with server.load(rate=60) as load:
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
    print(f"\nevidence: nginx replaced 3 times, users from outside: {total:,} requests, 0 failed, {len(raced)} raced")
