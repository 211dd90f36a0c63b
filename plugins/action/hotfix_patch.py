# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of ``hotfix_patch``: files that are named by ``src`` are read here, byte for byte."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import Any

import yaml
from ansible import context
from ansible.plugins.action import ActionBase

from ansible_collections.evenkeel.deploy.plugins.action.deploy_lock import who_asks
from ansible_collections.evenkeel.deploy.plugins.plugin_utils.runtime import RuntimeAction

#: What is read of one file; more is no hotfix, and would travel in the module's arguments.
LARGEST = 2 * 1024 * 1024


class Unreadable(Exception):
    """A file of the controller cannot be read; the message is for the user."""


def read(path: str) -> str:
    """A file's content in base64.

    :raises Unreadable: it is not there, no plain file, or too large.
    """
    full = os.path.abspath(os.path.expanduser(path))
    if not os.path.isfile(full):
        raise Unreadable(f"{full} is no file on the controller")
    if os.path.getsize(full) > LARGEST:
        raise Unreadable(f"{full} has more than {LARGEST // 1024} KiB, which is no hotfix")
    try:
        with open(full, "rb") as stream:
            return base64.b64encode(stream.read()).decode("ascii")
    except OSError as error:
        raise Unreadable(f"{full} cannot be read: {error.strerror}") from error


def with_contents(arguments: dict[str, Any]) -> dict[str, Any]:
    """The module's arguments with contents in the place of paths of the controller.

    :raises Unreadable: one cannot be read.
    """
    result = dict(arguments)
    if result.get("patch_src"):
        result["patch"] = read(str(result.pop("patch_src")))
    files = []
    for entry in result.get("files") or []:
        known = dict(entry)
        if known.get("src"):
            known["content"] = read(str(known.pop("src")))
        files.append(known)
    if files:
        result["files"] = files
    variables = []
    for entry in result.get("env") or []:
        known = dict(entry)
        text = str(known.pop("text", None) or "")
        if text.startswith("@"):
            content = base64.b64decode(read(text[1:]))
            known["value"] = base64.b64encode(content[:-1] if content.endswith(b"\n") else content).decode("ascii")
        elif "value" not in known:
            known["value"] = base64.b64encode(text.encode()).decode("ascii")
        variables.append(known)
    if variables:
        result["env"] = variables
    return result


def refuse_literals(extra_vars: Sequence[str]) -> None:
    """Look whether the command line has a value in it, where every user of the machine can read it.

    :raises Unreadable: it has.
    """
    for given in extra_vars:
        if given.startswith("@") or "hotfix_env" not in given:
            continue
        try:
            values = (yaml.safe_load(given) or {}).get("hotfix_env")
        except (yaml.YAMLError, AttributeError):
            values = None
        fine = isinstance(values, dict) and all(str(value).startswith("@") for value in values.values())
        if not fine:
            raise Unreadable(
                "hotfix_env has a value on the command line, where everybody on the controller can read it; write "
                'it to a file ({"KEY": "@/path"}), or give the variables by a file (-e @file), Vault or a prompt'
            )


class ActionModule(RuntimeAction):
    """See the module's text."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module with what was read here."""
        result: dict[str, Any] = ActionBase.run(self, tmp, task_vars)
        try:
            if self._task.args.get("env"):
                refuse_literals([str(given) for given in context.CLIARGS.get("extra_vars") or ()])
            arguments = with_contents(self._task.args)
            if arguments.get("operation"):
                arguments["operation"] = {"who": who_asks(task_vars or {}), **arguments["operation"]}
        except Unreadable as error:
            what = f"What: {error}\nNow: nothing was touched, what was serving still is\n"
            return {**result, "failed": True, "msg": f"{what}Next: correct that and run the same command again"}
        done = self.run_module(module_args=arguments, task_vars=task_vars)
        return {**result, **done}
