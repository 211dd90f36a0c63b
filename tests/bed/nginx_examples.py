# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in the documentation of ``nginx_reload``, as tasks of a playbook that is run."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.bed.shop import ROOT

MODULE = "evenkeel.deploy.nginx_reload"


def examples() -> list[dict[str, Any]]:
    """All of them, in the order in which they stand there."""
    tree = ast.parse((ROOT / "plugins/modules/nginx_reload.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXAMPLES":
            found: list[dict[str, Any]] = yaml.safe_load(ast.literal_eval(node.value))
            return found
    raise ValueError("the module has no EXAMPLES")


def adapted(names: Sequence[str], arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Some of them by their names, with the arguments that they have given the bed's values; none is added."""
    tasks = [next(task for task in examples() if task["name"] == name) for name in names]
    for task in tasks:
        task[MODULE] = {name: arguments.get(name, value) for name, value in task[MODULE].items()}
    return tasks


def play(
    folder: Path,
    tasks: Sequence[Mapping[str, Any]],
    arguments: Sequence[str] = (),
    state_dir: str = "",
    variables: Mapping[str, Any] | None = None,
) -> str:
    """Run tasks by ``ansible-playbook`` from a folder with their files and templates; what it printed."""
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **(variables or {})}
    whole: dict[str, Any] = {"hosts": "all", "gather_facts": False, "tasks": list(tasks)}
    if state_dir:
        whole["module_defaults"] = {"group/evenkeel.deploy.all": {"state_dir": state_dir}}
    book, inventory = folder / "play.yml", folder / "inventory.json"
    book.write_text(json.dumps([whole]), encoding="utf-8")
    inventory.write_text(json.dumps({"all": {"hosts": {"server": host}}}), encoding="utf-8")
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), str(book), "-i", str(inventory), *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output
