# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose's command line: what is called, with which environment, and what a failure says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.secret_values import MARK
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import (
    Compose,
    ComposeFailed,
    stderr_summary,
)

# Stands in for the docker command: it notes how it was called and answers what it is told to.
STAND_IN = """#!{python}
import json, os, sys, time
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "calls"), "a") as stream:
    texts = [open(a).read() for a in sys.argv if a.startswith("/proc/self/fd/")]
    json.dump(dict(argv=sys.argv[1:], env=dict(os.environ), cwd=os.getcwd(), stdin=sys.stdin.read(), texts=texts), stream)
    stream.write("\\n")
with open(os.path.join(here, "answers.json")) as stream:
    answers = json.load(stream)
for words, (code, out, err, seconds, lingers) in answers:
    if all(w in sys.argv for w in words):
        time.sleep(seconds)
        print(out, end="", flush=True)
        while lingers and not os.path.exists(os.path.join(here, "go on")):
            time.sleep(0.01)
        print("said to nobody" if lingers else "", end="", flush=True)
        open(os.path.join(here, "ended"), "w").close()
        sys.stderr.write(err)
        sys.exit(code)
"""


class Docker:
    """The stand-in as a test sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: list[Any] = []
        program = folder / "docker"
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)

    def answer(
        self, *words: str, out: str = "", err: str = "", code: int = 0, seconds: float = 0, lingers: bool = False
    ) -> None:
        self.answers.append((words, (code, out, err, seconds, lingers)))
        (self.folder / "answers.json").write_text(json.dumps(self.answers))

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture()
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Docker(folder)


def test_the_command_line_has_absolute_paths_only() -> None:
    compose = Compose("/srv/app", ("a.yml", "/etc/b.yml"), (".env.prod",), ("full", "x"), "shop")
    assert compose.argv("up", "-d") == [
        *("docker", "compose", "--ansi", "never", "--project-directory", "/srv/app", "--project-name", "shop"),
        *("--file", "/srv/app/a.yml", "--file", "/etc/b.yml", "--env-file", "/srv/app/.env.prod"),
        *("--profile", "full", "--profile", "x", "up", "-d"),
    ]
    assert Compose("/srv/app").argv("ps")[2:] == ["--ansi", "never", "--project-directory", "/srv/app", "ps"]


def test_nothing_of_the_callers_shell_changes_what_is_meant(
    docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES", "DOCKER_CONTEXT"):
        monkeypatch.setenv(name, "other")
    monkeypatch.setenv("TAG", "v2")
    monkeypatch.setenv("PWD", "/elsewhere")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    docker.answer("ps", out="fine\n")
    assert Compose(str(tmp_path)).run("ps", stdin="text") == "fine\n"
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/1000/docker.sock")
    Compose(str(tmp_path)).run("ps")
    first, second = docker.calls
    assert not [name for name in first["env"] if name.startswith("COMPOSE_") or name == "DOCKER_CONTEXT"]
    assert first["env"]["TAG"] == "v2" and first["env"].get("PWD") != "/elsewhere"
    assert (first["cwd"], first["stdin"]) == (str(tmp_path), "text")
    # The engine that the SDK speaks to, whatever context the command line would have chosen.
    assert first["env"]["DOCKER_HOST"] == "unix:///var/run/docker.sock"
    assert second["env"]["DOCKER_HOST"] == "unix:///run/user/1000/docker.sock"


def test_failures_say_why(docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker.answer("config", code=15, err='time="x" level=warning msg="obsolete"\nservice "api" has no image\n')
    docker.answer("up", seconds=5)
    with pytest.raises(ComposeFailed, match=r'^service "api" has no image$'):
        Compose(str(tmp_path)).run("config")
    with pytest.raises(ComposeFailed, match=r"docker compose up did not end in 0\.5 s"):
        Compose(str(tmp_path)).run("up", timeout=0.5)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ComposeFailed, match=r"docker compose could not be started: .*No such file"):
        Compose(str(tmp_path)).run("config")
    assert Compose(str(tmp_path)).version() == ""


def test_nobody_waits_for_the_end_of_a_command_that_has_said_enough(docker: Docker, tmp_path: Path) -> None:
    docker.answer("run", out="yes, 1\n", lingers=True)
    compose, ended = Compose(str(tmp_path)), docker.folder / "ended"
    assert compose.run_until(lambda text: "yes" in text, "run", "api", stdin="a question") == "yes, 1\n"
    assert not ended.exists() and docker.calls[-1]["stdin"] == "a question"
    (docker.folder / "go on").touch()
    deadline = time.monotonic() + 20
    while not ended.exists():
        assert time.monotonic() < deadline, "it was ended by what it printed to nobody"
        time.sleep(0.05)


def test_a_command_that_never_says_enough_is_waited_for(docker: Docker, tmp_path: Path) -> None:
    docker.answer("run", out="no\n")
    docker.answer("fails", out="no\n", err="no such image", code=1)
    docker.answer("hangs", seconds=60)
    compose = Compose(str(tmp_path))
    assert compose.run_until(lambda text: "yes" in text, "run") == "no\n"
    assert docker.calls[-1]["stdin"] == ""
    with pytest.raises(ComposeFailed, match="no such image"):
        compose.run_until(lambda text: "yes" in text, "fails")
    with pytest.raises(ComposeFailed, match=r"docker compose hangs did not end in 0\.5 s"):
        compose.run_until(lambda text: "yes" in text, "hangs", timeout=0.5)


def test_version(docker: Docker, tmp_path: Path) -> None:
    docker.answer("version", out="2.26.1-4\n")
    assert Compose(str(tmp_path)).version() == "2.26.1-4"
    docker.answers.clear()
    docker.answer("version", code=125, err="unknown command: docker compose\n")
    assert Compose(str(tmp_path)).version() == ""


def test_the_resolved_project_has_our_own_block_back(docker: Docker, tmp_path: Path) -> None:
    raw = {"services": {"api": {"x-evenkeel": {"kind": "web"}}, "db": None, "off": {"x-evenkeel": {}}}}
    docker.answer("--no-interpolate", out=json.dumps(raw))
    docker.answer("config", out=json.dumps({"name": "shop", "services": {"api": {"image": "i"}, "db": {}}}))
    assert Compose(str(tmp_path)).resolved() == {
        "name": "shop",
        "services": {"api": {"image": "i", "x-evenkeel": {"kind": "web"}}, "db": {}},
    }


def test_hashes_are_asked_of_the_resolved_project_by_a_memory_file(docker: Docker, tmp_path: Path) -> None:
    docker.answer("--hash", out="api 12ab\ndb 34cd\n\n")
    project = {"name": "shop", "services": {"api": {"environment": {"PASSWORD": "hunter2"}}}}
    compose = Compose(str(tmp_path), ("compose.yml",), (".env",), ("full",), "shop")
    assert compose.hashes(project) == {"api": "12ab", "db": "34cd"}
    (call,) = docker.calls
    assert call["texts"] == [json.dumps(project)]
    assert "hunter2" not in " ".join(call["argv"]) and "--env-file" not in call["argv"]
    docker.answers.clear()
    docker.answer("--hash", code=1, err="no\n")
    with pytest.raises(ComposeFailed):
        compose.hashes(project)


def test_what_serves_nobody_has_a_tenth_of_the_processors(docker: Docker, tmp_path: Path) -> None:
    services: dict[str, Any] = {"api": {"image": "a"}, "slow": {"image": "a", "cpu_shares": 50}}
    (tmp_path / "compose.yaml").write_text(json.dumps({"name": "shop", MARK: {}, "services": services}))
    docker.answer("run", out="yes\n")
    compose = Compose(str(tmp_path))
    for service, expected in (("api", [102, 50]), ("slow", None), ("gone", None)):
        with compose.stepping_back(service) as other:
            other.run_until(lambda text: "yes" in text, "run", service)
        texts = docker.calls[-1]["texts"]
        shares = [s.get("cpu_shares") for s in json.loads(texts[0])["services"].values()] if texts else None
        assert shares == expected, service
    (tmp_path / "compose.yaml").write_text(json.dumps({"name": "shop", "services": services}))
    with compose.stepping_back("api") as other:
        assert other is compose, "Compose would have to be asked for the user's own definition first"


def test_a_kill_leaves_no_resolved_secret_in_a_file(docker: Docker, tmp_path: Path) -> None:
    docker.answer("--hash", seconds=60)
    (tmp_path / "temporary").mkdir()
    asks = (
        "import sys; from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import Compose;"
        "Compose(sys.argv[1]).hashes({'services': {'api': {'environment': {'PASSWORD': 'hunt' + 'er2'}}}})"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path / "temporary")}
    asking = subprocess.Popen([sys.executable, "-c", asks, str(tmp_path)], env=environment, start_new_session=True)
    while not (docker.folder / "calls").exists() or not docker.calls:
        assert asking.poll() is None
        time.sleep(0.05)
    os.killpg(asking.pid, signal.SIGKILL)
    asking.wait()
    (call,) = docker.calls
    assert "hunter2" in "".join(call["texts"])
    assert [p for p in (tmp_path / "temporary").rglob("*") if p.is_file()] == []


def test_containers_are_created_beside_what_is_there(docker: Docker, tmp_path: Path) -> None:
    docker.answer("create")
    Compose(str(tmp_path), (), (), (), "shop").create_beside({"api": 4, "celery": 2}, {"db": 1, "api": 3})
    words = docker.calls[0]["argv"]
    assert words[words.index("create") :] == [
        *("create", "--no-recreate", "--no-build", "--pull", "missing"),
        *("--scale", "db=1", "--scale", "api=4", "--scale", "celery=2", "api", "celery"),
    ]


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("", "it gave no reason"),
        ("\n  \n", "it gave no reason"),
        ('time="2024" level=warning msg="only this"\n', "it gave no reason"),
        ("first\nlast  \n\n", "last"),
        ('time="2024" level=fatal msg="no \\"api\\" here"\n', 'no "api" here'),
        ("no configuration file provided: not found\n", "no configuration file provided: not found"),
    ],
)
def test_last_words(stderr: str, said: str) -> None:
    assert stderr_summary(stderr) == said


@pytest.mark.parametrize(
    "stderr",
    [
        # Recorded with Compose 2.26, for lines of an .env that it cannot read.
        'failed to read /srv/.env: line 2: unexpected character "+" in variable name "1+2=hunter2"\n',
        'line 4: unterminated quoted value "hunter2\n',
        'failed to read /srv/.env: line 2: unterminated quoted value "a\nhunter2\nNEXT=hunter2\n',
        'failed to read /srv/.env: Invalid template: "${hunter2"\n',
        'invalid interpolation format for services.api.environment.X: "${hunter2". You may need to escape any $\n',
    ],
)
def test_last_words_never_hold_a_value(stderr: str) -> None:
    said = stderr_summary(stderr)
    assert "hunter2" not in said
    assert said.endswith("(not shown, it may be secret)")
    assert len(said) > 40
