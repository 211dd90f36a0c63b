# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of every module: it names the code that the module needs, and sends it where it is missing."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import tempfile
import zlib
from pathlib import Path
from typing import Any

from ansible import constants, module_utils, release
from ansible.plugins.action import ActionBase

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.runtime import CARRIER, MISSING, WANTED

_CALL = f"evenkeel.deploy.{CARRIER}"
_KILLED = (
    "What: the module was killed on the target\nNow: what it had done stays; ansible-playbook evenkeel.deploy.status shows what serves\n"
    "Next: run the same playbook again, it takes up from what it finds"
)
# What of Ansible's own modules never need: 0.4 MB about the machine.
_UNNEEDED = "facts"


@functools.cache
def sources() -> bytes:
    """All files that a module may import, as JSON: pairs of a module's name and its text, in the order of the names.

    These are ``module_utils`` of this collection, those of Ansible itself, and the text of ``CARRIER``.
    """
    plugins = Path(__file__).parents[1]
    files = {CARRIER: plugins / "modules" / f"{CARRIER}.py", **_below(plugins / "module_utils")}
    theirs = _below(Path(module_utils.__file__).parent)
    files.update(
        {f"ansible.module_utils.{name}": theirs[name] for name in theirs if name.partition(".")[0] != _UNNEEDED}
    )
    texts = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    # As Ansible's own packages have it: of the controller's no more than that.
    texts["ansible.__init__"] = f"__version__ = {release.__version__!r}\n"
    return json.dumps(sorted(texts.items())).encode()


def _below(folder: Path) -> dict[str, Path]:
    return {".".join(path.relative_to(folder).with_suffix("").parts): path for path in folder.rglob("*.py")}


@functools.cache
def digest() -> str:
    """The SHA-256 of :func:`sources`, in hexadecimal."""
    return hashlib.sha256(sources()).hexdigest()


def packed() -> str:
    """The path of a file with :func:`sources`, compressed, which all processes of this run of Ansible use."""
    path = os.path.join(constants.DEFAULT_LOCAL_TMP, f"evenkeel-{digest()}")
    if not os.path.exists(path):
        handle, part = tempfile.mkstemp(dir=constants.DEFAULT_LOCAL_TMP)
        with open(handle, "wb") as stream:
            stream.write(zlib.compress(sources()))
        os.replace(part, path)
    return path


# Ansible loads a plugin before it forks the processes that run tasks: so this is done once per run.
digest()


class RuntimeAction(ActionBase):
    """An action plugin that runs the module of its task and adds nothing."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """As Ansible's own ``normal`` does."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        return {**result, **self.run_module(task_vars=task_vars)}

    def run_module(self, **how: Any) -> dict[str, Any]:
        """Run a module of this collection, as ``_execute_module`` does, with the code that it needs.

        Where the task has an C(async) of its own the module is run so, and the code is sent in any case: nobody here is told
        that it was missing.
        """
        if self._task.async_val:
            return self.with_code(True, wrap_async=not self._connection.has_native_async, **how)
        begun = self.with_code(False, **how)
        return self.with_code(True, **how) if begun.get(MISSING) else begun

    def with_code(
        self, send: bool, detach: bool = False, module_args: dict[str, Any] | None = None, **how: Any
    ) -> dict[str, Any]:
        """The same once, with or without sending the code; the result has ``MISSING`` where that was needed.

        :param detach: let the module answer at once where its result will be, and go on by itself.
        :param module_args: the task's own where there are none.

        One module of a kind into whose text Ansible only puts the arguments is sent for all. Others are packed with what they
        import, 0.2 MB, which the target unpacks and compiles: 0.2 s of a processor each time, measured.
        """
        wanted = {"name": self._task.action.rpartition(".")[2], "digest": digest(), "detach": detach}
        wanted.update({"sent": self._send()} if send else {})
        arguments = {**(self._task.args if module_args is None else module_args), WANTED: wanted}
        result: dict[str, Any] = self._execute_module(module_name=_CALL, module_args=arguments, **how)
        return result

    def _execute_module(self, *which: Any, **how: Any) -> dict[str, Any]:
        """As Ansible's own, which of a module that was killed says that it finds no JSON."""
        result: dict[str, Any] = super()._execute_module(*which, **how)
        # There is what it has printed, a shell's word on a terminal, only where that is no result.
        killed = result.get("rc") == 128 + signal.SIGKILL and "module_stdout" in result
        return {"failed": True, "msg": _KILLED} if killed else result

    def _update_module_args(self, module_name: str, module_args: dict[str, Any], *more: Any, **also: Any) -> None:
        """As Ansible's own, but messages of the module and the target's log name what the user has called."""
        super()._update_module_args(module_name, module_args, *more, **also)
        if module_name == _CALL:
            module_args["_ansible_module_name"] = self._task.action

    def _send(self) -> str:
        """Send the code to the folder that Ansible has on the target for this task, and removes after it."""
        shell = self._connection._shell
        if shell.tmpdir is None:
            self._make_tmp_path()
        path = str(shell.join_path(shell.tmpdir, "evenkeel-runtime"))
        self._transfer_file(packed(), path)
        self._fixup_perms2((shell.tmpdir, path))
        return path
