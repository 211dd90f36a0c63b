# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's own commands around a release: which are due, what may be told of them.  Pure; ``releases/host/release_command`` runs them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from . import choice

PREPARED, RELOADED = "prepared", "reloaded"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def problem_with(commands: Sequence[Sequence[str]]) -> str:
    """Why commands cannot be run, empty when they can."""
    for argv in commands:
        if not argv or not argv[0]:
            return "a command is empty"
        if any("\x00" in word for word in argv):
            return f"the command {said(argv)!r} has a character that no command can have"
    return ""


def is_due(stage: str, state: str, current: bool) -> bool:
    """Whether the commands of a stage have to run for a release.

    :param state: the release's.
    :param current: whether it is the current one.
    """
    if stage == PREPARED:
        return state == choice.PREPARING
    return current and state == choice.ACTIVE


def said(argv: Sequence[str], longest: int = 120) -> str:
    """A command as a person reads it."""
    text = _CONTROL.sub("?", shlex.join(argv))
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."


def last_lines(output: str, count: int = 6) -> list[str]:
    """The end of an output, without colours."""
    lines = [_CONTROL.sub("", line).rstrip() for line in output.splitlines()]
    report = [line for line in lines if line][-count:]
    return [line[:300] for line in report]
