# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts for containers, sent as text: nothing of ours is installed in the app, and a module on a target lives in a zip."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

ANSWER = "EVENKEEL "
_FUTURE = "from __future__ import annotations\n"
_NEIGHBOURS = re.compile(r"^from \.\w+ import (\([^)]*\)|[^\n]*)\n", re.MULTILINE)


def script_of(modules: Sequence[ModuleType], *arguments: Any) -> str:
    """One script of several modules, the last of which has the ``main`` to call with these arguments."""
    sources = [_NEIGHBOURS.sub("", inspect.getsource(module).replace(_FUTURE, "")) for module in modules]
    return f"{_FUTURE}{''.join(sources)}\nmain({', '.join(map(repr, arguments))})\n"


def answer_in(printed: str) -> Mapping[str, Any] | None:
    """What a script answered, None where it did not."""
    for line in printed.splitlines():
        if line.startswith(ANSWER):
            found: dict[str, Any] = json.loads(line[len(ANSWER) :])
            return found
    return None
