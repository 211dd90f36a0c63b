# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.init.text import variables_file, yaml_value
from ansible_collections.evenkeel.deploy.plugins.module_utils.init.variables import (
    Repository,
    Seen,
    Service,
    describe,
    django_service,
    site_addresses,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.config import Route
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.unroutable import Around

ROUTE = Route("web", 8000, "shop.example.org", 443, True)
WEB = Service("web", "web", "gunicorn", (ROUTE,), "manage.py", True, True, "app", ("db",), ("/health/",), own=True)
WORKER = Service("worker", "worker", "celery", manage_py="manage.py", started_as_django=True, recipe="app", own=True)
DB = Service("db", "database", "image postgres")
SEEN = Seen(
    "shop", "/srv/shop", ("/srv/shop/docker-compose.yml",), (DB, WORKER, WEB), ".env", "deploy", True,
    Around("shop", "nginx"), (), {443: 443}, Repository("/srv/shop", "git@git.example.com:shop.git", "main"),
)  # fmt: skip


def values(seen: Seen, answering: str = "", asked: bool = True) -> dict[str, Any]:
    return {v.name: v.value for v in describe(seen, answering, asked).variables}


def test_what_runs_is_described_whole() -> None:
    assert values(SEEN, "https://shop.example.org/health/") == {
        "app_name": "shop",
        # The folder that runs is no place for releases.
        "app_root": "/srv/evenkeel/shop",
        "app_repo": "git@git.example.com:shop.git",
        "app_owner": "deploy",
        "app_compose_files": ["docker-compose.yml"],
        "app_django_service": "web",
        "app_health_url": "https://shop.example.org/health/",
    }
    found = describe(SEEN, "https://shop.example.org/health/", True)
    assert (found.questions, found.problems, [v.name for v in found.variables if not v.sure]) == ((), (), [])


def test_an_address_that_does_not_answer_is_asked_for_and_not_written() -> None:
    assert site_addresses(SEEN)[0] == "https://shop.example.org/health/"
    assert "app_health_url" not in values(SEEN)
    assert any("none of https://shop.example.org/health/" in q for q in describe(SEEN, "", True).questions)


def test_an_address_that_nobody_asked_is_written_and_marked() -> None:
    found = {v.name: v for v in describe(SEEN, "", False).variables}
    assert (found["app_health_url"].value, found["app_health_url"].sure) == ("https://shop.example.org/health/", False)


def test_of_one_image_the_service_that_users_come_to_is_asked() -> None:
    # Its start script is not known, the worker's command is.
    unclear = replace(WEB, started_as_django=False, wsgi=False)
    assert django_service([WORKER, unclear]) is unclear
    assert django_service([WORKER, replace(unclear, recipe="other")]) is WORKER
    assert django_service([DB]) is None


def test_no_usual_value_is_repeated() -> None:
    seen = replace(SEEN, folder="/home/deploy/shop", files=("/home/deploy/shop/docker-compose.prod.yml",))
    seen = replace(
        seen, repository=Repository("/home/deploy/shop"), services=(replace(WEB, name="api"), DB), owner="root"
    )
    assert values(seen) == {"app_name": "shop", "app_root": "/srv/shop", "app_repo": "/home/deploy/shop"}


def test_what_an_update_refuses_is_said() -> None:
    unled = replace(WEB, routes=(), published={8000: 80})
    balanced = replace(SEEN, services=(unled,), around=Around("shop", strangers={"gate": "haproxy"}))
    assert any("users come by gate (haproxy)" in p for p in describe(balanced, "", True).problems)
    # A port of its own is handed over.
    assert describe(replace(SEEN, services=(unled,), around=Around("shop")), "", True).problems == ()
    assert any("no service of Django" in p for p in describe(replace(SEEN, services=(DB,)), "", True).problems)
    deeper = replace(SEEN, folder="/srv/shop/deploy", files=("/srv/shop/deploy/docker-compose.yml",))
    assert any("lies in deploy/" in p for p in describe(deeper, "", True).problems)
    assert values(deeper)["app_compose_files"] == ["deploy/docker-compose.yml"]


def test_the_database_is_named_where_there_are_several() -> None:
    other = Service("geo", "database", "image postgis")
    assert values(replace(SEEN, services=(*SEEN.services, other)))["app_database_service"] == "db"
    assert "app_database_service" not in values(SEEN)


def test_a_service_of_ones_own_that_is_not_understood_is_asked_for() -> None:
    seen = replace(SEEN, services=(*SEEN.services, Service("bot", "other", own=True)))
    assert any("what bot does" in q for q in describe(seen, "", True).questions)


def test_a_password_in_the_remote_is_said_and_not_written() -> None:
    seen = replace(SEEN, repository=Repository("/srv/shop", "https://git.example.com/shop.git", "main", True))
    found = describe(seen, "", True)
    assert [v.name for v in found.variables if not v.sure] == ["app_repo"]
    assert any("password or token" in q for q in found.questions)


def test_the_file_says_why_and_reads_back() -> None:
    found = describe(SEEN, "https://shop.example.org/health/", True)
    text = variables_file("shop", "docker-compose.yml", found, SEEN.services)
    assert yaml.safe_load(text) == {v.name: v.value for v in found.variables}
    assert "#   web     web        new beside old" in text


def test_nothing_that_was_read_adds_a_line_of_its_own() -> None:
    hostile = replace(WEB, because="gunicorn\napp_root: /")
    seen = replace(SEEN, services=(hostile, Service("bot\r\napp_owner: root", "other", own=True)))
    found = describe(seen, "", True)
    text = variables_file("shop", "a\u2028app_repo: x", found, seen.services)
    assert yaml.safe_load(text) == {v.name: v.value for v in found.variables}


ODD = st.sampled_from(["yes", "a: b", "x:", "1e3", "~", "0x1f", "12:30", "-"])
SCALARS = st.one_of(st.text(max_size=30), st.booleans(), st.integers(-9, 9), ODD)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=8), v, max_size=3), max_leaves=6
)


@given(VALUES)
def test_every_value_reads_back_as_it_was(value: Any) -> None:
    text = yaml_value(value)
    assert "\n" not in text
    assert yaml.safe_load(f"name: {text} # why") == {"name": value}
