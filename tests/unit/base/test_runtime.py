# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module brings to a target, what is believed there, and what is sent; a target is a folder and a process of its own."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants
from ansible.executor import module_common
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processor_share, runtime
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.runtime import (
    ABANDONED,
    CARRIER,
    KEPT,
    MISSING,
    SUFFIX,
    WANTED,
    is_own,
    removable,
)
from ansible_collections.evenkeel.deploy.plugins.modules import call
from ansible_collections.evenkeel.deploy.plugins.modules.call import SYSTEM, folders, is_trusted
from ansible_collections.evenkeel.deploy.plugins.plugin_utils import runtime as controller

PLUGINS = Path(__file__).parents[3] / "plugins"
UTILS = PLUGINS / "module_utils"
#: All but the one that runs the code of any.
MODULES = sorted(path for path in (PLUGINS / "modules").glob("*.py") if path.stem != "call")
PREFIX = "ansible_collections.evenkeel.deploy.plugins.module_utils."
ME, SOMEBODY = 1000, 1001
TEXT = (PLUGINS / "modules/call.py").read_text(encoding="utf-8")
#: Bytes that are sent for each module besides its arguments.
LARGEST = 14 * 1024

# -- what is decided ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "mode", "trusted"),
    [
        (0, 0o40755, True),
        (ME, 0o40700, True),
        (ME, 0o100644, True),
        (SOMEBODY, 0o100600, False),
        (ME, 0o100664, False),
        (0, 0o100646, False),
        (0, 0o41777, False),
    ],
)
def test_only_what_nobody_else_could_write_is_trusted(owner: int, mode: int, trusted: bool) -> None:
    assert is_trusted(ME, owner, mode) is trusted


def test_root_trusts_nobody_but_root() -> None:
    assert is_trusted(0, 0, 0o100644)
    assert not is_trusted(0, ME, 0o100644)


@pytest.mark.parametrize("home", ["", "/", "relative"])
def test_a_user_without_a_home_has_the_folder_of_root_only(home: str) -> None:
    assert folders(home) == (SYSTEM,)
    assert folders("/home/anna") == (SYSTEM, "/home/anna/.cache/evenkeel")


def test_the_newest_are_kept_and_the_one_that_was_just_written() -> None:
    files = {f"{n}.runtime": float(n) for n in range(8)}
    gone = removable({**files, "note": 0.0}, "0.runtime", now=9.0)
    assert sorted(set(files) - set(gone)) == ["0.runtime", "5.runtime", "6.runtime", "7.runtime"]
    assert len(files) - len(gone) == KEPT
    assert "note" not in gone


def test_what_a_killed_process_left_goes_and_what_is_being_written_stays() -> None:
    now = 2 * ABANDONED
    files = {"old.part": 0.0, "new.part": now - 1, "a.waiting": 0.0, "b.waiting.17": 0.0, "c.waiting": now - 1}
    assert removable(files, "a.runtime", now) == ["a.waiting", "b.waiting.17", "old.part"]


# -- what a module brings ----------------------------------------------------------------------------------


def test_what_travels_for_every_module_is_small() -> None:
    assert len(TEXT.encode()) <= LARGEST


def test_ansible_only_puts_arguments_into_it() -> None:
    # By what Ansible itself looks for, before it packs a module with all that it imports.
    assert module_common.NEW_STYLE_PYTHON_MODULE_RE.search(TEXT.encode()) is None
    assert TEXT.count(module_common.REPLACER_JSONARGS.decode()) == 1


@given(st.dictionaries(st.text("\"\\\n'x"), st.recursive(st.text("\"\\\n'x"), st.lists, max_leaves=5)))
def test_whatever_the_arguments_they_do_not_end_the_text_that_they_are_put_into(arguments: dict[str, Any]) -> None:
    text = f'r"""{json.dumps(arguments)}"""'
    assert json.loads(ast.literal_eval(text)) == arguments


