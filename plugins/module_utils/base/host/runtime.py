# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of all modules as one compiled file on the target, so that a module itself brings next to nothing.

Ansible packs, sends and compiles whatever a module imports, each time it runs.  So modules import this file only, and get the
rest by :func:`load`.  Where the target does not have it, the result says so, and the action plugin sends it.
Where this collection's files lie beside this one (unit tests, ansible-test) they are imported as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import marshal
import os
import pathlib
import pwd
import secrets
import stat
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from types import CodeType, ModuleType
from typing import Any, Callable, NoReturn

from ..runtime import CALL, DETACH, DIGEST, MISSING, PART, SENT, SUFFIX, folders, is_trusted, removable

_ROOT = __name__[: -len(".base.host.runtime")]
_UNSENT = (
    "What: the code of evenkeel.deploy is not on this target\nNow: nothing was touched\n"
    "Next: run the module by its full name (evenkeel.deploy.…), so that its action plugin sends the code"
)
_UNNAMED = (
    "What: this module runs the code of others and was called by itself\nNow: nothing was touched\n"
    "Next: call the module that is wanted by its full name (evenkeel.deploy.…)"
)
_OTHER = (
    "What: the code of evenkeel.deploy arrived damaged, or was changed on the controller while it was sent\n"
    "Now: nothing was touched\nNext: run the same command again"
)
_TOO_OLD = (
    "What: the modules of evenkeel.deploy need Python 3.9 or newer on the target, and {} is {}.{}\nNow: nothing was touched\n"
    "Next: set ansible_python_interpreter to a newer Python that has the Docker SDK"
)
# What changes nothing leaves the processors to those who are served.
_NICE = 10
_notes: list[str] = []
_given: dict[str, str] = {}


class _Unusable(Exception):
    """A file of code cannot be read or written; the message says why."""


class _Code:
    """Modules by name, each with its compiled code and its compressed source; ``None`` is compiled at its import.

    :param where: what stands before the names of files in tracebacks.
    """

    def __init__(self, where: str, modules: Mapping[str, tuple[bytes | None, bytes]]) -> None:
        self.where, self.modules = where, dict(modules)
        self.packages = {
            "/".join(parts[:n]).replace("/", ".")
            for parts in (m.split(".") for m in modules)
            for n in range(1, len(parts))
        }

    def file(self, name: str) -> str:
        return f"{self.where}/{name.replace('.', '/')}.py"

    def source(self, name: str) -> str:
        return zlib.decompress(self.modules[name][1]).decode()

    def code(self, name: str) -> CodeType:
        compiled = self.modules[name][0]
        if compiled is None:
            return compile(self.source(name), self.file(name), "exec", dont_inherit=True)
        known: CodeType = marshal.loads(compiled)
        return known

    def compiled(self) -> _Code:
        """The same with every module compiled: half a second of processor."""
        modules = {name: (marshal.dumps(self.code(name)), packed) for name, (_none, packed) in self.modules.items()}
        return _Code(self.where, modules)


class _Importer(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports this collection's modules from memory; ``inspect`` gets their sources from it."""

    def __init__(self, code: _Code) -> None:
        self._code = code

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(f"{_ROOT}."):
            return None
        name = self._name(fullname)
        if name in self._code.modules:
            spec = importlib.machinery.ModuleSpec(fullname, self, origin=self._code.file(name))
            spec.has_location = True
            return spec
        return importlib.machinery.ModuleSpec(fullname, None, is_package=True) if name in self._code.packages else None

    def get_code(self, fullname: str) -> CodeType:
        return self._code.code(self._name(fullname))

    def get_source(self, fullname: str) -> str:
        return self._code.source(self._name(fullname))

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)

    def sources(self) -> dict[str, str]:
        return {name: self._code.source(name) for name in self._code.modules}

    @staticmethod
    def _name(fullname: str) -> str:
        return fullname[len(_ROOT) + 1 :]


def load(*names: str) -> list[Any]:
    """Modules by names such as ``operation.host.lock``: the first thing that a module of Ansible's asks for.

    Where they are not on the target the process ends with a result that says so.
    """
    # What this process starts shall not take itself for a module.
    digest, sent = os.environ.pop(DIGEST, ""), os.environ.pop(SENT, "")
    if digest:
        _given[DIGEST] = digest
        sys.meta_path.append(_Importer(_provided(digest, sent)))
    try:
        return [importlib.import_module(f"{_ROOT}.{name}") for name in names]
    except ModuleNotFoundError as error:
        if any(isinstance(finder, _Importer) for finder in sys.meta_path) or not str(error.name).startswith(_ROOT):
            raise
        _end(msg=_UNSENT)


