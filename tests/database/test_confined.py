# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of our own: what somebody can do there who runs commands in one, by a dump that he wrote."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.external_database import Reach
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.client import client
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.server import PSQL
from ansible_collections.evenkeel.deploy.plugins.module_utils.postgres.host.throwaway_server import thrown_away
from tests.database.postgres_server import Postgres

#: Bits of capabilities in /proc/<pid>/status (capabilities(7)).
NET_ADMIN, NET_RAW, SYS_CHROOT, SYS_ADMIN, MKNOD, SETFCAP = 12, 13, 18, 21, 27, 31
FORKS = "i=0; while [ $i -lt 400 ]; do sleep 20 & i=$((i + 1)); done 2>/dev/null; ls /proc | grep -c '^[0-9]'"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


def confined(engine: Engine, container: str) -> None:
    code, status = engine.run_inside(container, ["cat", "/proc/self/status"], user="0")
    rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    assert code == 0 and rows["NoNewPrivs"].strip() == "1", status
    may = int(rows["CapBnd"], 16)
    assert not [bit for bit in (NET_ADMIN, NET_RAW, SYS_CHROOT, SYS_ADMIN, MKNOD, SETFCAP) if may >> bit & 1], rows
    code, said = engine.run_inside(container, ["sh", "-c", FORKS], user="0")
    assert code or int(said.split()[-1]) <= 256, said


def test_a_server_that_is_thrown_away_makes_its_cluster_and_may_do_nothing_more(
    engine: Engine, postgres: Postgres
) -> None:
    like: dict[str, Any] = engine.inspect(postgres.container)
    with thrown_away(engine, like, "evenkeel-confined", "shop", 512 * 2**20, "") as server:
        asked = [*PSQL, "--dbname", "template1", "--command"]
        assert server.run(server.words(*asked, "SELECT current_user")).strip() == "shop"
        # What throwaway certificates are made by.
        server.run(server.words(*asked, "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'"))
        confined(engine, server.container)


def test_a_client_may_do_nothing_but_connect(engine: Engine) -> None:
    with client(engine, "evenkeel-confined", "evenkeel/postgres:17", Reach(("none",)), {}, 60.0) as made:
        assert engine.run_inside(str(made["Id"]), ["pg_dump", "--version"])[0] == 0
        confined(engine, str(made["Id"]))
