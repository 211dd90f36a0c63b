# SPDX-License-Identifier: GPL-3.0-or-later
"""One process that tells something, waits for an order and carries it out: what it is told, and when it is not."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import django_migrate
from ansible_collections.evenkeel.deploy.plugins.module_utils.django.host.oneoff import OneOff, Talk
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import Compose
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.one_offs import ONE_OFF
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.host import migrate
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.inside import talk as migrations_talk

TALKS = """
import json, sys, time
print("a talkative app")
print('EVENKEEL {"a": 1}', flush=True)
order = sys.stdin.read()
if order:
    print('EVENKEEL+ {"text": "begins", "step": "migrate", "seconds": 0.5}', flush=True)
    time.sleep(json.loads(order).get("sleep", 0))
    print("EVENKEEL " + order, flush=True)
    open("carried-out", "w").close()
"""


class Here(Compose):
    """Runs a script on this machine instead of in a container."""

    def argv(self, *words: str) -> list[str]:
        with open(os.path.join(self.project_src, "starts"), "a", encoding="utf-8") as stream:
            stream.write(f"{words[words.index('--name') + 1]}\n")
        if "manage.py" in words:
            return [sys.executable, *words[words.index("manage.py") :]]
        return [sys.executable, "-c", words[-1]]


class Engine:
    """Knows one image, and containers by the label that one-offs have."""

    def __init__(self) -> None:
        self.there: list[str] = []
        self.removed: list[str] = []

    def info(self) -> dict[str, Any]:
        return {"ID": "engine-1", "Name": "here"}

    def image(self, _name: str) -> dict[str, Any]:
        return {"Id": "sha256:1", "Config": {}}

    def containers(self, _labels: Mapping[str, str]) -> list[dict[str, Any]]:
        return []

    def brief(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        return [{"Id": name, "Created": time.time(), "State": "running"} for name in self.there if ONE_OFF in labels]

    def stop(self, _container: str, _seconds: int) -> None:
        return

    def remove(self, container: str) -> None:
        self.removed.append(container)


def oneoff(folder: Path, timeout: float = 30.0, engine: Engine | None = None) -> OneOff:
    return OneOff(engine or Engine(), Here(str(folder)), "shop", "api", "", timeout)  # type: ignore[arg-type]


def nothing(*_line: object) -> None:
    return


def test_it_tells_and_does_what_is_then_ordered(tmp_path: Path) -> None:
    said: list[tuple[str, str, float]] = []
    held: list[str] = []

    @contextlib.contextmanager
    def act() -> Iterator[None]:
        held.append("begun")
        yield
        # Nobody has to keep the lock for as long as it works.
        held.append("ended" if not (tmp_path / "carried-out").exists() else "too late")

    with oneoff(tmp_path).talk(TALKS) as talk:
        assert talk.asked() == {"a": 1}
        told = talk.ordered({"b": "x" * 200_000, "sleep": 0.5}, act, lambda *line: said.append(line))
    assert told == {"b": "x" * 200_000, "sleep": 0.5} and held == ["begun", "ended"]
    assert said == [("begins", "migrate", 0.5)] and (tmp_path / "carried-out").exists()
    assert len((tmp_path / "starts").read_text().split()) == 1


def test_without_an_order_it_ends_and_has_done_nothing(tmp_path: Path) -> None:
    with oneoff(tmp_path).talk(TALKS) as talk:
        talk.asked()
    with pytest.raises(BadInput), oneoff(tmp_path).talk(TALKS) as talk:
        talk.asked()
        raise BadInput("the verdict is no")

    def fenced() -> contextlib.AbstractContextManager[None]:
        raise BadInput("somebody else has the lock")

    with pytest.raises(BadInput), oneoff(tmp_path).talk(TALKS) as talk:
        talk.asked()
        talk.ordered({"b": 2}, fenced, nothing)
    assert not (tmp_path / "carried-out").exists()


def test_what_a_killed_run_has_left_goes_and_what_may_still_work_stays(tmp_path: Path) -> None:
    hour_ago, now = time.time() - 3600.0, time.time()
    left = {("old", hour_ago, "running"), ("new", now, "running"), ("over", now, "exited"), ("dead", hour_ago, "dead")}

    class Labelled(Engine):
        def brief(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
            of = "evenkeel.plan" in labels or "evenkeel.migrate" in labels
            return [{"Id": name, "Created": at, "State": state} for name, at, state in sorted(left) if of]

    asked, told = Labelled(), Labelled()
    with oneoff(tmp_path, engine=told).talk(TALKS) as talk:
        talk.asked()
    assert told.removed == ["dead", "over"], "what migrates is never ended by us"
    with contextlib.suppress(BadInput):
        oneoff(tmp_path, engine=asked).ask("print('hello')")
    assert asked.removed == ["dead", "old"], "who asked has left by now"


def test_what_does_not_answer_is_ended_and_what_works_is_not(tmp_path: Path) -> None:
    engine = Engine()
    engine.there = ["shop-migrate-1"]
    with (
        pytest.raises(BadInput, match=r"asking api for its migrations took longer than 0\.3 s"),
        oneoff(tmp_path, 0.3, engine).talk("import time; time.sleep(60)") as talk,
    ):
        talk.asked()
    assert engine.removed == ["shop-migrate-1"]
    engine.removed.clear()
    with (
        pytest.raises(BadInput, match="goes on with it"),
        oneoff(tmp_path, engine=engine).talk(TALKS) as talk,
    ):
        talk.asked()
        impatient = Talk(replace(talk.oneoff, timeout=0.3), talk.name, talk.process)
        impatient.ordered({"sleep": 60}, contextlib.nullcontext, nothing)
    assert engine.removed == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('hello')", "api told nothing of its migrations; it printed: hello"),
        ("import nowhere", "No module named 'nowhere'"),
        ("raise SystemExit('No module named \\'django\\'')", "the image of api has no Django"),
    ],
)
def test_what_told_nothing_is_said_why(tmp_path: Path, script: str, said: str) -> None:
    with pytest.raises(BadInput) as caught, oneoff(tmp_path).talk(script) as talk:
        talk.asked()
    assert said in caught.value.message()


def test_what_broke_off_is_said_to_be_taken_up_again(tmp_path: Path) -> None:
    script = TALKS.replace('print("EVENKEEL " + order', 'sys.exit(); print("EVENKEEL " + order')
    with pytest.raises(BadInput, match="broke off while it migrated"), oneoff(tmp_path).talk(script) as talk:
        talk.asked()
        talk.ordered({}, contextlib.nullcontext, nothing)


@pytest.mark.parametrize("given", ["", '{"state": "expa'])
def test_the_half_of_an_order_is_none(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations_talk.sys, "stdin", io.StringIO(given))
    monkeypatch.setattr(migrations_talk.select, "select", lambda *_: ([1], [], []))
    assert migrations_talk.read_order() is None
    monkeypatch.setattr(migrations_talk.select, "select", lambda *_: ([], [], []))
    assert migrations_talk.read_order() is None


MANAGE = """
import sys
from django.conf import settings
settings.configure(SECRET_KEY="x", INSTALLED_APPS=["shop"], DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
                   DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "rows"}})
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
INITIAL = """
from django.db import migrations, models
class Migration(migrations.Migration):
    operations = [migrations.CreateModel("Item", [("id", models.BigAutoField(primary_key=True))])]
"""


