# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook ``restore`` on the real stack while users are there: they wait, and nobody is turned away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.bed.killed_roll import QUICK
from tests.bed.load.process import proxy_log
from tests.bed.shop import Play, Shop, run

# Requests that are under way for longer than the exchange waits are no part of it.
USERS = "new=4,keepalive=4,static=1,slow=2"


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    made = Shop("restore", {"backup_min_free": "0"})
    made.destroy()
    try:
        made.create()
        play = made.update("v1", app_services=QUICK)
        assert play.returncode == 0, play.output[-4000:]
        yield made
    finally:
        made.destroy()


def played(shop: Shop, playbook: str, **variables: object) -> Play:
    return shop.play(playbook=playbook, app_services=QUICK, **variables)


def sql(shop: Shop, database: str, statement: str) -> str:
    """What the server answers, asked as the container's own user."""
    script = f'psql -XqAt -U "$POSTGRES_USER" -d "{database}" -c "{statement}"'
    return run(["docker", "exec", shop.container("db"), "sh", "-c", script]).strip()


def test_a_backup_is_restored_under_load_and_requests_wait(shop: Shop) -> None:
    made = played(shop, "backup")
    assert made.returncode == 0, made.output[-4000:]
    (manifest,) = [json.loads(p.read_text()) for p in (shop.root / "backups").glob("*.json")]
    refused = played(shop, "restore", restore_backup=manifest["file"])
    said = refused.flat
    assert refused.returncode == 2 and "are held for the exchange" in said, said[-3000:]
    assert "tasks that are queued: " in said and " in celery" in said, said[-3000:]
    with shop.load(mix=USERS) as load:
        load.mark("restore-start")
        play = played(shop, "restore", restore_backup=manifest["file"], restore_allow_downtime=True)
        load.mark("restore-end")
        result = load.stop()
    assert play.returncode == 0, play.output[-6000:]
    assert shop.leftovers() == [] and shop.rules_left() == []
    result = result.judged_by(proxy_log(shop.container("nginx")))
    kept = re.findall(r"is kept as (\S+_before_\d{8}t\d{6}z)", play.flat)[0]
    orders = next(table for table in manifest["rows"] if table.endswith("order"))
    # What was ordered before the exchange is in the one that is kept, what came after it in the new one; none is nowhere.
    before = int(sql(shop, kept, f"SELECT count(*) FROM {orders}"))
    assert before > manifest["rows"][orders]
    print(
        f"\nevidence: restored under {result.total:,} requests: {result.failed_beyond_race} failed, the longest gap without an "
        f"answer of the app {result.longest_app_gap_ms / 1000:.1f} s; {before - manifest['rows'][orders]:,} orders since the "
        "backup are in the database that is kept"
    )
    assert result.failed_beyond_race == 0, [json.dumps(f) for f in result.failures[:8]]
