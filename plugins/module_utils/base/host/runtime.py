# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of all modules as one compiled file on the target: how it is kept there, and how a module of it runs.

Module ``call``, which the action plugins send, reads that file and has everything imported from it. Where the target does not have it,
the result says so, and the action plugin sends it. Where this collection's files lie beside this one (unit tests,
ansible-test) they are imported as they are.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import marshal
import os
import pathlib
import secrets
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable

from ..runtime import CARRIER, DIGEST, LOADER, PART, is_followed, is_own, removable
from . import waiting_process

_ROOT = __name__[: -len(".base.host.runtime")]
_UNSENT = (
    "What: the code of evenkeel.deploy is not on this target\nNow: nothing was touched\n"
    "Next: run the module by its full name (evenkeel.deploy.…), so that its action plugin sends the code"
)
_BASIC = "ansible.module_utils.basic"
# What changes nothing leaves the processors to those who are served.
_NICE = 10
# What most operations need, in the order in which they do.
_AHEAD = (
    "calls.symlink_release", "engine.host.engine", "calls.compose_project", "calls.compose_build", "calls.compose_rolling",
    "migrations.host.migrate", "calls.django_check", "calls.change_plan", "calls.django_static", "calls.nginx_reload", "calls.smoke_test",
    "calls.release_refs",
)  # fmt: skip
_notes: list[str] = []
#: How a program for another Python begins that is to import the same code; it is started with :func:`environment`.
IMPORTING = (
    f"import os; known = {{}}; exec(os.environ.pop('{LOADER}', ''), known); "
    f"'provide' in known and known['provide'](os.environ.pop('{DIGEST}'))"
)


def load(*names: str) -> list[Any]:
    """Modules by names such as ``operation.host.lock``."""
    return [importlib.import_module(f"{_ROOT}.{name}") for name in names]


def environment() -> dict[str, str]:
    """The variables for a Python that imports the same code as this process does."""
    importer = _importer()
    own = {DIGEST: importer.digest, LOADER: importer.source(CARRIER)} if importer else {}
    return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def sources() -> dict[str, str]:
    """The text of every module of this collection's ``module_utils`` by its name, such as ``operation.host.lock``."""
    importer = _importer()
    if importer:
        return {name: importer.source(name) for name in importer.modules if is_own(name)}
    root = pathlib.Path(__file__).parents[2]
    return {".".join(p.relative_to(root).with_suffix("").parts): p.read_text("utf-8") for p in root.rglob("*.py")}


def run_next(module: waiting_process.Next) -> None:
    """Run a module that module ``call`` was sent for; in a process that waits for what follows it, that, when it comes."""
    following: waiting_process.Next | None = module
    while following:
        module, following = following, None
        # What it needs is there before the process is copied.
        _called(module.name)
        if is_followed(module.name, module.arguments):
            following = waiting_process.leave_one(_importer(), _prepare)
    basic: Any = importlib.import_module(_BASIC)
    # As Ansible's own wrapper does; the second is there since 2.19.
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": module.arguments}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    try:
        run(basic.AnsibleModule, module.name, module.detach)
    except SystemExit as error:
        waiting_process.end(error.code)


def _prepare() -> Callable[[], None]:
    """Begin to import what an operation needs, while the controller gets the next module ready; returns what ends that."""
    missing = [name for name in _AHEAD if f"{_ROOT}.{name}" not in sys.modules]
    if not missing:
        return lambda: None
    (share,) = load("base.host.processor_share")
    wanted, group = threading.Event(), share.step_back()

    def import_all() -> None:
        for name in missing:
            if not wanted.is_set():
                load(name)

    def end() -> None:
        wanted.set()
        importing.join()
        share.step_forward(group)

    importing = threading.Thread(target=import_all, daemon=True)
    importing.start()
    return end


def _called(name: str) -> Any:
    """The call of a module."""
    if f"{_ROOT}.calls.{name}" in sys.modules:
        return load(f"calls.{name}")[0]
    with _behind():
        # Most of what the first one imports.
        importlib.import_module(_BASIC)
        return load(f"calls.{name}", "operation.host.result")[0]


