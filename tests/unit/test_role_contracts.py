# SPDX-License-Identifier: GPL-3.0-or-later
"""Each role says once what it takes: argument_specs, defaults and README agree, and the README's example runs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.parent for path in (ROOT / "roles").glob("*/meta"))


def load_script() -> Any:
    """Import scripts/role_tables.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("role_tables", ROOT / "scripts/role_tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = load_script()


def defaults_of(role: Path) -> dict[str, Any]:
    found: dict[str, Any] = tables.load(role / "defaults/main.yml")
    return found


def example_of(role: Path) -> str:
    found = re.findall(r"^```yaml\n(.*?)^```", (role / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(found) == 1
    return str(found[0])


def by_name(role: Path) -> str:
    return role.name


OWNER = {name: role for role in ROLES for name in defaults_of(role)}


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_defaults_and_specs_name_the_same(role: Path) -> None:
    options, defaults = tables.options_of(role), defaults_of(role)
    assert set(defaults) - set(options) == set(), "defaults that the spec does not know"
    own = {n for n, o in options.items() if n.startswith(f"{role.name}_") and not o.get("required")}
    assert own - set(defaults) == set(), "options without a default"
    for name, option in options.items():
        if "default" in option and name in defaults:
            assert option["default"] == defaults[name], f"{name}: the spec says another default"


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_what_is_another_roles_is_the_same_there(role: Path) -> None:
    for name, option in tables.options_of(role).items():
        if not name.startswith(f"{role.name}_"):
            theirs = tables.options_of(OWNER[name])[name]
            assert {k: option.get(k) for k in ("type", "elements")} == {k: theirs.get(k) for k in ("type", "elements")}


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_the_readme_has_the_table_of_now(role: Path) -> None:
    text = (role / "README.md").read_text()
    assert text == tables.with_table(text, role), "run scripts/role_tables.py"
    assert text.startswith(f"# evenkeel.deploy.{role.name}\n")


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_the_example_says_what_there_is_and_all_that_is_needed(role: Path) -> None:
    (play,) = yaml.safe_load(example_of(role))
    (call,) = play["roles"]
    assert call.pop("role") == f"evenkeel.deploy.{role.name}"
    # Ansible refuses a role's own parameters that the role's spec does not know; variables may be another role's.
    assert set(call) - set(tables.options_of(role)) == set()
    call |= play.get("vars", {})
    known = {**tables.options_of(role), **tables.options_of(ROOT / "roles/app")}
    assert set(call) - set(known) == set()
    mine = defaults_of(role) if role.name == "verify" else {**defaults_of(ROOT / "roles/app"), **defaults_of(role)}
    options = tables.options_of(role) if role.name == "verify" else known
    needed = {n for n, o in options.items() if tables.is_needed(o, mine.get(n))}
    assert needed - set(call) == set()


def play(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "shop.example,", *arguments],
        cwd=ROOT, env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(folder), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_examples_are_playbooks(tmp_path: Path) -> None:
    paths = []
    for role in ROLES:
        paths.append(tmp_path / f"{role.name}.yml")
        paths[-1].write_text(example_of(role))
    done = play(tmp_path, "--syntax-check", *map(str, paths))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_of_app_runs_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "app.yml"
    path.write_text(example_of(ROOT / "roles/app"))
    local = ["--connection", "local", "-e", f"ansible_python_interpreter={sys.executable}", str(path)]
    done = play(tmp_path, *local)
    assert done.returncode == 0 and "failed=0" in done.stdout, done.stdout + done.stderr
    done = play(tmp_path, *local, "-e", "app_root=/srv/../etc")
    assert done.returncode == 2 and "Now: nothing was touched" in done.stdout


def set_twice(node: yaml.Node) -> list[str]:
    """Keys that a mapping takes over by ``<<`` and has itself: Ansible warns each user of them."""
    if not isinstance(node, yaml.MappingNode):
        return [key for child in getattr(node, "value", ()) if isinstance(child, yaml.Node) for key in set_twice(child)]
    merged = [key.value for name, value in node.value if name.value == "<<" for key, _value in value.value]
    found = [f"{node.start_mark.line + 1}: {name.value}" for name, _value in node.value if name.value in merged]
    return found + [key for _name, value in node.value for key in set_twice(value)]


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_no_task_sets_an_option_that_it_takes_over(role: Path) -> None:
    for path in sorted(role.glob("*/*.yml")):
        with path.open(encoding="utf-8") as stream:
            node = yaml.compose(stream)
        assert node is None or set_twice(node) == [], path.name
