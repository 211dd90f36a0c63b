# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of the code: a core without I/O, a shell without Ansible, files that a person reads in one go, tests on their own."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
PLUGINS = TESTS.parent / "plugins"
PRODUCT = "ansible_collections.evenkeel.deploy"
#: The folders of tests that reach the product by its public names only.
PATCHES = {"setattr", "setitem", "delattr", "delitem"}
UTILS = PLUGINS / "module_utils"
sys.path.insert(0, str(TESTS.parent / "scripts"))
rooms = importlib.import_module("rooms")
# What the core may use of the standard library: nothing that looks at or touches the world.
PURE = {
    "__future__", "ast", "base64", "collections", "dataclasses", "difflib", "enum", "fnmatch", "functools", "hashlib", "hmac", "html",
    "ipaddress", "itertools", "json", "math", "posixpath", "re", "shlex", "string", "textwrap", "typing", "urllib.parse",
}  # fmt: skip
WORLDLY_NAMES = {"open", "input", "print", "__import__", "exec", "eval"}
# Files longer than 600 lines, each with why; an entry that is not needed any more fails as well.
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


#: Files that lie at the top of a room: those in ``host/`` touch the machine, those in ``inside/`` run in an app's containers.
PURE_FILES = [p for p in files(UTILS) if p.parent.parent == UTILS and p.parent.name != "calls"]


@pytest.mark.parametrize("path", PURE_FILES, ids=id_of)
def test_the_top_of_a_room_touches_nothing(path: Path) -> None:
    own = {"/".join(target) for target in rooms.imported(path)}
    assert [target for target in own if UTILS / f"{target}.py" not in PURE_FILES] == []
    foreign = [m for m in imports(path) if not m.startswith(".") and m not in PURE]
    assert [m for m in foreign if m.split(".")[0] not in PURE - {"urllib.parse"}] == []
    names = {n.id for n in ast.walk(tree_of(path)) if isinstance(n, ast.Name)}
    assert not names & WORLDLY_NAMES


def test_code_lies_in_rooms() -> None:
    shapes = {
        (len(parts), parts[1] if len(parts) == 3 else "")
        for parts in (p.relative_to(UTILS).parts for p in files(UTILS))
    }
    assert shapes <= {(2, ""), (3, "host"), (3, "inside")}


@pytest.mark.parametrize("path", files(UTILS / "calls"), ids=id_of)
def test_a_call_is_of_a_module_and_imports_no_other(path: Path) -> None:
    assert (PLUGINS / "modules" / path.name).is_file()
    assert [target for target in rooms.imported(path) if target[0] == "calls"] == []


#: Functions of rooms that read options which several modules share, and those that run a call as it is.
READERS = re.compile(r"[a-z_]+_options|given_files|read|execute")


def test_parameters_are_read_once_by_the_call() -> None:
    found = [
        f"{id_of(path)}: {node.name}"
        for path in files(UTILS)
        if path.parent.name != "calls"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef)
        and any(argument.arg == "params" for argument in [*node.args.args, *node.args.kwonlyargs])
        and not READERS.fullmatch(node.name)
    ]
    assert found == []


def test_imports_between_rooms_lead_down() -> None:
    assert rooms.not_downward(rooms.arrows()) == []


def test_the_picture_of_the_rooms_is_that_of_now() -> None:
    text = rooms.PAGE.read_text(encoding="utf-8")
    assert text == rooms.with_picture(text), "run scripts/rooms.py"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from ..hotfix.host import ledger", "engine imports from hotfix"),
        ("from ..git.host.git import Git\nfrom ..cellar import wine", "cellar is on no floor"),
        ("def late() -> None:\n    from ..nginx import syntax", "engine imports from nginx"),
    ],
)
def test_an_arrow_that_leads_up_is_seen(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine/found.py").write_text(source)
    assert said in rooms.not_downward(rooms.arrows(tmp_path))


@pytest.mark.parametrize("path", files(UTILS), ids=id_of)
def test_nothing_below_the_modules_knows_ansible(path: Path) -> None:
    assert [m for m in imports(path) if m.split(".")[0] in ("ansible", "ansible_collections")] == []


#: Files of the shell that write by path, each with why nobody but root can put a link there, or why it does not matter.
BY_PATH = {
    "base/host/directory_handles.py": "the one place; what it calls has a handle",
    "build/host/context.py": "the copy that is built from, in the private state folder",
    "base/host/freezer.py": "the kernel's own cgroup files",
    "base/host/processor_share.py": "the kernel's own cgroup files",
    "build/host/build.py": "the kernel's own cgroup files, and a log in the private state folder",
    "engine/host/staying.py": "the input of a process of the same user's, as the kernel shows it",
    "guard/host/code.py": "/usr/local/lib/evenkeel, which only root can write to",
}
_BY_PATH = re.compile(
    r"os\.(l?chown|l?chmod|makedirs)|shutil\.(copy\w*|move|chown)|.*\.(write_text|write_bytes|touch|chmod)|(?!os\.).*\.mkdir"
)


def writes_by_path(source: str) -> list[str]:
    """Calls that write to, make or give away what a path leads to by then."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            modes = (
                [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
                if name in ("open", "io.open")
                else []
            )
            if _BY_PATH.fullmatch(name) or any(
                not isinstance(m, ast.Constant) or set(str(m.value)) & set("wax") for m in modes
            ):
                found.append(f"{node.lineno}: {name}")
    return found


def test_root_writes_by_handles() -> None:
    found = {
        str(p.relative_to(UTILS)): writes_by_path(p.read_text()) for p in files(UTILS) if p.parent.name != "inside"
    }
    assert {name: calls for name, calls in found.items() if calls and name not in BY_PATH} == {}, (
        "use base/host/directory_handles.py: an app's owner, or its container, can exchange a folder for a link between two calls"
    )
    assert {name for name, calls in found.items() if calls} == set(BY_PATH)


@pytest.mark.parametrize(
    "call",
    [
        "os.chown(p, 0, 0)", "os.chmod(p, 0)", "os.makedirs(p)", "shutil.copy2(a, b)", "shutil.copytree(a, b)",
        "shutil.move(a, b)", "open(p, 'w')", "open(p, mode='ab')", "open(p, how)", "Path(p).write_text('')",
        "Path(p).mkdir()", "x.write_bytes(b'')",
    ],
)  # fmt: skip
def test_each_way_to_write_by_path_is_seen(call: str) -> None:
    assert writes_by_path(call)


@pytest.mark.parametrize(
    "call", ["open(p)", "open(p, 'rb')", "open(p, encoding='utf-8')", "os.fchmod(h, 0)", "os.mkdir(p, dir_fd=h)"]
)
def test_reading_and_handles_are_no_way_to_write_by_path(call: str) -> None:
    assert writes_by_path(call) == []


def test_files_are_short() -> None:
    lengths = {id_of(p): len(p.read_text().splitlines()) for p in files(PLUGINS)}
    assert {name for name, length in lengths.items() if length > 600} == set(LONG)


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
