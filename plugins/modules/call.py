#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: call
short_description: Run the code of another module of this collection (internal)
description:
  - What the action plugins of all other modules send to a target. It imports their code, and what of Ansible's own they need, from one
    compiled file that lies there, so nothing is packed, unpacked and compiled anew for each task. There is no need to use it.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
attributes:
  check_mode:
    description: As the module that is run.
    support: full
  diff_mode:
    description: As the module that is run.
    support: full
"""

EXAMPLES = r"""
- name: Any other module runs it
  evenkeel.deploy.deploy_lock:
    state_dir: /var/lib/evenkeel/travel
"""

RETURN = r"""
msg:
  description: What the module that is run returns, or that none is named.
  returned: always
  type: str
"""

# Not `importlib.abc`: what it imports takes as long as all the rest here.
import contextlib
import importlib.machinery
import importlib.util
import json
import marshal
import mmap
import os
import pwd
import stat
import sys
import traceback
import zlib
from collections.abc import Iterator, Mapping
from types import CodeType, ModuleType
from typing import Any, NoReturn

#: Ansible puts JSON here, in which three quotation marks never follow each other, so that it cannot end this text.
_ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""
#: Among the arguments: whose code is wanted (C(name)), SHA-256 of all code in hexadecimal (C(digest)), the file in which the controller has
#: sent it along, where it has (C(sent)), and whether to answer at once and go on (C(detach)).
WANTED = "evenkeel_call"
#: What a result has, and is true, where the code has to be sent first. Nothing else was done then.
MISSING = "evenkeel_runtime_missing"
#: Where this collection's modules are imported from; the names of their code are without it.
PACKAGE = "ansible_collections.evenkeel.deploy.plugins.module_utils"
#: Written by root alone, read by all users.
SYSTEM = "/var/cache/evenkeel"
#: What the name of a file of code ends with.
SUFFIX = ".runtime"

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
_DEFECT = (
    "What: the code of evenkeel.deploy could not be run: {}: {}\nNow: nothing was touched\n"
    "Next: run the same command again with -vvv, and report what it shows"
)


class Unusable(Exception):
    """A file of code cannot be read or written; the message says why."""


def folders(home: str) -> tuple[str, ...]:
    """The folders where the code may lie, in the order in which they are tried. The first is root's.

    :param home: of the user that the module runs as, from the user database; empty where there is none.
    """
    return (SYSTEM, f"{home}/.cache/evenkeel") if home.startswith("/") and home.strip("/") else (SYSTEM,)


def is_trusted(me: int, owner: int, mode: int) -> bool:
    """Whether nobody but root and the user ``me`` can have made or changed a file or folder.

    :param mode: as ``st_mode``; where there is an access list, its bits for the group are the most that anyone in it has.
    """
    return owner in (0, me) and not mode & 0o022


def _trust(found: os.stat_result) -> None:
    if not is_trusted(os.geteuid(), found.st_uid, found.st_mode):
        raise Unusable("belongs to another user, or others may write to it")


class Importer:
    """Imports modules from memory; ``inspect`` gets their sources from it.

    :param digest: SHA-256 of all sources.
    :param where: what stands before the names of files in tracebacks.
    :param modules: by name, each its code and its compressed source as bytes; ``None`` is compiled at its import. Those of
        Ansible's have their full names, and a package's own code ends with ``.__init__``.
    """

    def __init__(self, digest: str, where: str, modules: Mapping[str, tuple[Any, Any]]) -> None:
        self.digest, self.where, self.modules = digest, where, modules
        parts = [name.split(".") for name in modules]
        self._packages = {".".join(words[:n]) for words in parts for n in range(len(words))}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        name, key = self._name(fullname), self._key(fullname)
        if key not in self.modules:
            # An empty list of its own: what else is installed under a package's name is not looked at.
            return importlib.machinery.ModuleSpec(fullname, None, is_package=True) if name in self._packages else None
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=self.file(key), is_package=name in self._packages)
        spec.has_location = True
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Python makes it as usual."""

    def get_code(self, fullname: str) -> CodeType:
        return self.code(self._key(fullname))

    def get_source(self, fullname: str) -> str:
        return self.source(self._key(fullname))

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)

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

    @staticmethod
    def head(digest: str, body: Any) -> bytes:
        """The first line of a file of code: whose it is, for which byte code, and whether all of it is there."""
        return f"evenkeel {digest} {importlib.util.MAGIC_NUMBER.hex()} {zlib.crc32(body):08x}\n".encode()

    @staticmethod
    @contextlib.contextmanager
    def folder(place: str) -> Iterator[int]:
        """A handle of a folder that only root and this user can change.

        :raises Unusable: others can.
        """
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _trust(os.fstat(handle))
            yield handle
        finally:
            os.close(handle)

    def _key(self, fullname: str) -> str:
        name = self._name(fullname)
        return f"{name}.__init__" if name in self._packages else name

    def _name(self, fullname: str) -> str:
        if fullname.startswith(f"{PACKAGE}."):
            return fullname[len(PACKAGE) + 1 :]
        # Of it and what is above it there are no more than the names.
        return "" if f"{PACKAGE}.".startswith(f"{fullname}.") else fullname


