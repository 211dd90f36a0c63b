# SPDX-License-Identifier: GPL-3.0-or-later
"""How a hotfix ends, on a real repository and release store: one of nginx in the call that makes it, others when they serve."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import hotfix_patch
from ansible_collections.evenkeel.deploy.plugins.module_utils.git.host.git import GitFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import end, patch
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import Keeper
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import smoke_test
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host.nginx_wanted import Request
from tests.unit.app_on_a_server import git
from tests.unit.engine_in_memory import EngineInMemory
from tests.unit.restored_folder import Restored
from tests.unit.serving_shop import VIEWS, Shop

NGINX = "deploy/nginx.conf"
OPERATION = {"playbook": "hotfix", "app_name": "shop", "target": "x", "who": "me", "lease": 60, "wait": 0}
Ask = Callable[..., dict[str, Any]]


class World:
    """What is around the call."""

    def __init__(self) -> None:
        self.reloaded: list[str] = []
        self.refuses = ""
        self.wrong = ""

    def reload(self, request: Request, check: bool) -> dict[str, Any]:
        assert request.lock.lock_token and request.from_release and not check
        self.reloaded.append(request.project.project_src)
        return {"changed": True, "failed": bool(self.refuses), "msg": self.refuses}


@pytest.fixture
def shop(shops: Restored[Shop], monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = shops()
    made.use_its_engine(monkeypatch)
    return made


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(end, "nginx_reload", made.reload)
    monkeypatch.setattr(smoke_test, "wrong", lambda *_args, **_more: made.wrong)
    monkeypatch.setattr(end, "connect", lambda _root: EngineInMemory())
    monkeypatch.setattr(end.log_tail, "of_service", lambda *_args: ["api-1: it fell over"])
    return made


@pytest.fixture
def ask(shop: Shop) -> Ask:
    def call(files: dict[str, str] | None = None, check: bool = False, **more: Any) -> dict[str, Any]:
        given = [{"path": p, "content": base64.b64encode(t.encode()).decode()} for p, t in (files or {}).items()]
        params = {
            "path": str(shop.root), "repo": str(shop.source), "files": given, "compose_files": ["docker-compose.prod.yml"],
            "env_files": [".env"], "shared": [".env"], "django_service": "api", "max_files": 20, "max_lines": 400,
            "max_chain": 5, "keep": 0, "push": True, "state": "made", "operation": OPERATION, "health_url": "http://x/",
            "state_dir": None, **more,
        }  # fmt: skip
        return hotfix_patch.call(params, check)

    return call


def held(shop: Shop) -> bool:
    return Keeper(str(shop.root / ".evenkeel")).read().held


def current(shop: Shop) -> str:
    return str((shop.root / "current").readlink()).rpartition("/")[2]


def test_one_of_nginx_is_the_whole_operation(shop: Shop, world: World, ask: Ask) -> None:
    told = ask({NGINX: "server { listen 80; }\n"}, name="n")
    assert told["whole"] and told["changed"] and told["release_state"] == "verified" and "nginx" in told["msg"]
    assert current(shop) == told["release"] and world.reloaded == [told["release_path"]] and not held(shop)
    assert told["refs"] and "hotfix/n" in git(shop.source, "branch", "--all")
    again = ask({NGINX: "server { listen 80; }\n"}, name="n")
    assert again["whole"] and not again["changed"] and len(world.reloaded) == 1 and not held(shop)


@pytest.mark.parametrize("how", ["refuses", "wrong"])
def test_where_nginx_does_not_serve_with_it_the_caller_takes_it_back(
    shop: Shop, world: World, ask: Ask, how: str
) -> None:
    before = current(shop)
    setattr(world, how, "it answered 500")
    told = ask({NGINX: "server { listen 80; }\n"}, name="n")
    assert not told["whole"] and "it answered 500" in told["problem"] and told["lock_token"] and held(shop)
    assert current(shop) == before and told["release"] != before and told["current"] == before
    assert ("it fell over" in told["problem"]) == (how == "wrong")


def test_what_needs_containers_goes_on_under_its_lock_and_ends_when_it_serves(
    shop: Shop, world: World, ask: Ask
) -> None:
    before = current(shop)
    made = ask({VIEWS: "two\n"}, name="a")
    assert not made["whole"] and made["services"] == ["api", "celery"] and "problem" not in made
    assert held(shop) and current(shop) == before and world.reloaded == []
    rest = {"state": "served", "release": made["release"], "lock_token": made["lock_token"], "operation": None}
    assert ask(check=True, **rest)["changed"] is False
    world.wrong = "GET http://x/ answered 500"
    problem = ask(**rest)["problem"]
    assert world.wrong in problem and "it fell over" in problem and held(shop) and current(shop) == before
    world.wrong = ""
    ended = ask(**rest)
    assert ended["release"] == current(shop) == made["release"] and ended["refs"] and not held(shop)


def test_a_repository_that_does_not_answer_is_only_told_of(
    shop: Shop, world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: Any) -> dict[str, Any]:
        raise GitFailed("it is away")

    monkeypatch.setattr(end, "tell_repository", away)
    told = ask({NGINX: "server { listen 80; }\n"}, name="n")
    assert told["whole"] and "the repository was not told: it is away" in told["notes"] and not held(shop)


def test_what_cannot_be_leaves_no_lock(shop: Shop, world: World, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any) -> list[str]:
        raise BadInput("it does not import")

    monkeypatch.setattr(patch, "checked", refuse)
    with pytest.raises(BadInput, match="does not import"):
        ask({VIEWS: "two\n"}, name="a")
    with pytest.raises(BadInput, match="prove"):
        ask({VIEWS: "two\n"}, name="a", prove=[{"path": "no"}])
    assert not held(shop)
    foreseen = ask({NGINX: "server { listen 80; }\n"}, check=True, name="n")
    assert foreseen["changed"] and not foreseen["whole"] and world.reloaded == [] and not held(shop)
