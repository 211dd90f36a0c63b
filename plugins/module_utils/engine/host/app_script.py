# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts of ours for a process of the app's: sent as text, since nothing is installed there.

A module on a target lives in a zip file, so sources are asked of it, and made modules of a package that exists only
in that process.  They import one another as they do here.
"""

from __future__ import annotations

import base64
import contextlib
import json
import zlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_PACKAGE = "evenkeel_in_app"
_ROOT = __name__[: -len(".engine.host.app_script")]
_LOADER = """
import base64, json, sys, types, zlib
def made(name):
    if name in sys.modules:
        return sys.modules[name]
    module = types.ModuleType(name)
    module.__path__ = []
    sys.modules[name] = module
    package, _dot, last = name.rpartition(".")
    if package:
        setattr(made(package), last, module)
    return module
for name, source in json.loads(zlib.decompress(base64.b64decode({sources!r}))):
    module = made({package!r} + "." + name)
    vars(module).pop("__path__", None)
    module.__package__ = module.__name__.rpartition(".")[0]
    exec(compile(source, name.replace(".", "/") + ".py", "exec"), module.__dict__)
module.main(*json.loads({arguments!r}))
"""
# A connection to a database that nobody uses could keep others waiting.
_ONE_MORE = """
import os, select
from django.db import connections
sys.stdout.flush()
connections.close_all()
text = b""
while not text.endswith(b"\\n"):
    part = os.read(0, 65536) if select.select([0], [], [], {patience})[0] else b""
    if not part:
        break
    text += part
else:
    exec(json.loads(text), {{"__name__": "asked"}})
"""


def source_of(module: ModuleType) -> str:
    """The text of a module of ours; not by ``inspect``, whose cache of lines fails where two threads ask (seen)."""
    loader: Any = module.__spec__ and module.__spec__.loader
    source: str = loader.get_source(module.__name__)
    return source


def as_text(modules: Sequence[ModuleType], arguments: Sequence[Any], patience: float = 0.0) -> str:
    """A script that loads these modules in order and calls ``main`` of the last one.

    :param patience: seconds for which it then waits for one more script; it is one for Django then.
    """
    sources = [(module.__name__[len(_ROOT) + 1 :], source_of(module)) for module in modules]
    # All of it is one argument of a command line, and that holds 128 KiB.
    packed = base64.b64encode(zlib.compress(json.dumps(sources).encode(), 9)).decode()
    script = _LOADER.format(package=_PACKAGE, sources=packed, arguments=json.dumps(list(arguments)))
    return script + (_ONE_MORE.format(patience=patience) if patience else "")


def as_given(script: str) -> bytes:
    """A script as one that waits for it reads it."""
    return json.dumps(script).encode() + b"\n"


def answer_in(printed: str) -> dict[str, Any] | None:
    """What such a script has printed: the line that begins with our word, among all that an app prints."""
    for line in reversed(printed.splitlines()):
        if line.startswith("EVENKEEL {"):
            # An app may print what looks like it.
            with contextlib.suppress(ValueError, RecursionError):
                answer: dict[str, Any] = json.loads(line[len("EVENKEEL ") :])
                return answer
    return None


def has_answered(printed: str) -> bool:
    """Whether all of the answer is there."""
    return answer_in(printed) is not None