def test_django_is_started_once_to_plan_and_to_migrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop/migrations").mkdir(parents=True)
    for name, text in {"manage.py": MANAGE, "shop/__init__.py": "", "shop/migrations/__init__.py": "",
                       "shop/migrations/0001_initial.py": INITIAL}.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    project = {"name": "shop", "services": {"api": {"image": "shop"}}}
    monkeypatch.setattr(Here, "resolved", lambda _self: project)
    monkeypatch.setattr(migrate, "compose_of", lambda _project: Here(str(tmp_path)))
    monkeypatch.setattr(migrate, "connect", lambda *_asked: Engine())
    params = {
        "project_src": str(tmp_path), "service": "api", "manage_py": "manage.py", "timeout": 60.0, "lock_timeout": 1.0,
        "retries": 0, "wait": 1.0, "state": "migrated", "state_dir": str(tmp_path / "state"),
    }  # fmt: skip

    def starts() -> list[str]:
        path = tmp_path / "starts"
        found = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return [name.split("-")[1] for name in found]

    assert django_migrate.call(params, True)["changed"] and starts() == ["plan"]
    done = django_migrate.call(params, False)
    assert done["changed"] and [m["name"] for m in done["ran"]] == ["0001_initial"], done["msg"]
    assert starts() == ["migrate"] and [t["step"] for t in done["timeline"]] == ["plan", "migrated"]
    assert not django_migrate.call(params, False)["changed"] and starts() == ["migrate"]
    assert django_migrate.call({**params, "state": "planned"}, False)["pending"] == 0 and starts() == ["plan"]
