# SPDX-License-Identifier: GPL-3.0-or-later
"""Each role's argument_specs, defaults, README and reference agree, and the README's example runs."""

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

CALLS = "ansible_collections.evenkeel.deploy.plugins.module_utils.calls"
ROOT = Path(__file__).parents[3]
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


#: Roles that do not read the variables of role app.
ALONE = ("verify", "init")
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
def test_the_reference_has_the_table_of_now(role: Path) -> None:
    text = tables.page_of(role).read_text()
    assert text == tables.with_table(text, role), "run scripts/role_tables.py"
    readme = (role / "README.md").read_text()
    assert readme.startswith(f"# evenkeel.deploy.{role.name}\n")
    assert f"(../../docs/roles/{role.name}.md)" in readme, "no link to the reference"


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_the_readme_is_short_and_its_defaults_are_true(role: Path) -> None:
    text = (role / "README.md").read_text()
    assert len(text.splitlines()) <= 70
    options, defaults, app = tables.options_of(role), defaults_of(role), ROOT / "roles/app"
    known = {**tables.options_of(app), **options}
    mine = defaults if role.name in ALONE else {**defaults_of(app), **defaults}
    rows = [re.findall(r"^\| `(\w+)` \| (.*?) ?\| ", line) for line in text.splitlines()]
    variables = [row[0] for row in rows if row and row[0][0].startswith(tuple(f"{r.name}_" for r in ROLES))]
    assert 0 < len(variables) <= 8
    assert variables == [(name, tables.default_of(known[name], mine.get(name))) for name, _default in variables]


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
    mine = defaults_of(role) if role.name in ALONE else {**defaults_of(ROOT / "roles/app"), **defaults_of(role)}
    options = tables.options_of(role) if role.name in ALONE else known
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
    done = play(tmp_path, *local, "-e", "app_servces={}")
    assert done.returncode == 2 and "is called app_servces (app_services?)" in done.stdout
    done = play(tmp_path, *local, "-e", '{"app_servces": {}, "app_own_variables": ["app_servces"]}')
    assert done.returncode == 0, done.stdout + done.stderr


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


def imports_named_by_values(path: Path) -> list[str]:
    """Names of imports with an expression in them: they are read before there are values, and Ansible warns the user of each."""

    def walk(value: Any) -> list[str]:
        if isinstance(value, list):
            return [name for inner in value for name in walk(inner)]
        if not isinstance(value, dict):
            return []
        mine = str(value.get("name")) if any("import_" in key for key in value) else ""
        return ([mine] if "{{" in mine else []) + [name for inner in value.values() for name in walk(inner)]

    return walk(list(yaml.safe_load_all(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("role", ROLES, ids=by_name)
def test_the_name_of_an_import_needs_no_value(role: Path) -> None:
    assert [name for path in sorted(role.glob("tasks/*.yml")) for name in imports_named_by_values(path)] == []


# -- values that come as text ----------------------------------------------------------------------------------------

#: With ``-e name=value``, and from every survey of AWX, a value is text, and the text ``false`` is true to Jinja.
TYPES = {name: str(option["type"]) for role in ROLES for name, option in tables.options_of(role).items()}


def expressions_of(path: Path) -> list[str]:
    """Every expression of a file of tasks, variables or a template, without what stands in quotes there."""
    text = path.read_text()
    if path.suffix != ".yml":
        return re.findall(r"\{[{%](.*?)[%}]\}", text, re.DOTALL)
    found: list[str] = []

    def walk(value: Any, bare: bool = False) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, key in ("when", "until", "failed_when", "changed_when", "that"))
        elif isinstance(value, list):
            for inner in value:
                walk(inner, bare)
        elif isinstance(value, str):
            found.extend([value] if bare else re.findall(r"\{[{%](.*?)[%}]\}(?!\})", value, re.DOTALL))

    for document in yaml.safe_load_all(text):
        walk(document)
    return found


def unconverted(expression: str) -> list[str]:
    """The names of which an expression takes the value as it came, where text would mean something else."""
    plain = re.sub(r"'[^']*'", "''", " ".join(expression.split()))
    found = []
    for name, kind in TYPES.items():
        default = r"(?: \| default\([^()]*\))?"
        # What is handed on as it came is converted by whoever takes it: a module, or the role where it is used.
        if not re.search(rf"(?<![\w.]){name}(?!\w)", plain) or re.fullmatch(rf"{name}{default}(?: or omit)?", plain):
            continue
        if kind in ("bool", "int", "float"):
            every = len(re.findall(rf"(?<![\w.]){name}(?!\w)", plain))
            bad = every - len(re.findall(rf"(?<![\w.]){name}{default} \| {kind}(?!\w)", plain))
        else:
            # Whether there is one at all can be told of text too.
            taken = rf"\+ {name}|{name}{default} (?:\+|or \[|\| (?!default|flatten|length|from_yaml if {name}))"
            bad = kind == "list" and bool(re.search(taken, plain))
        found += [name] if bad else []
    return found


FILES = sorted(
    p
    for kind in ("tasks/*.yml", "vars/*.yml", "handlers/*.yml", "templates/*")
    for p in (ROOT / "roles").glob(f"*/{kind}")
)


@pytest.mark.parametrize("path", FILES, ids=lambda p: "-".join(p.relative_to(ROOT / "roles").parts))
def test_what_comes_as_text_is_converted_where_it_is_used(path: Path) -> None:
    found = {expression.strip(): names for expression in expressions_of(path) if (names := unconverted(expression))}
    assert not found, found


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("update_allow_downtime", []),
        ("update_allow_downtime and x", ["update_allow_downtime"]),
        ("not update_allow_downtime | bool", []),
        ("'update_allow_downtime=true'", []),
        ("update_allow_downtime | bool or (x and update_allow_downtime)", ["update_allow_downtime"]),
        ("backup_keep | default(7)", []),
        ("backup_keep > 3", ["backup_keep"]),
        ("backup_databases or ['']", ["backup_databases"]),
        ("[backup_databases] | flatten | join(',') | split(',')", []),
    ],
)
def test_the_rule_sees_what_text_would_change(expression: str, names: list[str]) -> None:
    assert unconverted(expression) == names


def test_every_module_that_asks_django_is_told_where_manage_py_is() -> None:
    asking = set(yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]["django"])
    names = [p.stem for p in (ROOT / "plugins/modules").glob("*.py") if p.stem != "call"]
    specs = {n: importlib.import_module(f"{CALLS}.{n}").SPEC for n in names}
    assert {n for n, spec in specs.items() if "manage_py" in spec} == asking
    told = [p.parts[-3] for p in (ROOT / "roles").glob("*/tasks/*.yml") if "app_manage_py" in p.read_text()]
    named = {
        p.parts[-3]
        for p in (ROOT / "roles").glob("*/tasks/*.yml")
        if any(f"evenkeel.deploy.{n}:" in p.read_text() for n in asking)
    }
    # Whoever works on the road of `operation` is told there.
    told += [
        p.parts[-3]
        for p in (ROOT / "roles").glob("*/tasks/*.yml")
        if "name: evenkeel.deploy.operation" in p.read_text()
    ]
    assert "operation" in told and named <= set(told)
