# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single variables of an environment file, as Compose reads it; everything else in it stays as it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=(.*)")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,-]*")


class BadEnvironment(Exception):
    """The file, a name or a value cannot be written; the message has no value in it."""


def problem_with_name(name: str) -> str:
    """Why a variable cannot be changed, empty when it can."""
    if not _NAME.fullmatch(name):
        return f"{name!r} is no name of an environment variable"
    if name.startswith("COMPOSE_"):
        return f"{name} is Compose's own, and would change what the project is"
    return ""


def with_values(text: str, values: Mapping[str, str]) -> str:
    """The file with these variables set: in their place where they were, else at the end.

    :raises BadEnvironment: a line that is none, a value over several lines, a name that cannot be.
    """
    for name, value in values.items():
        problem = problem_with_name(name)
        if problem or re.search(r"[\x00\r\n]", value):
            raise BadEnvironment(problem or f"{name}: its value has more than one line")
    left, found = dict(values), []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            found.append(line)
            continue
        known = _LINE.fullmatch(line)
        if not known:
            raise BadEnvironment(f"line {number} of it is no variable (NAME=value)")
        if _goes_on(known.group(2).strip()):
            raise BadEnvironment(f"line {number} of it begins a value of several lines, which is not changed here")
        name = known.group(1)
        if name not in values:
            found.append(line)
        elif name in left:
            found.append(f"{name}={written(left.pop(name))}")
    found += [f"{name}={written(value)}" for name, value in left.items()]
    return "\n".join(found) + "\n"


def lines_of(text: str, name: str) -> list[str]:
    """The lines that set a variable, as they are written."""
    known = ((_LINE.fullmatch(line), line) for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [line for match, line in known if match and match.group(1) == name]


def with_lines(text: str, names: Collection[str], source: str) -> str:
    """The file with these variables as another text sets them; those that it does not set are gone.

    :raises BadEnvironment: one of both has a line that is none, or a value over several lines.
    """
    for one in (text, source):
        with_values(one, {})
    mine = {name: lines_of(text, name) for name in names}
    left, found = {name: lines_of(source, name) for name in names}, []
    for line in text.splitlines():
        name = next((n for n, lines in mine.items() if line in lines), "")
        found += left.pop(name, []) if name else [line]
    found += [line for lines in left.values() for line in lines]
    return "\n".join(found) + "\n"


def _goes_on(value: str) -> bool:
    """Whether a quote is opened and not closed."""
    return value[:1] in ("'", '"') and not re.match(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"", value)


def written(value: str) -> str:
    """A value so that Compose reads exactly this one."""
    if _PLAIN.fullmatch(value):
        return value
    if "'" not in value and "\\" not in value:
        return f"'{value}'"
    escaped = re.sub(r'([\\"$])', r"\\\1", value)
    return f'"{escaped}"'