def test_both_sides_call_things_the_same() -> None:
    assert (call.WANTED, call.MISSING, call.SUFFIX) == (WANTED, MISSING, SUFFIX)
    assert call.__name__.rpartition(".")[2] == CARRIER
    assert f"{call.PACKAGE}." == PREFIX


def test_what_is_installed_as_the_code_of_this_collection_has_nothing_of_ansibles() -> None:
    names = [name for name, _text in json.loads(controller.sources())]
    files = {".".join(path.relative_to(UTILS).with_suffix("").parts) for path in UTILS.rglob("*.py")}
    assert {name for name in names if is_own(name)} == files
    assert {"call", "ansible.__init__", "ansible.module_utils.basic"} <= set(names) - files


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_a_module_runs_its_own_call_and_has_an_action_plugin_that_sends_it(module: Path) -> None:
    calls = [n for n in ast.walk(ast.parse(module.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
    (run,) = [call for call in calls if ast.unparse(call.func) == "runtime.run"]
    assert [ast.unparse(argument) for argument in run.args] == ["AnsibleModule", repr(module.stem)]
    assert (UTILS / "calls" / module.name).is_file()
    assert (PLUGINS / "action" / module.name).is_file()


# -- a target ----------------------------------------------------------------------------------------------

_PROGRAM = """
import concurrent.futures, inspect, json, sys
sys.version_info = {python} or sys.version_info
known = {{}}
exec(open({text!r}).read(), known)
known["folders"] = lambda home: tuple(json.loads(sys.argv[1]))
known["provide"](*sys.argv[2:])
from {package}.base.host import runtime
class Module:
    params, check_mode, warnings = {{}}, False, []
    def warn(self, text): self.warnings.append(text)
    def exit_json(self, **result): print(json.dumps({{**result, "warnings": self.warnings}}))
    fail_json = exit_json
(lease, script) = runtime.load("operation.lease", "celery.inside.worker")
(text,) = runtime.load("engine.host.app_script")
import ansible.module_utils.basic as basic
sys.setswitchinterval(1e-6)
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    scripts = {{*pool.map(lambda _number: text.as_text([lease, script], []), range(64))}}
found = {{"scripts": len(scripts), "file": lease.__file__, "sources": len(inspect.getsource(script)),
    "script": len(text.as_text([lease], [])), "basic": basic.__file__}}
runtime.finish(Module(), lambda params, check: found)
"""


class Target:
    """A process that has what Ansible sends for a module and nothing else, and two folders for code: the system's and a user's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.system, self.user = folder / "var/evenkeel", folder / "home/evenkeel"
        self.system.parent.mkdir()

    def run(self, sent: Path | None = None, digest: str = "", python: tuple[int, ...] = ()) -> dict[str, Any]:
        """What a module of Ansible's would answer, by a Python that calls itself this version."""
        program = _PROGRAM.format(package=PREFIX.rstrip("."), python=python, text=str(PLUGINS / "modules/call.py"))
        places = json.dumps([str(self.system), str(self.user)])
        words = [sys.executable, "-B", "-c", program, places, digest, str(sent or "")]
        done = subprocess.run(words, env={}, capture_output=True, text=True, check=False, timeout=60)
        assert done.stdout.startswith("{"), done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def files(self) -> list[Path]:
        return sorted(path for path in (*self.system.glob("*"), *self.user.glob("*")))


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What the controller sends, by its own code, and its digest."""
    patch = pytest.MonkeyPatch()
    patch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path_factory.mktemp("controller")))
    path = Path(controller.packed())
    patch.undo()
    return path, controller.digest()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to another user")


def test_what_is_missing_is_said_and_what_was_sent_is_kept(target: Target, code: tuple[Path, str]) -> None:
    sent, digest = code
    assert target.run(digest=digest)[MISSING] is True
    first = target.run(sent, digest)
    assert first["warnings"] == []
    (kept,) = target.files()
    assert first["file"].startswith(f"{kept}/operation/")
    assert kept.stat().st_mode & 0o777 == 0o644
    again = target.run(digest=digest)
    assert again == first
    # Several threads of one module ask for scripts at once.
    assert again["sources"] > 1000 and again["script"] > 1000 and again["scripts"] == 1
    # Of what is installed there, nothing is taken for Ansible's or ours.
    assert again["basic"] == f"{kept}/ansible/module_utils/basic.py"


def test_without_the_action_plugin_it_says_what_to_do(tmp_path: Path) -> None:
    """What Ansible packs where another plugin runs one of these modules by itself."""
    for name in ("base/host/runtime.py", "base/host/waiting_process.py", "base/runtime.py"):
        path = tmp_path.joinpath(*PREFIX.rstrip(".").split(".")) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((UTILS / name).read_text(encoding="utf-8"), encoding="utf-8")
    program = f"from {PREFIX}base.host import runtime; runtime.run(None, 'deploy_lock')"
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    answer = json.loads(done.stdout)
    assert answer["failed"] is True
    assert "by its full name" in answer["msg"]


def test_a_python_that_is_too_old_is_named(target: Target, code: tuple[Path, str]) -> None:
    assert (
        f"need Python 3.9 or newer on the target, and {sys.executable} is 3.8" in target.run(*code, (3, 8, 18))["msg"]
    )
    assert target.files() == []


def test_a_newer_version_is_not_taken_for_the_older(target: Target, code: tuple[Path, str]) -> None:
    sent, digest = code
    target.run(sent, digest)
    other = f"{digest[:32]}{'0' * 32}"
    assert target.run(digest=other)[MISSING] is True


def test_other_code_than_announced_is_refused(target: Target, code: tuple[Path, str]) -> None:
    sent, _digest = code
    answer = target.run(sent, "0" * 64)
    assert "arrived damaged" in answer["msg"]
    assert target.files() == []


@pytest.mark.parametrize("damage", ["empty", "half", "a byte", "a folder", "a link"])
def test_what_is_damaged_is_sent_again(target: Target, code: tuple[Path, str], damage: str) -> None:
    sent, digest = code
    target.run(sent, digest)
    (kept,) = target.files()
    content = kept.read_bytes()
    if damage in ("a folder", "a link"):
        kept.unlink()
        other = target.folder / "other"
        other.write_bytes(content)
        kept.mkdir() if damage == "a folder" else kept.symlink_to(other)
    else:
        middle = len(content) // 2
        edited = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        kept.write_bytes({"empty": b"", "half": content[:middle], "a byte": edited}[damage])
    assert target.run(digest=digest)[MISSING] is True
    answer = target.run(sent, digest)
    assert answer["warnings"] == []
    assert "failed" not in target.run(digest=digest)


@needs_root
@pytest.mark.parametrize("change", ["chown", "chmod"])
def test_a_file_that_others_could_write_is_replaced(target: Target, code: tuple[Path, str], change: str) -> None:
    sent, digest = code
    target.run(sent, digest)
    (kept,) = target.files()
    os.chown(kept, 12345, 0) if change == "chown" else kept.chmod(0o666)
    assert target.run(digest=digest)[MISSING] is True
    target.run(sent, digest)
    assert (kept.stat().st_uid, kept.stat().st_mode & 0o777) == (0, 0o644)


@needs_root
@pytest.mark.parametrize("change", ["chown", "chmod", "link"])
def test_a_folder_that_others_could_write_is_left_alone(target: Target, code: tuple[Path, str], change: str) -> None:
    sent, digest = code
    target.run(sent, digest)
    if change == "link":
        target.system.rename(target.folder / "moved")
        target.system.symlink_to(target.folder / "moved")
    else:
        os.chown(target.system, 12345, 0) if change == "chown" else target.system.chmod(0o1777)
    assert target.run(digest=digest)[MISSING] is True
    # The next best folder is taken, without a word: nothing is slower there.
    answer = target.run(sent, digest)
    assert answer["file"].startswith(str(target.user)) and answer["warnings"] == []
    assert target.run(digest=digest)["file"] == answer["file"]


def test_where_it_cannot_be_kept_the_module_works_and_says_why(target: Target, code: tuple[Path, str]) -> None:
    sent, digest = code
    target.system.parent.rmdir()
    for folder in (target.system.parent, target.user.parent):
        folder.write_text("")
    answer = target.run(sent, digest)
    (warning,) = answer["warnings"]
    assert "cannot be kept" in warning and warning.count("Not a directory") == 2
    assert answer["sources"] > 1000 and answer["script"] > 1000


def test_several_at_once_leave_one_file(target: Target, code: tuple[Path, str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _n: target.run(*code), range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert len(target.files()) == 1


_FIRST = f"""
import json, sys
from {PREFIX}base.host import processor_share, runtime, waiting_process

HEAVY, seen = ["ansible.module_utils.basic", "{PREFIX}calls.deploy_info"], []

def note(*_all):
    seen.append([name in sys.modules for name in HEAVY])
    return "where it was"

processor_share.step_back = processor_share.step_forward = note
runtime.run = lambda _class, name, detach: print(json.dumps([name, seen]))
runtime.run_next(waiting_process.Next("deploy_info", {{}}, False))
"""


def test_what_the_first_module_imports_leaves_the_processors_to_those_who_are_served() -> None:
    path = os.pathsep.join([str(PLUGINS.parent / "collections"), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", _FIRST],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout or "[]") == ["deploy_info", [[False, False], [True, True]]], done.stderr


class Sent:
    """An importer of one module, which notes when that is compiled."""

    digest, modules = "d", {"one": ("one.py", b"")}

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def code(self, name: str) -> Any:
        self.told.append("compile")
        return compile("", name, "exec")

    def head(self, *_words: Any) -> bytes:
        return b""

    @contextlib.contextmanager
    def folder(self, place: str) -> Iterator[int]:
        descriptor = os.open(place, os.O_RDONLY)
        yield descriptor
        os.close(descriptor)


def test_what_was_sent_is_compiled_behind_those_who_are_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[str] = []
    monkeypatch.setattr(processor_share, "step_back", lambda: told.append("back") or "where it was")
    monkeypatch.setattr(processor_share, "step_forward", lambda group: told.append(f"forward to {group}"))
    runtime.keep(Sent(told), [str(tmp_path / "evenkeel/code")], "name", call.Unusable)
    assert told == ["back", "compile", "forward to where it was"]


class Called:
    """Of Ansible's module what :func:`runtime.run` uses."""

    def __init__(self, check_mode: bool, token: str) -> None:
        self.check_mode = check_mode
        self.params = {"lock_token": token}
        self.argument_spec: dict[str, Any] = {}
        self.no_log_values: set[str] = set()

    def exit_json(self, **_result: Any) -> None:
        raise SystemExit(0)

    fail_json = exit_json


@pytest.mark.parametrize(
    ("polite", "check_mode", "token", "told"),
    [
        (True, False, "", ["lower_engine", "call", "restore_engine"]),
        (True, False, "of an operation", ["lower_engine", "call"]),
        (False, True, "", ["lower_engine", "call", "restore_engine"]),
        (False, False, "", ["call"]),
    ],
)
@pytest.mark.parametrize("fails", [False, True])
def test_the_engine_has_less_while_a_module_works_that_leaves_the_processors_to_users(
    polite: bool, check_mode: bool, token: str, told: list[str], fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []

    def work(_params: Any, _check_mode: bool) -> dict[str, Any]:
        noted.append("call")
        if fails:
            raise OSError("no space left on device")
        return {"changed": False}

    monkeypatch.setattr(os, "nice", lambda _more: 0)
    monkeypatch.setattr(processor_share, "step_back", lambda: "")
    for name in ("lower_engine", "restore_engine"):
        monkeypatch.setattr(processor_share, name, lambda name=name: noted.append(name) or True)
    monkeypatch.setitem(sys.modules, f"{PREFIX}calls.tried", SimpleNamespace(SPEC={}, POLITE=polite, call=work))
    with pytest.raises((SystemExit, OSError)):
        runtime.run(lambda **_words: Called(check_mode, token), "tried")
    assert noted == told
