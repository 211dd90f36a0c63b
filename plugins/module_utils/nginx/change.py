# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call of ``nginx_reload`` has to do, and how its change is told without telling a secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

NOTHING = "nothing"
INSTALL = "install"
RELOAD = "reload"
PROVE = "prove"


@dataclass(frozen=True)
class Seen:
    """The file and nginx as they are.

    :ivar same: the file holds what is wanted.
    :ivar written: when the file was changed last (UNIX seconds).
    :ivar loaded: when the oldest worker that takes connections was started (UNIX seconds).
    :ivar pending: an earlier call was ended before it had proven its change.
    """

    same: bool
    written: float
    loaded: float
    pending: bool


def next_act(seen: Seen) -> str:
    """The first thing to do; what comes after it in the order install, reload, prove is done as well."""
    if not seen.same:
        return INSTALL
    if seen.written >= seen.loaded:
        # Installed, by us before a kill or by a person, but nginx goes on with what it loaded before.
        return RELOAD
    return PROVE if seen.pending else NOTHING


def pending_holds(ours: bool, written: float, loaded: float) -> bool:
    """Whether a change that an ended call left unproven still says what to go back to.

    :param ours: the file holds what that call wanted, or what was there before it.
    """
    # Something else that nginx has loaded since is somebody's decision; what it has not loaded may be a torn write.
    return ours or written >= loaded


# Blocks whose lines begin with a value and not with a directive: what stands there may be a key of a customer.
_TABLES = {"map", "geo", "split_clients", "types", "charset_map", "match"}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}\Z")


def printable_lines(text: str) -> list[str]:
    """For each line of a configuration the directives that begin on it, and nothing of their values."""
    names: dict[int, list[str]] = {}
    blocks: list[str] = []
    first, begun = "", False
    for kind, word, line in _words(text):
        if kind == "word" and not begun:
            first, begun = word, True
            names.setdefault(line, []).append(_sentence(word, blocks))
        elif kind == "{":
            blocks.append(first if begun else "")
            first, begun = "", False
        elif kind == "}":
            if blocks:
                blocks.pop()
            names.setdefault(line, []).append("}")
            first, begun = "", False
        elif kind == ";":
            first, begun = "", False
    lines = text.split("\n")
    return [" ".join(names.get(i, ())) or _other(line) for i, line in enumerate(lines)]


def _sentence(word: str, blocks: list[str]) -> str:
    if any(b.endswith("_by_lua_block") or b.startswith(("perl", "js_")) for b in blocks):
        return "(code)"
    if blocks and blocks[-1] in _TABLES:
        return f"(an entry of {blocks[-1]})"
    return word if _NAME.match(word) else "(not shown)"


def _other(line: str) -> str:
    stripped = line.strip()
    return "(comment)" if stripped.startswith("#") else "(more of it)" if stripped else ""


def _words(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield ``(kind, word, line)``; kind is ``word`` or the sign itself.  Never fails: this only tells."""
    position, line, length = 0, 0, len(text)
    while position < length:
        char = text[position]
        begun = line
        if char == "\n":
            line += 1
        elif char == "#":
            end = text.find("\n", position)
            position = (length if end < 0 else end) - 1
        elif char in "{};":
            yield char, char, line
        elif char not in " \t\r":
            ends = char if char in "\"'" else " \t\r\n;{"
            start = position = position + (char in "\"'")
            while position < length and text[position] not in ends:
                # `${name}` holds a brace that opens no block.
                position += 2 if text[position] == "\\" or text.startswith("${", position) else 1
            word = text[start:position]
            line += word.count("\n")
            yield "word", word if char not in "\"'" else "", begun
            if char not in "\"'":
                position -= 1
        position += 1


def masked_diff(before: str | None, after: str, path: str) -> str:
    """A diff for people: numbers of the lines that change, and which directives begin on them.

    :param before: None when there is no such file yet.
    """
    old, new = (before or "").split("\n"), after.split("\n")
    old_lines, new_lines = printable_lines(before or ""), printable_lines(after)
    out = [f"--- {path}{'' if before is not None else ' (not there)'}", f"+++ {path} (values are not shown)"]
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            out += [f"-{i + 1}: {old_lines[i]}".rstrip() for i in range(a, b) if before is not None]
            out += [f"+{i + 1}: {new_lines[i]}".rstrip() for i in range(c, d)]
    return "\n".join(out) + "\n" if len(out) > 2 else ""
