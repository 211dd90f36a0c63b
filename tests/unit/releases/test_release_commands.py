# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's own commands: run where they are due, as their own words, alone, and telling no secret."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.release_command import call as run_commands
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.host.journal import Keeper
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases import release_commands as commands
from tests.unit.app_on_a_server import App

ROOT = Path(__file__).parents[3]


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path)


def parameters(app: App, release: str, state: str, *wanted: list[str], **more: Any) -> dict[str, Any]:
    own = {"path": str(app.root), "release": release, "state": state, "commands": list(wanted), "timeout": 20}
    return {**own, **more}


def call(app: App, release: str, state: str, *wanted: list[str], check: bool = False, **more: Any) -> dict[str, Any]:
    return run_commands(parameters(app, release, state, *wanted, **more), check)


def noted(app: App) -> list[str]:
    path = app.root / "noted"
    return path.read_text().split() if path.exists() else []


def note(app: App, word: str) -> list[str]:
    return ["sh", "-c", 'echo "$1" >>"$2"', "sh", word, str(app.root / "noted")]


# -- when they are due ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "state", "current", "due"),
    [
        ("prepared", "preparing", False, True),
        ("prepared", "built", False, False),
        ("prepared", "bad", False, False),
        ("reloaded", "active", True, True),
        ("reloaded", "active", False, False),
        ("reloaded", "verified", True, False),
        ("reloaded", "built", True, False),
    ],
)
def test_what_is_due(stage: str, state: str, current: bool, due: bool) -> None:
    assert commands.is_due(stage, state, current) is due


def test_a_release_is_prepared_until_it_is_built(app: App) -> None:
    made = app()
    name = made["release"]
    assert call(app, name, "prepared", note(app, "a"), check=True)["changed"] and noted(app) == []
    done = call(app, name, "prepared", note(app, "a"), note(app, "b"))
    assert done["changed"] and [step["result"] for step in done["timeline"]] == ["ok", "ok"]
    assert noted(app) == ["a", "b"]
    app("built", release=name)
    assert call(app, name, "prepared", note(app, "a"))["changed"] is False
    assert noted(app) == ["a", "b"]


def test_the_switch_is_reloaded_for_until_it_is_found_good(app: App) -> None:
    name = app.built()
    assert call(app, name, "reloaded", note(app, "early"))["changed"] is False
    switched = app("active", release=name, verified=False)
    assert switched["changed"] and (switched["release_state"], switched["current"]) == ("active", name)
    assert app("active", release=name, verified=False)["changed"] is False
    for _killed_before_it_was_found_good in range(2):
        assert call(app, name, "reloaded", note(app, "reload"))["changed"]
    assert app("active", release=name)["release_state"] == "verified"
    assert call(app, name, "reloaded", note(app, "late"))["changed"] is False
    assert noted(app) == ["reload", "reload"]


# -- how they run -----------------------------------------------------------------------------------------


def test_they_run_where_they_belong_and_are_told_which_release_it_is(app: App) -> None:
    made = app()
    say = ["sh", "-c", 'echo "$PWD $EVENKEEL_RELEASE $EVENKEEL_RELEASE_PATH" >>"$1"', "sh", str(app.root / "noted")]
    name, path = made["release"], made["release_path"]
    call(app, name, "prepared", say)
    app("built", release=name)
    app("active", release=name, verified=False)
    call(app, name, "reloaded", say)
    assert noted(app) == [path, name, path, str(app.root), name, path]


