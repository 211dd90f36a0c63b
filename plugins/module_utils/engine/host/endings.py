# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How containers ended, in the words of a user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .inspection import SERVICE_LABEL, label_of, pid_of


def ending_of(inspection: Mapping[str, Any], limit: int, killed: bool) -> str:
    """How a container ended last.

    :param limit: its memory limit in bytes, 0 for none.
    :param killed: whether the kernel was seen to kill a process of it for its memory.
    """
    state = inspection.get("State") or {}
    if state.get("OOMKilled") or killed:
        return f"went over its memory limit{f' of {limit // 1048576} MiB' if limit else ''}: the kernel killed a process of it"
    if state.get("Error"):
        return f"could not run: {state['Error']}"
    if state.get("Running"):
        return "ended by itself and was started again"
    return f"ended with exit code {state.get('ExitCode', '?')}"


def gone(proxy: str, found: Sequence[Mapping[str, Any]]) -> str:
    """What can be seen of an nginx that does not run any more."""
    if not any(pid_of(i) for i in found):
        return "no container of the project runs any more: the engine has ended, or somebody stopped them all"
    state = next((i.get("State") or {} for i in found if label_of(i, SERVICE_LABEL) == proxy), None)
    if state is None:
        return f"{proxy}: its container is gone"
    return f"{proxy}: nginx does not run any more: its container is {state.get('Status')} (exit code {state.get('ExitCode')})"
