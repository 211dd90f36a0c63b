# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs on a real engine, in a project of nothing else: once, in order, and away again however they end."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import known_secrets
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.compose_job import call as run_jobs
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.publish_build import call as publish
from tests.bed.shop import LABEL, ROOT, run

IMAGE = "evenkeel/python:3.13"
CALL = """
import json, sys
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.compose_job import call as run_jobs
run_jobs(json.loads(sys.argv[1]), False)
"""


class Project:
    """A Compose project of jobs, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.name = f"evenkeel-jobs-{secrets.token_hex(3)}"
        self.folder, self.state = folder / "project", folder / "state"
        self.folder.mkdir()
        self.labels = {LABEL: self.name}

    def write(self, **services: Any) -> None:
        for service in services.values():
            service.update(image=IMAGE, labels=self.labels)
        project = {
            "name": self.name,
            "services": services,
            "volumes": {n: {"labels": self.labels} for n in ("html", "log")},
            "networks": {"default": {"labels": self.labels}},
        }
        (self.folder / "compose.yaml").write_text(json.dumps(project))

    def params(self, **more: Any) -> dict[str, Any]:
        return {"project_src": str(self.folder), "state_dir": str(self.state), "state": "present", **more}

    def __call__(self, check_mode: bool = False, **more: Any) -> dict[str, Any]:
        # As it leaves the module.
        told: dict[str, Any] = known_secrets.masked(run_jobs(self.params(**more), check_mode))
        return told

    def containers(self) -> list[str]:
        return run(["docker", "ps", "-aq", "--filter", f"label={LABEL}={self.name}"]).split()

    def read(self, volume: str, path: str) -> str:
        mount = f"{self.name}_{volume}:/v:ro"
        return run(
            ["docker", "run", "--rm", "--label", f"{LABEL}={self.name}", "-v", mount, IMAGE, "cat", f"/v/{path}"]
        )

    def destroy(self) -> None:
        for listing, removal in (
            (["ps", "-aq"], ["rm", "-fv"]),
            (["volume", "ls", "-q"], ["volume", "rm"]),
            (["network", "ls", "-q"], ["network", "rm"]),
        ):
            found = run(["docker", *listing, "--filter", f"label={LABEL}={self.name}"]).split()
            if found:
                run(["docker", *removal, *found])


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    try:
        yield made
    finally:
        made.destroy()


def job(script: str, *after: str, **more: Any) -> dict[str, Any]:
    waits = {"depends_on": {name: {"condition": "service_completed_successfully"} for name in after}} if after else {}
    return {
        "command": ["sh", "-c", script.replace("$", "$$")],
        "volumes": ["log:/log"],
        "x-evenkeel": {"kind": "job"},
        **waits,
        **more,
    }


def test_each_runs_once_in_order_and_again_where_it_means_something_else(project: Project) -> None:
    project.write(a=job("echo a >> /log/ran", "b"), b=job("echo b $HOW >> /log/ran", environment={"HOW": "one"}))
    plan = project(check_mode=True)
    assert (plan["changed"], plan["ran"], project.containers()) == (True, ["b", "a"], [])
    assert project()["ran"] == ["b", "a"]
    again = project()
    assert (again["changed"], again["present"]) == (False, ["b", "a"])
    project.write(a=job("echo a >> /log/ran", "b"), b=job("echo b $HOW >> /log/ran", environment={"HOW": "two"}))
    assert project()["ran"] == ["b"]
    assert project.read("log", "ran").split("\n") == ["b one", "a", "b two", ""]
    assert project.containers() == []
    assert (project.folder / ".evenkeel/jobs/a.json").stat().st_mode & 0o777 == 0o600


def test_one_that_fails_is_told_with_its_log_and_without_secrets_and_those_after_it_do_not_run(
    project: Project,
) -> None:
    project.write(
        a=job("echo a >> /log/ran", "b"),
        b=job("echo begun; echo token is $API_TOKEN >&2; exit 4", environment={"API_TOKEN": "swordfish"}),
    )
    result = project()
    assert (result["failed"], result["ran"]) == (True, [])
    assert "b ended with 4" in result["msg"] and "token is <API_TOKEN>" in result["msg"]
    assert all(word in result["msg"] for word in ("What:", "Now:", "Next:"))
    kept = list((project.state / "logs").iterdir())
    assert len(kept) == 1 and "begun" in kept[0].read_text() and kept[0].stat().st_mode & 0o777 == 0o600
    assert "swordfish" not in json.dumps(result) + kept[0].read_text()
    assert (project.containers(), list((project.folder / ".evenkeel").rglob("*.json"))) == ([], [])


@pytest.mark.parametrize(
    ("script", "more", "timeout", "said"),
    [
        ("sleep 300", {"stop_grace_period": "1s"}, 2.0, "did not end in 2 s"),
        ("python3 -c 'x = bytearray(300 * 2**20)'", {"mem_limit": "64m"}, 60.0, "more memory than it may"),
        ("exec /nowhere", {}, 60.0, "ended with 127"),
    ],
)
def test_however_it_fails_nothing_of_it_is_left(
    project: Project, script: str, more: dict[str, Any], timeout: float, said: str
) -> None:
    project.write(a=job(script, **more))
    result = project(timeout=timeout)
    assert result["failed"] and said in result["msg"], result["msg"]
    assert project.containers() == []


def test_what_a_killed_call_left_is_taken_away_and_run_again(project: Project) -> None:
    # The first run leaves half of it and would go on for ever; the second finds nothing of it.
    script = (
        "test -e /dist/half && exit 9; echo x > /dist/half; test -e /log/second || { touch /log/second; sleep 300; }"
    )
    project.write(
        a=job(script, volumes=["log:/log", "html:/dist"], stop_grace_period="1s"),
        nginx={"command": ["nginx"], "volumes": ["html:/srv:ro"]},
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}"}
    process = subprocess.Popen([sys.executable, "-c", CALL, json.dumps(project.params())], env=environment)
    while not any("second" in _log(container) for container in project.containers()):
        assert process.poll() is None
        time.sleep(0.2)
    process.kill()
    process.wait()
    assert len(project.containers()) == 1
    assert project()["ran"] == ["a"]
    assert project.containers() == []


def _log(container: str) -> str:
    """What a container that may still be on its way has in ``/log``."""
    done = subprocess.run(["docker", "exec", container, "ls", "/log"], capture_output=True, text=True, check=False)
    return done.stdout


def test_what_is_built_is_published_in_a_volume_that_compose_knows(project: Project) -> None:
    page = "echo page > /dist/index.html; mkdir /dist/a; echo code > /dist/a/x-1.js; chown -R 1000:1000 /dist"
    project.write(
        builder=job(page, volumes=["html:/dist"]),
        nginx={"command": ["nginx"], "volumes": ["html:/srv:ro"]},
        api={"command": ["gunicorn", "x"]},
    )
    params = project.params(state="published", django_service="api")
    with pytest.raises(BadInput, match="has not run"):
        publish(params, False)
    assert project()["ran"] == ["builder"]
    assert publish({**params, "state": "published", "timeout": 60}, True)["changed"]
    result = publish({**params, "timeout": 60}, False)
    assert (result["changed"], result["files"], result["replaced"]) == (True, 2, 0)
    assert publish({**params, "timeout": 60}, False)["changed"] is False
    assert publish({**params, "timeout": 60}, True)["changed"] is False
    assert project.read("html", "index.html") == "page\n"
    # A build that is run by hand, as the user it runs as, has to be able to begin by emptying the folder.
    made = json.loads(run(["docker", "volume", "inspect", f"{project.name}_html"]))[0]["Labels"]
    assert made["com.docker.compose.volume"] == "html" and made[LABEL] == project.name
    mount = f"{project.name}_html:/v"
    words = ["docker", "run", "--rm", "--user", "1000:1000", "-v", mount, IMAGE, "sh", "-c"]
    run([*words, "rm -r /v/.evenkeel /v/a /v/index.html"])
    assert publish({**params, "timeout": 60}, False)["files"] == 2
    assert project.containers() == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sh -c 'python manage.py migrate && python manage.py loaddata x'", "manage.py loaddata"),
        ("sleep 5", "is no job"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(project: Project, command: str, said: str) -> None:
    project.write(a={"command": command})
    with pytest.raises(BadInput, match=said):
        project(services=["a"])
    assert project.containers() == []
