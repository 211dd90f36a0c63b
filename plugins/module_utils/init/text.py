# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of variables that a person reads, corrects and keeps: YAML with a reason behind each line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .variables import Description, Service, Variable

#: The column in which reasons begin, where the line before them leaves room.
_COLUMN = 52
_PLAIN = re.compile(r"[A-Za-z/][\w./:@+-]*")
#: What YAML takes for something else than a text.
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
# What YAML lets nobody write as it is, yaml.org/spec/1.2.2/#51-character-set; a text's own separators among it.
_ESCAPED = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_RULES = {
    "web": "new beside old, proven, then nginx leads to it",
    "worker": "new beside old, which ends its tasks",
    "scheduler": "never two at once",
    "proxy": "reloaded, not replaced",
    "database": "not touched",
    "broker": "not touched",
    "job": "once per release",
    "other": "replaced, and nobody is led",
}


def variables_file(name: str, source: str, description: Description, services: Sequence[Service]) -> str:
    """The text of ``group_vars/<app>.yml``.

    :param source: where the project was read, as a person calls it.
    """
    lines = [
        "---",
        f"# {name}, as evenkeel.deploy.init found it in {source}. Correct what is wrong; init writes no file twice.",
    ]
    lines += [_line(v) for v in description.variables]
    lines += ["", "# How each service is replaced. Correct one that is wrong in app_services."]
    width = max((len(s.name) for s in services), default=0)
    lines += [
        f"#   {s.name:<{width}}  {s.kind:<9}  {_RULES[s.kind]}" + (f" ({s.because})" if s.because else "")
        for s in services
    ]
    lines.append("# app_services: {NAME: {kind: worker}}")
    for title, texts in (("Questions", description.questions), ("An update would refuse", description.problems)):
        if texts:
            lines += ["", f"# {title}:", *(f"# - {' '.join(text.split())}" for text in texts)]
    # What comes from a stranger's files ends no line of ours.
    return "\n".join(" ".join(line.splitlines()) for line in lines) + "\n"


def _line(variable: Variable) -> str:
    why = variable.why if variable.sure else f"LOOK: {variable.why}"
    return f"{variable.name}: {yaml_value(variable.value)}".ljust(_COLUMN) + f" # {why}"


def yaml_value(value: Any) -> str:
    """A value as YAML on one line; what is no plain text is written as JSON, which is YAML."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS and not re.search(r":(\s|$)", value)
        quoted = json.dumps(value, ensure_ascii=False)
        return value if plain else _ESCAPED.sub(lambda m: f"\\U{ord(m.group()):08x}", quoted)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yaml_value(k)}: {yaml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(yaml_value, value)) + "]"
    return json.dumps(value)
