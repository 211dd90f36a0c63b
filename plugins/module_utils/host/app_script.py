# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts of ours for a process of the app's: sent as text, since nothing is installed there.

A module on a target lives in a zip file, so sources are asked of it, and made modules of a package that exists only
in that process.  They import one another as they do here.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_PACKAGE = "evenkeel_in_app"
_LOADER = """
import sys, types
package = types.ModuleType({package!r})
package.__path__ = []
sys.modules[{package!r}] = package
for name, source in {sources!r}:
    module = types.ModuleType({package!r} + "." + name)
    module.__package__ = {package!r}
    sys.modules[module.__name__] = module
    setattr(package, name, module)
    exec(compile(source, name + ".py", "exec"), module.__dict__)
import json
module.main(*json.loads({arguments!r}))
"""


def as_text(modules: Sequence[ModuleType], arguments: Sequence[Any]) -> str:
    """A script that loads these modules in order and calls ``main`` of the last one."""
    sources = [(module.__name__.rsplit(".", 1)[-1], inspect.getsource(module)) for module in modules]
    return _LOADER.format(package=_PACKAGE, sources=sources, arguments=json.dumps(list(arguments)))


def answer_in(printed: str) -> dict[str, Any] | None:
    """What such a script has printed: the line that begins with our word, among all that an app prints."""
    for line in reversed(printed.splitlines()):
        if line.startswith("EVENKEEL {"):
            answer: dict[str, Any] = json.loads(line[len("EVENKEEL ") :])
            return answer
    return None
