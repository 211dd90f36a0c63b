# SPDX-License-Identifier: GPL-3.0-or-later
"""A build section as a command line: all of it or a refusal, and no secret in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.command_line import (
    BadBuild,
    Build,
    build_command,
    memory_limit,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.host import build as build_build
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.options import ProjectOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions

ALWAYS = ("docker", "buildx", "build", "--load", "--progress", "plain", "--tag", "shop:1")


def middle(section: Mapping[str, Any], **how: Any) -> list[str]:
    """What the section adds to the command line, the context left out."""
    argv = build_command({"context": "/src", **section}, "shop:1", **how).argv
    assert argv[: len(ALWAYS)] == ALWAYS and argv[-1] == "/src"
    return list(argv[len(ALWAYS) : -1])


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, []),
        ({"dockerfile": "Dockerfile"}, ["--file", "/src/Dockerfile"]),
        ({"dockerfile": "deploy/Dockerfile.prod"}, ["--file", "/src/deploy/Dockerfile.prod"]),
        ({"dockerfile": "/other/Dockerfile"}, ["--file", "/other/Dockerfile"]),
        ({"target": "web"}, ["--target", "web"]),
        ({"labels": {"b": "2", "a": "1"}}, ["--label", "a=1", "--label", "b=2"]),
        ({"labels": {"a": "cost: 5$$"}}, ["--label", "a=cost: 5$"]),
        ({"extra_hosts": ["db=10.0.0.1", "v6=::1"]}, ["--add-host", "db:10.0.0.1", "--add-host", "v6:::1"]),
        ({"ulimits": {"nofile": 3, "nproc": {"soft": 1, "hard": 2}}}, ["--ulimit", "nofile=3", "--ulimit", "nproc=1:2"]),
        ({"cache_from": ["a", "b"], "tags": ["shop:x"]}, ["--cache-from", "a", "--cache-from", "b", "--tag", "shop:x"]),
        ({"additional_contexts": {"lib": "/lib"}}, ["--build-context", "lib=/lib"]),
        ({"network": "host", "shm_size": "67108864"}, ["--network", "host", "--shm-size", "67108864"]),
        ({"ssh": ["default"], "platforms": ["linux/arm64", "linux/amd64"]},
         ["--ssh", "default", "--platform", "linux/arm64,linux/amd64"]),
        ({"no_cache": True, "pull": True}, ["--no-cache", "--pull"]),
        ({"no_cache": False, "pull": False}, []),
    ],
)  # fmt: skip
def test_a_key(section: dict[str, Any], words: list[str]) -> None:
    assert middle(section) == words


def test_limits_and_a_fresh_build() -> None:
    assert middle({}, cgroup_parent="/evenkeel-build", fresh=True) == ["--no-cache", "--cgroup-parent", "/evenkeel-build"]  # fmt: skip


def test_a_context_elsewhere_has_its_own_dockerfile() -> None:
    build = build_command({"context": "https://git.example/x.git#main", "dockerfile": "Dockerfile"}, "shop:1")
    assert build.argv[-3:] == ("--file", "Dockerfile", "https://git.example/x.git#main")


def test_values_of_arguments_go_into_the_environment_only() -> None:
    build = build_command({"context": "/src", "args": {"TOKEN": "pa$$w=rd", "N": 3, "FROM_HERE": None}}, "shop:1")
    assert build.argv[-7:-1] == ("--build-arg", "FROM_HERE", "--build-arg", "N", "--build-arg", "TOKEN")
    assert dict(build.environment) == {"TOKEN": "pa$w=rd", "N": "3"}
    assert "pa" not in " ".join(build.argv)


def test_secrets() -> None:
    secrets = {"s": {"file": "/run/s"}, "e": {"environment": "E"}, "x": {"external": True}}
    words = middle({"secrets": [{"source": "s"}, {"source": "e", "target": "t"}]}, secrets=secrets)
    assert words == ["--secret", "id=s,src=/run/s", "--secret", "id=t,env=E"]
    for name in ("x", "unknown"):
        with pytest.raises(BadBuild, match=f"the build secret {name} has neither file nor environment"):
            middle({"secrets": [{"source": name}]}, secrets=secrets)


def test_an_inline_dockerfile_comes_by_stdin() -> None:
    build = build_command({"context": "/src", "dockerfile_inline": "FROM x\nRUN echo $$HOME\n"}, "shop:1")
    assert build.argv[-3:-1] == ("--file", "-")
    assert build.stdin == "FROM x\nRUN echo $HOME\n"


def test_what_is_not_known_is_refused_and_never_dropped() -> None:
    with pytest.raises(BadBuild, match=r"^build\.privileged is not supported; supported are additional_contexts, args"):
        middle({"privileged": True})


@pytest.mark.parametrize(
    ("available", "asked", "limit"),
    [(10_000_000_000, 0, 9_000_000_000), (10_000_000_000, 5, 5), (0, 0, 2**28), (2**28, 0, 2**28)],
)
def test_memory(available: int, asked: int, limit: int) -> None:
    assert memory_limit(available, asked) == limit


# -- running one ------------------------------------------------------------------------------------------

BUILDX = """#!/bin/sh
env >"$(dirname "$0")/environment"
cat >"$(dirname "$0")/stdin"
echo "step 1"
echo "ERROR: token is hunter22, that is wrong" >&2
exit ${STATUS:-0}
"""


@pytest.fixture
def buildx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a docker command that notes how it was called."""
    (tmp_path / "docker").write_text(BUILDX)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_it_is_built_by_the_engine_that_is_asked_elsewhere(buildx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_CONTEXT", "BUILDX_BUILDER"):
        monkeypatch.setenv(name, "other")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    log = buildx / "log"
    build_build.run_build(Build((*ALWAYS, "/src"), (("TOKEN", "hunter22"),), "FROM x\n"), str(log))
    environment = (buildx / "environment").read_text().splitlines()
    assert "TOKEN=hunter22" in environment and "DOCKER_HOST=unix:///var/run/docker.sock" in environment
    assert not [line for line in environment if line.endswith("=other")]
    assert (buildx / "stdin").read_text() == "FROM x\n"
    assert (log.read_text()[:6], stat.S_IMODE(log.stat().st_mode)) == ("step 1", 0o600)


def test_a_failed_build_shows_its_error_and_no_value(buildx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS", "1")
    with pytest.raises(BadInput) as refusal:
        build_build.run_build(Build((*ALWAYS, "/src"), (("TOKEN", "hunter22"),), ""), str(buildx / "log"))
    assert str(refusal.value) == "the image shop:1 does not build:\n  ERROR: token is <TOKEN>, that is wrong"
    assert refusal.value.advice == f"the whole output is in {buildx / 'log'} on this host"


def test_without_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="docker buildx could not be started: No such file or directory"):
        build_build.run_build(Build((*ALWAYS, "/src"), (), ""), str(tmp_path / "log"))


class FakeEngine:
    """Knows some images."""

    def __init__(self, *images: str) -> None:
        self.images = images

    def image(self, name: str) -> dict[str, str]:
        return {"Id": f"sha256:{name}"} if name in self.images else {}

    def containers(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        assert labels == {"com.docker.compose.project": "shop", "com.docker.compose.oneoff": "False"}
        states = [("api", "running"), ("api", "restarting"), ("front", "exited")]
        return [{"Config": {"Labels": {"com.docker.compose.service": n}}, "State": {"Status": s}} for n, s in states]


PROJECT = {
    "name": "shop",
    "services": {
        "api": {"image": "shop:1", "build": {"context": "/src"}},
        "celery": {"image": "shop:1", "build": {"context": "/src"}},
        "front": {"image": "front:1", "build": {"context": "/front"}},
        "db": {"image": "postgres:17"},
    },
}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images that were really built, none of them by Docker."""
    images: list[str] = []
    monkeypatch.setattr(build_build, "limit_builds", lambda _engine, _memory: "/group")
    monkeypatch.setattr(build_build, "run_build", lambda build, _log, _progress: images.append(build.argv[7]))
    return images


def call(params: dict[str, Any], logs: str, *images: str, project: Mapping[str, Any] | None = None) -> dict[str, Any]:
    request = build_build.Request(ProjectOptions(str(params.pop("project_src", "/srv"))), LockOptions(), **params)
    return build_build.build_missing(request, FakeEngine(*images), project or PROJECT, logs)  # type: ignore[arg-type]


def test_only_what_is_missing_is_built_and_each_image_once(built: list[str]) -> None:
    result = call({}, "/logs")
    assert built == result["built"] == ["front:1", "shop:1"] and result["changed"]
    result = call({}, "/logs", "shop:1", "front:1", "postgres:17")
    assert (result["changed"], result["built"], len(built)) == (False, [], 2)
    assert result["images"] == {"shop:1": "sha256:shop:1", "front:1": "sha256:front:1"}
    assert result["containers"] == {"api": ["running", "restarting"], "front": ["exited"]}
    call({"rebuild": True}, "/logs", "shop:1", "front:1")
    assert built[2:] == ["front:1", "shop:1"]


def test_check_mode_says_what_would_be_built(built: list[str]) -> None:
    result = call({}, "", "front:1")
    assert (result["changed"], result["built"], built) == (True, ["shop:1"], [])


def test_a_section_that_cannot_be_built_is_refused_before_another_is(built: list[str]) -> None:
    project = {"services": {"a": {"image": "a:1", "build": {"context": "/x"}},
                            "b": {"image": "b:1", "build": {"context": "/x", "isolation": "y"}}}}  # fmt: skip
    with pytest.raises(BadInput, match=r"^b:1: build\.isolation is not supported"):
        call({}, "/logs", project=project)
    assert built == []


def test_nothing_is_built_for_going_back_and_what_is_gone_comes_from_the_archive(
    built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"shop:1": {"image": "sha256:a"}, "postgres:17": {"image": "sha256:p"}}
    asked: list[Any] = []

    def in_archive(tree: str, names: list[str]) -> dict[str, Any]:
        asked.append((tree, names))
        return {name: known[name] for name in names if name in known}

    monkeypatch.setattr(build_build, "in_archive", in_archive)
    params = {"build": "never", "project_src": "/srv/r"}
    with pytest.raises(BadInput, match="front:1 is not on this host any more, in no archive") as error:
        call(params, "", "postgres:17")
    assert "update_version" in error.value.advice and asked == [("/srv/r", ["front:1", "shop:1"])]
    # To look loads nothing, and says what it would be.
    result = call(params, "", "front:1")
    assert (result["changed"], result["loaded"], result["built"]) == (True, ["postgres:17", "shop:1"], ["shop:1"])
    asked.clear()
    result = call(params, "", "front:1", "shop:1", "postgres:17")
    assert (result["changed"], result["loaded"], asked, built) == (False, [], [], [])
