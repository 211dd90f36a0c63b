# SPDX-License-Identifier: GPL-3.0-or-later
"""Every version that must not reach a user, under load: refused or undone, said why, and met by nobody."""

from __future__ import annotations

import re

import pytest

from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Shop, run

#: The version → what the message's first line has to say of it.
BAD = {
    "bad-unhealthy": "never became ready in 20 s: GET /health/ answered 500",
    "bad-crash": "ended|was not answered",
    "bad-import": "ended",
    "bad-500": "answered 500",
    "bad-build": "does not build",
    "bad-oom": "went over its memory limit of 160 MiB",
    "bad-reserve": "there is no room for this: api",
    "bad-worker": "celery: .* ended",
    "bad-beat": "celery-beat: .* ended",
}


@pytest.mark.parametrize("version", BAD)
def test_a_bad_version_is_undone_before_a_user_meets_it(shop: Shop, version: str) -> None:
    serving = shop.version()
    before = {i["Name"]: i["Id"] for i in shop.inspections()}
    # The web's own proof and watch as long as they are by default: some of these are found out by nothing else.
    with shop.load() as load:
        play = shop.update(version, app_services={"celery": QUICK["celery"], "api": {"ready_timeout": 20}})
        result = load.stop()
    assert play.returncode != 0
    assert re.search(BAD[version], play.message.splitlines()[0]), play.message
    assert all(word in play.message for word in ("What:", "Now:", "Next:")), play.message
    assert shop.version() == serving
    # Only the scheduler, of which there are never two, may have been stopped and started again.
    assert {i["Name"]: i["Id"] for i in shop.inspections()} == before
    assert shop.leftovers() == []
    assert version not in result.versions
    assert_nothing_lost(shop, load, result)


def test_workers_that_are_recycled_after_an_undo_serve_the_old_version(shop: Shop) -> None:
    """New ones read code and static manifest anew: both have to be those of the version that serves."""
    serving = shop.version()
    assert shop.update("bad-500", app_services=QUICK).returncode != 0
    script = "kill -TERM $(cat /proc/1/task/1/children); sleep 2; test $(wc -w < /proc/1/task/1/children) -ge 2"
    run(["docker", "exec", shop.container("api"), "sh", "-c", script])
    assert shop.version() == serving
    assert "Even Keel Travel" in run(["curl", "--silent", "--fail", f"{shop.url}/"])
