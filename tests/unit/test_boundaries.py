# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of the code: a core without I/O, a shell without Ansible, files that a person reads in one go."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
UTILS = PLUGINS / "module_utils"
# What the core may use of the standard library: nothing that looks at or touches the world.
PURE = {
    "__future__", "ast", "base64", "collections", "dataclasses", "difflib", "enum", "fnmatch", "functools", "hashlib", "hmac",
    "ipaddress", "itertools", "json", "math", "posixpath", "re", "shlex", "string", "textwrap", "typing", "urllib.parse",
}  # fmt: skip
WORLDLY_NAMES = {"open", "input", "print", "__import__", "exec", "eval"}
# Files longer than 400 lines, each with why; an entry that is not needed any more fails as well.
LONG: dict[str, str] = {}


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, relative ones with their dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def id_of(path: Path) -> str:
    return str(path.relative_to(PLUGINS))


@pytest.mark.parametrize("path", files(UTILS / "decide"), ids=id_of)
def test_the_core_touches_nothing(path: Path) -> None:
    foreign = [m for m in imports(path) if m not in PURE and m.split(".")[0] not in PURE - {"urllib.parse"}]
    # Its neighbours are pure as well; two dots would lead out of the core.
    assert [m for m in foreign if not m.startswith(".") or m.startswith("..")] == []
    names = {n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
    assert not names & WORLDLY_NAMES


@pytest.mark.parametrize("path", files(UTILS), ids=id_of)
def test_nothing_below_the_modules_knows_ansible(path: Path) -> None:
    assert [m for m in imports(path) if m.split(".")[0] in ("ansible", "ansible_collections")] == []


def test_files_are_short() -> None:
    lengths = {id_of(p): len(p.read_text().splitlines()) for p in files(PLUGINS)}
    assert {name for name, length in lengths.items() if length > 400} == set(LONG)