def _read(place: str, name: str, digest: str) -> Importer:
    with Importer.folder(place) as folder:
        # A pipe of that name would never open.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with open(handle, "rb") as stream:
            found = os.fstat(handle)
            _trust(found)
            if not stat.S_ISREG(found.st_mode):
                raise Unusable("is no file")
            # What is not needed of it is not copied.
            data = memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_READ)) if found.st_size else memoryview(b"")
            head = stream.readline()
    body = data[len(head) :]
    # Byte code is run only if the file is this user's or root's own, so what is looked for here is damage.
    if head != Importer.head(digest, body):
        raise Unusable("is damaged")
    # After the table the code and the source of each, one after the other, in its order.
    table = marshal.loads(body)
    at = len(body) - sum(code + source for _name, code, source in table)
    modules = {}
    for module, code, source in table:
        modules[module] = (body[at : at + code] or None, body[at + code : at + code + source])
        at += code + source
    return Importer(digest, f"{place}/{name}", modules)


def _unpacked(sent: str, digest: str) -> dict[str, tuple[None, bytes]]:
    import hashlib

    try:
        with open(sent, "rb") as stream:
            text = zlib.decompress(stream.read())
    except (OSError, zlib.error):
        _end(msg=_OTHER)
    if hashlib.sha256(text).hexdigest() != digest:
        _end(msg=_OTHER)
    return {name: (None, zlib.compress(source.encode())) for name, source in json.loads(text)}


def provide(digest: str, sent: str = "") -> None:
    """Have modules imported from what is kept here, else from what was sent, which is kept from now on.

    Where there is neither the process ends with a result that says so.
    """
    if sys.version_info < (3, 9):  # noqa: UP036 - Ansible itself works on targets with an older one
        _end(msg=_TOO_OLD.format(sys.executable, *sys.version_info[:2]))
    home = ""
    with contextlib.suppress(KeyError):  # a user of a container without an entry
        home = pwd.getpwuid(os.geteuid()).pw_dir
    places = folders(home)
    name = f"{digest[:32]}.{sys.implementation.cache_tag}{SUFFIX}"
    for place in places:
        # Whatever is wrong with a file, what is sent next takes its place, or says why it cannot.
        with contextlib.suppress(OSError, Unusable):
            sys.meta_path.insert(0, _read(place, name, digest))
            return
    if not sent:
        _end(msg="the code of evenkeel.deploy is not on this target yet", **{MISSING: True})
    importer = Importer(digest, "evenkeel", _unpacked(sent, digest))
    sys.meta_path.insert(0, importer)
    runtime = importlib.import_module(f"{PACKAGE}.base.host.runtime")
    runtime.keep(importer, places if os.geteuid() == 0 else places[1:], name, Unusable)


def _end(**result: Any) -> NoReturn:
    sys.stdout.write(json.dumps({"failed": True, "changed": False, **result}))
    raise SystemExit(1)


def main() -> None:
    """Run the module that the action plugin names."""
    try:
        arguments = json.loads(_ARGUMENTS)
    except ValueError:  # nothing was put there: ansible-test, which looks at what the module takes
        importlib.import_module("ansible.module_utils.basic").AnsibleModule(argument_spec={}, supports_check_mode=True)
        return
    wanted = arguments.pop(WANTED, None)
    if not wanted:
        _end(msg=_UNNAMED)
    provide(wanted["digest"], wanted.get("sent") or "")
    try:
        waiting = importlib.import_module(f"{PACKAGE}.base.host.waiting_process")
        module = waiting.Next(wanted["name"], arguments, bool(wanted.get("detach")))
        waiting.hand_over(sys.meta_path[0], module)
        importlib.import_module(f"{PACKAGE}.base.host.runtime").run_next(module)
    except Exception as error:  # what a module itself raises becomes its result
        _end(msg=_DEFECT.format(type(error).__name__, error), exception=traceback.format_exc())


if __name__ == "__main__":
    main()