def test_a_program_made_by_the_command_before_is_found(app: App) -> None:
    name = app()["release"]
    make = ["sh", "-c", "mkdir bin && printf '#!/bin/sh\\necho made >../../noted' >bin/own && chmod 755 bin/own"]
    call(app, name, "prepared", make, ["bin/own"])
    assert noted(app) == ["made"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as somebody else")
def test_a_release_is_prepared_by_its_owner(app: App, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    subprocess.run(["chown", "-R", "nobody", str(app.source), str(app.root)], check=True)
    # Root takes no state folder below one of somebody else.
    own = {"owner": "nobody", "state_dir": str(tmp_path / "state")}
    made = app(**own)
    call(app, made["release"], "prepared", ["sh", "-c", 'id -un >who; echo "$HOME" >>who'], **own)
    who = Path(made["release_path"]) / "who"
    assert who.read_text().split() == ["nobody", "/nonexistent"]
    assert stat.S_IMODE(who.stat().st_mode) == 0o644


# -- what fails -------------------------------------------------------------------------------------------


def test_one_that_fails_marks_the_release_bad_and_says_its_last_words(app: App) -> None:
    (app.root / "shared/.env").write_text("DB_PASSWORD='hunter22'\nexport TOKEN=abcdef\nDEBUG=1\n")
    name = app()["release"]
    fail = ["sh", "-c", "printf 'cannot log in with hunter22 \\033[31mTOKEN=abcdef\\033[0m\\n'; exit 3"]
    done = call(app, name, "prepared", note(app, "a"), fail, note(app, "b"))
    assert done["failed"] and noted(app) == ["a"]
    assert "ended with exit code 3\n  cannot log in with <DB_PASSWORD> TOKEN=<TOKEN>" in done["what"]
    assert f"Now: nothing that serves was touched; release {name} is marked bad\nNext: " in done["msg"]
    log = app.root / f".evenkeel/logs/prepared-{name}.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600 and "hunter22" in log.read_text()
    again = app()
    assert again["changed"] and again["release"] != name, "a bad one is not taken up again"


def test_one_that_does_not_end_is_killed_with_all_it_started(app: App, tmp_path: Path) -> None:
    name = app()["release"]
    pids = tmp_path / "pid"
    hang = ["sh", "-c", 'sleep 600 & echo $! >"$1"; wait', "sh", str(pids)]
    for timeout in (1, 10, 60):
        done = call(app, name, "prepared", hang, timeout=timeout)
        assert f"did not end in {timeout} s, and was killed" in done["msg"]
        # On a busy machine it may have been killed before it had begun.
        if pids.exists() and pids.read_text():
            break
    end = time.monotonic() + 60
    while Path(f"/proc/{pids.read_text().strip()}").exists():
        state = Path(f"/proc/{pids.read_text().strip()}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if state == "Z":
            break
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_reload_that_fails_leaves_the_next_call_to_make_up_for_it(app: App) -> None:
    name = app.built()
    app("active", release=name, verified=False)
    done = call(app, name, "reloaded", ["sh", "-c", "kill -9 $$"])
    assert "was ended by signal 9" in done["what"] and done["serving"] == app.first
    assert call(app, name, "reloaded", note(app, "reload"))["changed"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ([[]], "a command is empty"),
        ([["a\0b"]], "no command can have"),
        ([["true"], ["there-is-no-such"]], "there-is-no-such is not on this host"),
    ],
)
def test_what_cannot_run_is_refused_before_the_first(app: App, wanted: list[list[str]], words: str) -> None:
    name = app()["release"]
    with pytest.raises(BadInput) as caught:
        call(app, name, "prepared", note(app, "a"), *wanted)
    assert words in caught.value.message() and noted(app) == []
    assert app()["release_state"] == "preparing"


def test_an_unknown_release_is_refused(app: App) -> None:
    app()
    with pytest.raises(BadInput, match="there is no release"):
        call(app, "20261120T000000Z-1111111", "prepared", ["true"])


# -- killed in the middle ---------------------------------------------------------------------------------

_BY_ITSELF = """
    import json, sys
    from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.release_command import call as run_commands
    print(json.dumps(run_commands(json.loads(sys.argv[1]), False)))
"""


def begun(app: App, release: str, state: str, *wanted: list[str]) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", textwrap.dedent(_BY_ITSELF), json.dumps(parameters(app, release, state, *wanted))]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}"}
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    wait_until(path.exists, f"{path} never came")


def wait_until(true: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)


def test_what_a_killed_call_has_started_is_waited_for(app: App) -> None:
    """Two installers in one folder would break what each other makes."""
    name = app()["release"]
    there = app.root / "there"
    slow = ["sh", "-c", 'touch "$1"; while [ ! -e "$1.go" ]; do sleep 0.05; done; echo first >>"$2"', "sh"]
    first = begun(app, name, "prepared", [*slow, str(there), str(app.root / "noted")])
    wait_for(there)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = begun(app, name, "prepared", note(app, "second"))
    keeper = Keeper(str(app.root / ".evenkeel"))
    wait_until(lambda: getattr(keeper.read().process, "pid", 0) == second.pid, "it never began")
    time.sleep(0.3)
    assert noted(app) == []
    (app.root / "there.go").touch()
    out, _err = second.communicate(timeout=30)
    assert '"changed": true' in out and noted(app) == ["first", "second"]


def test_what_a_reload_starts_does_not_keep_the_lock(app: App) -> None:
    name = app.built()
    app("active", release=name, verified=False)
    pid = app.root / "pid"
    call(app, name, "reloaded", ["sh", "-c", 'sleep 600 & echo $! >"$1"', "sh", str(pid)])
    try:
        assert app("active", release=name)["release_state"] == "verified"
        # Somebody else becomes the holder at once.
        other = app.built(version=app.first)
        assert app("active", release=other)["changed"] is False
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_logs_go_with_their_releases(app: App) -> None:
    name = app()["release"]
    call(app, name, "prepared", ["true"])
    logs = app.root / ".evenkeel/logs"
    (logs / "prepared-20261120T000000Z-1111111.log").touch()
    (logs / "build-x.log").touch()
    call(app, name, "prepared", ["true"])
    assert sorted(os.listdir(logs)) == ["build-x.log", f"prepared-{name}.log"]


def test_the_last_lines_have_no_colours() -> None:
    assert commands.last_lines("a\n\nb\n\x1b[1mc\x1b[0m\n", 2) == ["b", "c"]
