# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of the code: a core without I/O, a shell without Ansible, files that a person reads in one go, tests on their own."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PLUGINS = TESTS.parent / "plugins"
PRODUCT = "ansible_collections.evenkeel.deploy"
#: The folders of tests that reach the product by its public names only.
PATCHES = {"setattr", "setitem", "delattr", "delitem"}
UTILS = PLUGINS / "module_utils"
# What the core may use of the standard library: nothing that looks at or touches the world.
PURE = {
    "__future__", "ast", "base64", "collections", "dataclasses", "difflib", "enum", "fnmatch", "functools", "hashlib", "hmac", "html",
    "ipaddress", "itertools", "json", "math", "posixpath", "re", "shlex", "string", "textwrap", "typing", "urllib.parse",
}  # fmt: skip
WORLDLY_NAMES = {"open", "input", "print", "__import__", "exec", "eval"}
# Files longer than 400 lines, each with why; an entry that is not needed any more fails as well.
LONG: dict[str, str] = {}


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, relative ones with their dots."""
    for node in ast.walk(tree_of(path)):
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
    names = {n.id for n in ast.walk(tree_of(path)) if isinstance(n, ast.Name)}
    assert not names & WORLDLY_NAMES


@pytest.mark.parametrize("path", files(UTILS), ids=id_of)
def test_nothing_below_the_modules_knows_ansible(path: Path) -> None:
    assert [m for m in imports(path) if m.split(".")[0] in ("ansible", "ansible_collections")] == []


def test_files_are_short() -> None:
    lengths = {id_of(p): len(p.read_text().splitlines()) for p in files(PLUGINS)}
    assert {name for name, length in lengths.items() if length > 400} == set(LONG)


# -- tests -------------------------------------------------------------------------------------------------


def imported_tests(tree: ast.Module) -> Iterator[str]:
    """Files of tests that are imported, by whichever form."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[-1].startswith("test_"))


def is_private(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last.startswith("_") and not last.startswith("__") and last != "_"


def private_uses(tree: ast.Module) -> Iterator[str]:
    """What is patched or assigned by a private name, and private names of the product that are used."""
    product: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PRODUCT):
            product.update(alias.asname or alias.name for alias in node.names)
            yield from (alias.name for alias in node.names if is_private(alias.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield from (name for name in given if called in PATCHES and is_private(name))
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            root: ast.expr = node.value
            own = isinstance(root, ast.Name) and root.id in ("self", "cls")
            while isinstance(root, ast.Attribute):
                root = root.value
            of_product = isinstance(root, ast.Name) and root.id in product
            if of_product or not (own or isinstance(node.ctx, ast.Load)):
                yield ast.unparse(node)


def test_no_test_imports_from_another() -> None:
    # Few import anything of such a name: the others need not be parsed.
    sources = [p for p in files(TESTS) if re.search(r"import\b.*test_|from\b.*test_", p.read_text())]
    found = {str(p.relative_to(TESTS)): list(imported_tests(tree_of(p))) for p in sources}
    assert {path: names for path, names in found.items() if names} == {}


def test_tests_use_public_names_of_the_product() -> None:
    found = {str(p.relative_to(TESTS)): sorted(set(private_uses(tree_of(p)))) for p in files(TESTS)}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import tests.unit.test_git",
        "from tests.unit import test_git",
        "from tests.unit.test_git import mirror",
        "from .test_git import mirror",
    ],
)
def test_an_import_from_another_test_is_seen(source: str) -> None:
    assert list(imported_tests(ast.parse(source)))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('monkeypatch.setattr(git, "_version", x)', ["_version"]),
        ('monkeypatch.setattr("a.b._version", x)', ["a.b._version"]),
        ('patch.delattr(git, "_version")', ["_version"]),
        ('setattr(git, "_version", x)', ["_version"]),
        ("git._version = x", ["git._version"]),
        ("made.view._handle += 1", ["made.view._handle"]),
        ("del git._version", ["git._version"]),
        (f"from {PRODUCT}.plugins import git\ngit._version()", ["git._version"]),
        (f"from {PRODUCT}.plugins.git import Git as G\nG._Part.read", ["G._Part"]),
        (f"from {PRODUCT}.plugins.git import _version", ["_version"]),
        ('monkeypatch.setattr(git, "version", x)\nself._made = 1\nsuper()._look()', []),
        ('monkeypatch.setattr(git, "__file__", x)\nmodel._meta.fields\ndict(_=1)', []),
    ],
)
def test_a_private_name_that_is_used_is_seen(source: str, found: list[str]) -> None:
    assert list(private_uses(ast.parse(source))) == found
