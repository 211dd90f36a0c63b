# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll that failed shows of logs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.host.report import logs_of_the_new
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.stack import Container, Proxy, Stack

CALL = cast(
    Any,
    SimpleNamespace(
        targets=[SimpleNamespace(settings=SimpleNamespace(name=name)) for name in ("api", "celery")],
        engine=SimpleNamespace(logs=lambda container, lines: f"{lines} of {container}"),
    ),
)


def new(service: str, **more: Any) -> Container:
    return Container(f"id-{service}", f"shop-{service}-2", service, "v2", "h", created_here=True, **more)


def shown(*containers: Container) -> dict[str, str]:
    return logs_of_the_new(CALL, Stack(100.0, containers, Proxy()))


def test_what_failed_is_shown_and_not_what_only_was_at_it() -> None:
    broken = new("api", fault="GET / answered 500", ready_since=90.0)
    assert shown(new("celery"), broken) == {"shop-api-2": "200 of id-api"}


def test_where_the_call_failed_and_no_container_what_was_not_ready_is_shown() -> None:
    old = Container("id-old", "shop-api-1", "api", "v1", "h")
    assert shown(old, new("api", ready_since=90.0), new("celery"), new("db")) == {"shop-celery-2": "200 of id-celery"}
