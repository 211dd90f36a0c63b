# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of callback ``calm``, made of results of any shape: what a module says, what a role reports, why a task failed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.plugin_utils.calm_phases import Task, short_action

# What a terminal would obey instead of showing it; tabs and line ends stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e]+")
_PROGRESS = re.compile(r"  \[([^\]\n]+)\] ([^\n]+)\Z")
_HIDDEN = "the result is hidden (no_log)"
#: What only the framework of a result is, where a task shows a variable.
_NOT_SHOWN = {"changed", "failed", "skipped", "invocation", "warnings", "deprecations", "exception"}
_MOST_DETAIL = 3


def progress_line(host: str, text: str) -> str:
    """A line of a long module's progress, as every callback shows it."""
    return f"  [{host}] {text}"


def read_progress(line: str) -> tuple[str, str] | None:
    """Host and text of what :func:`progress_line` wrote; None for any other text."""
    found = _PROGRESS.fullmatch(line)
    return (found[1], found[2]) if found else None


def plain(value: Any) -> str:
    """A value as text without what a terminal would obey."""
    if isinstance(value, (dict, list, tuple)):
        value = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return _CONTROL.sub("", str("" if value is None else value).replace("\r\n", "\n"))


def one_line(value: Any) -> str:
    """The same on one line."""
    return " ".join(plain(value).split())


def is_hidden(task: Task, result: Mapping[str, Any]) -> bool:
    """Whether nothing of a result may be shown."""
    return task.hidden or "censored" in result or bool(result.get("_ansible_no_log"))


def parts_of(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The result of each pass of a loop that may be shown, or the one result."""
    results = result.get("results")
    if not isinstance(results, list):
        return [result]
    found = [part for part in results if isinstance(part, Mapping)]
    return [part for part in found if not ("censored" in part or part.get("_ansible_no_log") or part.get("skipped"))]


def messages(task: Task, result: Mapping[str, Any], tells: str) -> list[str]:
    """What a module says of what it did, one line each.

    :param tells: which results say something, as in :class:`~.calm_phases.Phase`.
    """
    if tells == "never" or is_hidden(task, result):
        return []
    wanted = {"changed": (True,), "unchanged": (False,)}.get(tells, (True, False))
    said = (one_line(part.get("msg")) for part in parts_of(result) if bool(part.get("changed")) in wanted)
    return list(dict.fromkeys(text for text in said if text))


def reported(task: Task, result: Mapping[str, Any]) -> list[str]:
    """What a C(debug) task shows: an item for each entry of a list, which may have several lines."""
    if is_hidden(task, result):
        return [_HIDDEN]
    found: list[str] = []
    for part in parts_of(result):
        if "msg" in part:
            said = part["msg"]
            found += [plain(item) for item in (said if isinstance(said, (list, tuple)) else [said])]
        else:
            shown = {k: v for k, v in part.items() if k not in _NOT_SHOWN and not str(k).startswith(("_", "ansible_"))}
            found += [f"{name}: {plain(value)}" for name, value in shown.items()]
    return [item.rstrip() for item in found if item.strip()]


def failure(task: Task, result: Mapping[str, Any]) -> str:
    """Why a task failed, with what is known of what serves and of what to do next."""
    if is_hidden(task, result):
        return _without_advice(task, _HIDDEN, [])
    found = [part for part in parts_of(result) if part.get("failed") or part.get("failed_when_result")]
    found = found if isinstance(result.get("results"), list) and found else [result]
    said = [_unwrapped(plain(part.get("msg")).strip()) for part in found]
    text = "\n".join(dict.fromkeys(item for item in said if item))
    if text and ("What: " in text or _is_said_by_a_person(task)):
        return text
    return _without_advice(task, text or "it failed without a message", _details(found))


def _unwrapped(text: str) -> str:
    """A message without what ansible-core 2.19 puts before that of a module."""
    return text.removeprefix("Task failed: ").removeprefix("Action failed: ").removeprefix("Module failed: ")


def _is_said_by_a_person(task: Task) -> bool:
    return short_action(task.action) in ("fail", "assert")


def _without_advice(task: Task, text: str, details: list[str]) -> str:
    lines = [f"What: {task.name or task.action}: {text}", *(f"  {line}" for line in details)]
    if short_action(task.action) == "validate_argument_spec":
        return "\n".join([*lines, "Now: nothing was touched", "Next: correct it and run the same command again"])
    lines.append("Now: what earlier tasks did stays")
    return "\n".join([*lines, "Next: the same command with -v shows all of it"])


def _details(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """The last lines that a command or module printed, since the message of it may be as little as its exit code."""
    for part in results:
        for key in ("stderr", "module_stderr", "stdout", "module_stdout"):
            lines = [line.rstrip() for line in plain(part.get(key)).splitlines() if line.strip()]
            if lines:
                return lines[-1:] if any("Traceback" in line for line in lines) else lines[-_MOST_DETAIL:]
    return []


def unreachable(host: str, result: Mapping[str, Any], touched: bool) -> str:
    """That a host cannot be reached.

    :param touched: whether a task of this run has worked on it before.
    """
    hidden = "censored" in result or result.get("_ansible_no_log")
    why = "" if hidden else _unwrapped(one_line(result.get("msg")))
    now = "what was begun on it stays, or goes on by itself" if touched else "nothing was touched on it"
    return (
        f"What: {host} cannot be reached{': ' + why if why else ''}\nNow: {now}\n"
        f"Next: see to the connection (ansible {host} -m ansible.builtin.ping) and run the same command again"
    )


def gist(message: str) -> str:
    """The first line of a failure's message, without its heading."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0].removeprefix("What: ") if lines else "it failed without a message"
