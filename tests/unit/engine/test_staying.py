# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that stays for one more script: its client is a real process, with pipes and files in ``/proc``; the rest stands in."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import app_script, staying
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import Compose, ComposeFailed

# Runs what Compose would have run by manage.py in a container: the last word.
_DOCKER = """#!/bin/sh
for last; do :; done
exec {python} -c "$last" "$@"
"""
_DJANGO = """
class Connections:
    def close_all(self):
        print("closed")
connections = Connections()
"""
_SAID = (
    "import os, json, sys; sys.stdout.write('EVENKEEL ' + json.dumps(dict(pid=os.getpid(), said={said!r})) + chr(10))"
)


class Client:
    """A client that has answered once, and its container's name."""

    def __init__(self, compose: Compose, patience: float = 20.0) -> None:
        self.compose, self.name = compose, f"shop-plan-{time.monotonic_ns()}"
        script = app_script.as_text((), [], patience).replace(
            "module.main(*json.loads('[]'))", _SAID.format(said="first")
        )
        words = ("run", "--no-deps", "--name", self.name, "api", "manage.py", "shell", "-c", script)
        self.first = app_script.answer_in(compose.run_until(app_script.has_answered, *words, stays=True)) or {}

    def ask(self, script: str, service: str = "api", compose: Compose | None = None, timeout: float = 20.0) -> str:
        return staying.ask(self.name, compose or self.compose, service, script, app_script.has_answered, timeout)

    def ended(self) -> bool:
        text = Path(f"/proc/{self.first['pid']}/stat")
        return not text.exists() or text.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compose:
    (tmp_path / "docker").write_text(_DOCKER.format(python=sys.executable))
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "django").mkdir()
    (tmp_path / "django/__init__.py").touch()
    (tmp_path / "django/db.py").write_text(_DJANGO)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Compose(str(tmp_path))


@pytest.fixture
def client(compose: Compose) -> Iterator[Client]:
    made = Client(compose)
    yield made
    if not made.ended():
        os.kill(made.first["pid"], signal.SIGKILL)


def until_ended(client: Client) -> bool:
    end = time.monotonic() + 20
    while not client.ended() and time.monotonic() < end:
        time.sleep(0.01)
    return client.ended()


def test_the_second_script_is_answered_where_the_first_was_and_then_it_is_over(client: Client) -> None:
    assert client.first["said"] == "first" and not client.ended()
    printed = client.ask(_SAID.format(said="second"))
    assert app_script.answer_in(printed) == {"pid": client.first["pid"], "said": "second"}
    assert "first" not in printed
    assert until_ended(client) and client.ask(_SAID.format(said="third")) == ""


def test_a_long_script_gets_there_whole(client: Client) -> None:
    said = app_script.answer_in(client.ask(_SAID.format(said="long " * 50_000)))
    assert said and len(said["said"]) == 250_000


def test_one_of_other_code_is_not_asked(client: Client, tmp_path: Path) -> None:
    assert client.ask(_SAID.format(said="other service"), service="worker") == ""
    assert client.ask(_SAID.format(said="other release"), compose=Compose(str(tmp_path.parent))) == ""
    assert staying.ask("", client.compose, "api", "", app_script.has_answered, 1.0) == ""
    assert not client.ended()


@pytest.mark.parametrize("script", ["raise SystemError('gone')", "import os; os.kill(os.getpid(), 9)"])
def test_one_that_ends_without_an_answer_has_none(client: Client, script: str) -> None:
    assert client.ask(script) == "" and until_ended(client)


def test_one_that_nobody_asks_leaves(compose: Compose) -> None:
    client = Client(compose, patience=0.05)
    assert until_ended(client) and client.ask(_SAID.format(said="late")) == ""


def test_one_that_takes_too_long_is_said(client: Client) -> None:
    with pytest.raises(ComposeFailed, match="did not end in"):
        client.ask("import time; time.sleep(60)", timeout=0.1)