def environment() -> dict[str, str]:
    """The variables with which a process that this one starts gets the same code by :func:`load`."""
    return {**os.environ, **_given, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def sources() -> dict[str, str]:
    """The text of every module of this collection's ``module_utils`` by its name, such as ``operation.host.lock``."""
    for finder in sys.meta_path:
        if isinstance(finder, _Importer):
            return finder.sources()
    root = pathlib.Path(__file__).parents[2]
    return {".".join(p.relative_to(root).with_suffix("").parts): p.read_text("utf-8") for p in root.rglob("*.py")}


def run(ansible_module: Callable[..., Any], name: str = "") -> None:
    """Run a module of this collection, as ``calls/<name>.py`` says.

    :param ansible_module: Ansible's class of modules.
    :param name: the module's; empty for the one that the action plugin names.
    """
    name, detach = os.environ.pop(CALL, name), os.environ.pop(DETACH, "")
    if not name:
        ansible_module(argument_spec={}, supports_check_mode=True).fail_json(msg=_UNNAMED)
    (call,) = load(f"calls.{name}")
    module = ansible_module(argument_spec=call.SPEC, supports_check_mode=True, **getattr(call, "RULES", {}))
    if module.check_mode or getattr(call, "POLITE", False):
        os.nice(_NICE)
    if detach:
        load("base.host.detached")[0].answer_and_go_on(lambda: finish(module, call.call))
    else:
        finish(module, call.call)


def finish(module: Any, call: Callable[[Mapping[str, Any], bool], dict[str, Any]]) -> None:
    """End the module with what ``call`` returns or raises, as ``operation.host.result`` does."""
    for note in _notes:
        module.warn(note)
    load("operation.host.result")[0].finish(module, call)


def _provided(digest: str, sent: str) -> _Code:
    """The code with this digest: what is kept, else what was sent, which is kept from now on."""
    if sys.version_info < (3, 9):  # noqa: UP036 - Ansible itself works on targets with an older one
        _end(msg=_TOO_OLD.format(sys.executable, *sys.version_info[:2]))
    home = ""
    with contextlib.suppress(KeyError):  # a user of a container without an entry
        home = pwd.getpwuid(os.geteuid()).pw_dir
    places = folders(home)
    name = f"{digest[:32]}.{sys.implementation.cache_tag}{SUFFIX}"
    for place in places:
        # Whatever is wrong with a file, what is sent next takes its place, or says why it cannot.
        with contextlib.suppress(OSError, _Unusable):
            return _read(place, name, digest)
    if not sent:
        _end(msg=_UNSENT, **{MISSING: True})
    modules = _unpacked(sent, digest)
    whys = []
    for place in places if os.geteuid() == 0 else places[1:]:
        try:
            return _write(place, name, digest, modules)
        except OSError as error:
            whys.append(f"{place}: {error.strerror}")
        except _Unusable as error:
            whys.append(f"{place} {error}")
    # No reason to stop: status is asked for when a disk is full or mounted read-only.
    why = "; ".join(whys) or "this user has no home folder"
    _notes.append(
        f"the code of evenkeel.deploy cannot be kept on the target, so each module takes a second longer ({why})"
    )
    return _Code("evenkeel", modules)


def _unpacked(sent: str, digest: str) -> dict[str, tuple[bytes | None, bytes]]:
    try:
        with open(sent, "rb") as stream:
            text = zlib.decompress(stream.read())
    except (OSError, zlib.error):
        _end(msg=_OTHER)
    if hashlib.sha256(text).hexdigest() != digest:
        _end(msg=_OTHER)
    return {name: (None, zlib.compress(source.encode())) for name, source in json.loads(text)}


@contextlib.contextmanager
def _folder(place: str) -> Iterator[int]:
    """A handle of a folder that only root and this user can change."""
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _trust(os.fstat(handle))
        yield handle
    finally:
        os.close(handle)


def _trust(found: os.stat_result) -> None:
    if not is_trusted(os.geteuid(), found.st_uid, found.st_mode):
        raise _Unusable("belongs to another user, or others may write to it")


def _head(digest: str, body: bytes) -> bytes:
    """The first line of a file: whose code it is, for which byte code, and whether all of it is there."""
    return f"evenkeel {digest} {importlib.util.MAGIC_NUMBER.hex()} {zlib.crc32(body):08x}\n".encode()


def _read(place: str, name: str, digest: str) -> _Code:
    with _folder(place) as folder:
        # A pipe of that name would never open.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with open(handle, "rb") as stream:
            found = os.fstat(handle)
            _trust(found)
            if not stat.S_ISREG(found.st_mode):
                raise _Unusable("is no file")
            head, body = stream.readline(), stream.read()
    # Byte code is run only if the file is this user's or root's own, so what is looked for here is damage.
    if head != _head(digest, body):
        raise _Unusable("is damaged")
    return _Code(f"{place}/{name}", marshal.loads(body))


def _write(place: str, name: str, digest: str, modules: Mapping[str, tuple[bytes | None, bytes]]) -> _Code:
    """Keep the code, compiled, under its name, at once and whole, and remove what is too old."""
    for path, mode in ((os.path.dirname(place), 0o700), (place, 0o755)):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)
    with _folder(place) as folder:
        code = _Code(f"{place}/{name}", modules).compiled()
        body = marshal.dumps(code.modules)
        part = f"{secrets.token_hex(8)}{PART}"
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(_head(digest, body) + body)
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
    return code


def _end(**result: Any) -> NoReturn:
    sys.stdout.write(json.dumps({"failed": True, "changed": False, **result}))
    raise SystemExit(1)
