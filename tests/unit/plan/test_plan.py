# SPDX-License-Identifier: GPL-3.0-or-later
"""What an update comes to, from what the other modules found out; and the table that people read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.plan.plan import (
    HIGH,
    LOW,
    MEDIUM,
    QUICK,
    Act,
    Seen,
    plan,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.plan.text import text

REPLACED = {"service": "api", "order": "start-first", "reasons": ["image a -> b"], "strategy": "pinned by name"}
ROLL: dict[str, Any] = {
    "kinds": {"api": "web", "celery": "worker", "beat": "scheduler", "db": "database", "nginx": "proxy"},
    "replaced": [REPLACED, {"service": "beat", "order": "stop-first", "reasons": ["image a -> b"], "strategy": ""}],
    "serving": {"api": [{"container": "x-api-1", "version": "a"}], "beat": [{"container": "x-beat-1", "version": "a"}]},
    "rest": {},
    "memory": {"needed": 310 * 2**20, "available": 1200 * 2**20},
}
SEEN = Seen("travel", "v2", "a" * 40, "b" * 40, "2 commits", {"code": ("shop/views.py",)}, roll=ROLL)
NOTHING = {**ROLL, "replaced": []}


def migrations(*operations: dict[str, Any], refused: int = 0) -> dict[str, Any]:
    """What django_migrate returns of one pending migration."""
    return {"plan": [{"app": "tours", "name": "0004_x", "operations": list(operations)}], "refused": [{}] * refused}


NOW = {"action": "now", "reversible": True, "drops_data": False}


def test_new_containers_beside_old_ones_have_no_gap_and_the_scheduler_makes_none() -> None:
    found = plan(SEEN)
    assert (found.strategy, found.gaps, found.risk, found.reasons) == ("rolling", (), LOW, ())
    assert found.services[0] == Act("api", "web", "replace", "image a -> b; pinned by name")


def test_a_gap_says_what_becomes_of_requests() -> None:
    seen = replace(SEEN, migrations=migrations(NOW, refused=1))
    assert plan(seen).gaps == ("migrations: 1 operation cannot run beside the version that serves; requests wait",)
    roll = {**ROLL, "rest": {"recreate": ["db"]}, "unheld": {"ws": "it listens at no TCP port"}}
    told = "requests to ws fail meanwhile: it listens at no TCP port"
    assert plan(replace(seen, roll=roll)).gaps == (
        f"db (database): is recreated; {told}",
        f"migrations: 1 operation cannot run beside the version that serves; {told}",
    )


@pytest.mark.parametrize(
    ("seen", "strategy"),
    [
        (replace(SEEN, roll=NOTHING), "none"),
        (replace(SEEN, roll=NOTHING, files={"nginx": ("nginx.conf",)}), "reload"),
        (replace(SEEN, roll=NOTHING, files=None), "none"),
        (replace(SEEN, roll={**NOTHING, "rest": {"start": ["search"]}}), "rolling"),
        (replace(SEEN, roll={**NOTHING, "rest": {"handed": ["nginx"]}}), "rolling"),
        (replace(SEEN, roll={**NOTHING, "rest": {"recreate": ["db"]}}), QUICK),
        (replace(SEEN, roll={**ROLL, "replaced": [{**REPLACED, "order": "stop-first"}]}), QUICK),
        (replace(SEEN, migrations=migrations(NOW, refused=1)), QUICK),
        (replace(SEEN, strategy=QUICK), QUICK),
        (replace(SEEN, roll=NOTHING, strategy=QUICK), "none"),
        (replace(SEEN, strategy="canary"), "canary"),
        (replace(SEEN, strategy="blue_green"), "blue_green"),
        (replace(SEEN, roll=NOTHING, strategy="blue_green"), "none"),
        # Nobody but a worker is replaced, so nobody tries anything.
        (
            replace(
                SEEN,
                roll={**ROLL, "replaced": [r for r in ROLL["replaced"] if r["service"] != "api"]},
                strategy="canary",
            ),
            "rolling",
        ),
        (replace(SEEN, roll=None), "rolling"),
        (replace(SEEN, roll=None, files={"docs": ("README.md",)}), "none"),
        (replace(SEEN, roll=None, files=None), ""),
    ],
)
def test_the_strategy_follows_from_what_is_replaced(seen: Seen, strategy: str) -> None:
    assert plan(seen).strategy == strategy


def test_stopped_first_where_nothing_runs_is_no_gap() -> None:
    roll = {**ROLL, "replaced": [{**REPLACED, "order": "stop-first"}], "serving": {"api": []}}
    assert plan(replace(SEEN, roll=roll)).gaps == ()


@pytest.mark.parametrize(
    ("seen", "risk", "reason"),
    [
        (replace(SEEN, migrations=migrations({**NOW, "drops_data": True})), HIGH, "tours.0004_x drops data"),
        (replace(SEEN, migrations=migrations({**NOW, "reversible": False})), HIGH, "tours.0004_x cannot be reversed"),
        (replace(SEEN, migrations=migrations({"action": "defer", "reversible": False})), MEDIUM, "1 migration"),
        (replace(SEEN, edited_migrations=["tours/migrations/0001_initial.py"]), HIGH, "may have run is changed"),
        (replace(SEEN, roll={**NOTHING, "rest": {"recreate": ["db"]}}), HIGH, "db (database): is recreated"),
        (replace(SEEN, files={"dependency": ("requirements.txt",)}), MEDIUM, "dependency changed"),
        (replace(SEEN, files={"unknown": ("x.bin",)}), MEDIUM, "unknown changed"),
        (replace(SEEN, files={"migration": ("tours/migrations/0004_x.py",)}), MEDIUM, "Django was not asked"),
        (replace(SEEN, files=None), MEDIUM, "which files changed is not known"),
    ],
)
def test_the_risk_is_what_cannot_be_taken_back(seen: Seen, risk: str, reason: str) -> None:
    found = plan(seen)
    assert found.risk == risk
    assert any(reason in one for one in found.reasons), found.reasons


def test_the_expected_time_is_that_of_the_last_updates() -> None:
    assert plan(replace(SEEN, took=[50, 40, 45, 90, 41, 7000])).seconds == (45, 40, 90)
    assert plan(SEEN).seconds == ()


def test_the_table_of_an_update() -> None:
    seen = replace(
        SEEN, migrations=migrations(NOW, {"action": "defer"}), backup=True, took=[45.2, 40, 50], built=["travel-api:b"]
    )
    assert text(seen, plan(seen)) == [
        "plan of travel: aaaaaaaaaaaa -> bbbbbbbbbbbb (v2, 2 commits)",
        "  files     1 code (shop/views.py)",
        "  build     travel-api:b",
        "  backup    the database, before migrations",
        "  migrate   tours.0004_x (1 now, 1 deferred)",
        "  replace   api (web): image a -> b; pinned by name",
        "            beat (scheduler): image a -> b",
        "  strategy  rolling (new containers beside old ones)",
        "  gap       none",
        "  time      about 45 s (the last updates took 40 to 50 s)",
        "  memory    310 MiB more for a while, of 1,200 MiB available",
        "  risk      medium: 1 migration",
    ]


def test_before_anything_is_built_the_files_alone_tell() -> None:
    lines = text(replace(SEEN, roll=None), plan(replace(SEEN, roll=None)))
    assert any(line.startswith("  strategy  rolling") and line.endswith("unknown until built") for line in lines), lines
    assert any(line.startswith("  gap") and line.endswith("unknown until built") for line in lines), lines


def test_of_an_app_without_containers_files_time_and_risk_are_told() -> None:
    seen = replace(SEEN, roll=None, containers=False, took=[20])
    assert plan(seen).strategy == ""
    assert text(seen, plan(seen))[1:] == [
        "  files     1 code (shop/views.py)",
        "  time      about 20 s (the last updates took 20 s)",
        "  risk      low",
    ]


def test_what_a_repository_names_cannot_steer_a_terminal() -> None:
    seen = replace(SEEN, files={"code": ("a\x1b[2J.py",)})
    assert all(line.isprintable() for line in text(seen, plan(seen)))