@contextlib.contextmanager
def _behind() -> Iterator[None]:
    """What is done meanwhile leaves the processors to those who are served."""
    (share,) = load("base.host.processor_share")
    group = share.step_back()
    try:
        yield
    finally:
        share.step_forward(group)


def run(ansible_module: Callable[..., Any], name: str, detach: bool = False) -> None:
    """Run a module of this collection, as ``calls/<name>.py`` says.

    :param ansible_module: Ansible's class of modules.
    :param detach: answer at once where its result will be, and go on.
    """
    try:
        call = _called(name)
    except ModuleNotFoundError as error:
        if _importer() or not str(error.name).startswith(_ROOT):
            raise
        sys.stdout.write(json.dumps({"failed": True, "changed": False, "msg": _UNSENT}))
        raise SystemExit(1) from None
    module = ansible_module(argument_spec=call.SPEC, supports_check_mode=True, **getattr(call, "RULES", {}))
    polite = module.check_mode or getattr(call, "POLITE", False)
    work = functools.partial(finish, module, call.call)
    if polite:
        os.nice(_NICE)
    if polite or getattr(call, "STEPS_BACK", False):
        (share,) = load("base.host.processor_share")
        share.step_back()
        # In an operation it is given back with the lock.
        if share.lower_engine() and not module.params.get("lock_token"):
            work = functools.partial(_restoring, share, work)
    if detach:
        load("base.host.detached")[0].answer_and_go_on(work)
    else:
        work()


def _restoring(share: Any, work: Callable[[], None]) -> None:
    """Do it, and let the engine have its usual share again."""
    try:
        work()
    finally:
        share.restore_engine()


def finish(module: Any, call: Callable[[Mapping[str, Any], bool], dict[str, Any]]) -> None:
    """End the module with what ``call`` returns or raises, as ``operation.host.result`` does."""
    for note in _notes:
        module.warn(note)
    load("operation.host.result")[0].finish(module, call)


def keep(importer: Any, places: Iterable[str], name: str, unusable: type[Exception]) -> None:
    """Keep the code that was sent, compiled, in the first folder that takes it.

    :param importer: of module ``call``, with this code.
    :param unusable: what it raises of a folder that others can write to.
    """
    whys = []
    for place in places:
        try:
            with _behind():
                return _write(importer, place, name)
        except OSError as error:
            whys.append(f"{place}: {error.strerror}")
        except unusable as error:
            whys.append(f"{place} {error}")
    # No reason to stop: status is asked for when a disk is full or mounted read-only.
    why = "; ".join(whys) or "this user has no home folder"
    _notes.append(
        f"the code of evenkeel.deploy cannot be kept on the target, so each module takes a second longer ({why})"
    )


def _importer() -> Any:
    """That of module ``call``; ``None`` where modules are imported from files."""
    return next((finder for finder in sys.meta_path if hasattr(finder, "digest")), None)


def _compiled(importer: Any, name: str) -> bytes:
    try:
        return marshal.dumps(importer.code(name))
    except SyntaxError:  # one of Ansible's for a newer Python: whoever imports it is told
        return b""


def _write(importer: Any, place: str, name: str) -> None:
    """Keep the code under its name, at once and whole, and remove what is too old."""
    for path, mode in ((os.path.dirname(place), 0o700), (place, 0o755)):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)
    with importer.folder(place) as folder:
        importer.where = f"{place}/{name}"
        # Half a second of processor.
        code = [(m, _compiled(importer, m), importer.modules[m][1]) for m in importer.modules]
        body = marshal.dumps([(m, len(compiled), len(source)) for m, compiled, source in code])
        body += b"".join(compiled + source for _m, compiled, source in code)
        part = f"{secrets.token_hex(8)}{PART}"
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(importer.head(importer.digest, body) + body)
            os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(part, dir_fd=folder)
            raise
        times = {}
        for known in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # another process tidies as well
                times[known] = os.stat(known, dir_fd=folder, follow_symlinks=False).st_mtime
        for old in removable(times, name, time.time()):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(old, dir_fd=folder)
