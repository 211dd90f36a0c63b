# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/versions.md says which versions are supported, and every file that holds one of them agrees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine import preflight
from tests.database.migrations.versions import VERSIONS

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted([*(ROOT / "plugins/modules").glob("*.py"), *(ROOT / "plugins/doc_fragments").glob("*.py")])


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def loaded(path: str) -> Any:
    return yaml.safe_load(text(path))


def found(pattern: str, written: str) -> str:
    """The one thing that a pattern finds."""
    matches = set(re.findall(pattern, written))
    assert len(matches) == 1, (pattern, matches)
    return str(matches.pop())


def supported(what: str, section: str) -> tuple[str, str]:
    """Lower and upper bound that the page names, the upper empty where there is none."""
    (part,) = (p for p in text("docs/versions.md").split("\n## ") if p.startswith(section))
    (row,) = (line.split("|") for line in part.splitlines() if line.startswith(f"| {what} |"))
    return found(r"^\s*([\d.]+) or newer", row[2]), "".join(re.findall(r"before ([\d.]+)", row[2]))


CONTROLLER, SERVERS, APPS = "The machine", "Servers", "Apps"


def test_ansible_core() -> None:
    lower, upper = supported("ansible-core", CONTROLLER)
    assert loaded("meta/runtime.yml")["requires_ansible"] == f">={lower}.0"
    environment = loaded("execution-environment.yml")["dependencies"]
    assert environment["ansible_core"]["package_pip"] == f"ansible-core>={lower},<{upper}"
    # Version 10 of the package ansible has core 2.17, and so on.
    first, last = re.findall(r"^ansible>=(\d+),<(\d+)$", text("requirements-dev.txt"), re.MULTILINE)[0]
    assert (lower, upper) == (f"2.{int(first) + 7}", f"2.{int(last) + 7}")


def test_collections() -> None:
    lower, upper = supported("community.docker", CONTROLLER)
    wanted = f">={lower},<{upper}"
    assert loaded("galaxy.yml")["dependencies"] == {"community.docker": wanted}
    assert loaded("requirements.yml")["collections"] == [{"name": "community.docker", "version": wanted}]


def test_python_of_both_machines() -> None:
    lower, _none = supported("Python", CONTROLLER)
    assert found(r"Python >= (\S+) is needed here", text("scripts/setup.sh")) == lower
    assert found(r"sys\.version_info < \((\d+, \d+)\)", text("scripts/setup.sh")) == lower.replace(".", ", ")
    assert found(r"make and Python (\S+) or newer", text("README.md")) == lower
    target, _none = supported("Python", SERVERS)
    tools = text("pyproject.toml")
    assert found(r'target-version = "(\S+)"', tools) == f"py{target.replace('.', '')}"
    assert found(r'python_version = "(\S+)"', tools) == target
    runtime = text("plugins/modules/call.py")
    assert found(r"sys\.version_info < \((\d+, \d+)\)", runtime) == target.replace(".", ", ")


def test_engine_and_compose() -> None:
    engine, compose = supported("Docker Engine", SERVERS)[0], supported("Docker Compose", SERVERS)[0]
    assert preflight.version_of(engine) == preflight.ENGINE_NEEDED
    assert preflight.version_of(compose) == preflight.COMPOSE_NEEDED
    assert found(r"compose_wanted=(\S+)", text("scripts/engine.sh")) == f"{compose}.0"
    assert found(r"Compose (\S+) or newer", text("README.md")) == compose


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_what_modules_say_they_require(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    for what, pattern in (
        ("Docker Engine", r"Docker Engine ([\d.]+)"),
        ("Docker Compose", r"Compose ([\d.]+\d)"),
        ("Docker SDK for Python", r"Docker SDK for Python ([\d.]+)"),
    ):
        assert set(re.findall(pattern, written)) <= {supported(what, SERVERS)[0]}, what


def test_apps() -> None:
    django, _none = supported("Django", APPS)
    assert found(r"Django (\S+) or newer", text("README.md")) == django == min(VERSIONS)
    hotfix = text("plugins/modules/hotfix_database.py")
    assert found(r"PostgreSQL (\S+) or newer", hotfix) == supported("PostgreSQL", APPS)[0]


def test_the_execution_environment_contains_this_collection() -> None:
    galaxy, environment = loaded("galaxy.yml"), loaded("execution-environment.yml")
    built = f"{galaxy['namespace']}-{galaxy['name']}-{galaxy['version']}.tar.gz"
    assert environment["additional_build_files"] == [{"src": built, "dest": "collections"}]
    assert environment["dependencies"]["galaxy"]["collections"] == [{"name": f"collections/{built}", "type": "file"}]
