# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of nginx as a tree of directives, read from the output of ``nginx -T``.

Anything that is not fully understood is refused by name rather than guessed at.  crossplane is its oracle in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace


class UnreadableConfig(Exception):
    """The configuration holds something that cannot be understood safely; the message names it, at a length that can be read."""

    def __init__(self, what: str) -> None:
        super().__init__(what[:300])


@dataclass(frozen=True)
class Directive:
    """One directive: its words, and the directives of its block (None when it has no block).

    ``file`` is the one that an ``include`` brought it from into the block that it stands in, empty where none did;
    ``line`` is where it begins in its file, from 1.
    """

    words: tuple[str, ...]
    block: tuple[Directive, ...] | None = None
    file: str = ""
    line: int = field(default=0, compare=False)

    @property
    def name(self) -> str:
        return self.words[0]


_FILE_MARK = re.compile(r"^# configuration file (.+):$")
# More than that nobody writes; of a container that somebody has broken into it would be read for minutes.
_LENGTH, _INCLUDES, _WILDCARDS = 16 * 1024 * 1024, 5000, 6
_LUA_BLOCK = re.compile(r"_by_lua_block$|^(perl|js)_")
# What nginx itself takes for white space; Python's str.isspace() knows more, a no-break space for one.
_SPACE = " \t\r\n"
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "t": "\t", "r": "\r", "n": "\n"}


def _tokens(text: str) -> Iterator[tuple[str, bool, int]]:
    """Yield ``(token, quoted, line)``; a ``{``, ``}`` or ``;`` that is not quoted is a token of its own."""
    position, length, line, counted = 0, len(text), 1, 0
    while position < length:
        char = text[position]
        line, counted = line + text.count("\n", counted, position), position
        if char in _SPACE:
            position += 1
        elif char == "#":
            end = text.find("\n", position)
            position = length if end < 0 else end
        elif char in "{};":
            yield char, False, line
            position += 1
        elif char in "\"'":
            word, position = _word(text, position + 1, char)
            if position == length:
                raise UnreadableConfig("a quote that is opened and never closed")
            yield word, True, line
            position += 1
        else:
            word, position = _word(text, position, _SPACE + ";{")
            # Never to be mistaken for a brace of its own.
            yield word, True, line


def _word(text: str, position: int, ends: str) -> tuple[str, int]:
    """The word from here to any of ``ends``, and where that is; escapes as nginx reads them, quoted or not."""
    word: list[str] = []
    while position < len(text) and text[position] not in ends:
        pair = text[position : position + 2]
        if pair[0] == "\\" and len(pair) == 2:
            word.append(_ESCAPES.get(pair[1], pair))
        elif pair == "${":
            word.append(pair)
        else:
            word.append(pair[0])
            position -= 1
        position += 2
    return "".join(word), position


def parse(text: str) -> tuple[Directive, ...]:
    """Parse nginx configuration text into directives.

    :raises UnreadableConfig: unbalanced braces or quotes, or embedded code (Lua, Perl, njs blocks).
    """
    stack: list[list[Directive]] = [[]]
    heads: list[tuple[tuple[str, ...], int]] = []
    words: list[str] = []
    began = 0
    for token, quoted, line in _tokens(text):
        began = began if words else line
        if quoted or token not in "{};":
            words.append(token)
        elif token == ";":
            if words:
                stack[-1].append(Directive(tuple(words), line=began))
            words = []
        elif token == "{":
            if words and _LUA_BLOCK.search(words[0]):
                raise UnreadableConfig(f"{words[0]}: embedded code is not understood")
            heads.append((tuple(words) or ("",), began))
            stack.append([])
            words = []
        else:
            if not heads or words:
                raise UnreadableConfig("unbalanced braces" if not heads else f"{words[0]} is not ended by a semicolon")
            block = tuple(stack.pop())
            head, at = heads.pop()
            stack[-1].append(Directive(head, block, line=at))
    if heads or words:
        raise UnreadableConfig(f"it ends inside {(heads[-1][0] if heads else words)[0]!r}")
    return tuple(stack[0])


def split_dump(text: str) -> dict[str, str]:
    """Split the output of ``nginx -T`` into its files, path to text, in the order in which it has them."""
    files: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.split("\n"):
        mark = _FILE_MARK.match(line)
        if mark:
            lines = files.setdefault(mark.group(1), [])
        else:
            lines.append(line)
    return {path: "\n".join(body) + "\n" for path, body in files.items()}


def load(dump: str) -> tuple[Directive, ...]:
    """The whole configuration as one tree, every ``include`` replaced by what it includes.

    :param dump: the output of ``nginx -T``.
    :raises UnreadableConfig: when there is no file in it, or one cannot be parsed.
    """
    if len(dump) > _LENGTH:
        raise UnreadableConfig(f"nginx -T printed more than {_LENGTH // 2**20} MiB")
    files = split_dump(dump)
    if not files:
        raise UnreadableConfig("nginx -T printed no configuration file")
    main = next(iter(files))
    prefix = main.rsplit("/", 1)[0]
    return tuple(_expand(parse(files[main]), _Included(files, prefix), 0))


@dataclass
class _Included:
    """The files that can be included, and how many were: two lines in each of twenty files would include a million."""

    files: dict[str, str]
    prefix: str
    count: int = 0


def _expand(directives: Sequence[Directive], known: _Included, depth: int) -> Iterator[Directive]:
    if depth > 20:
        raise UnreadableConfig("includes are nested more than twenty deep")
    for directive in directives:
        if directive.name == "include" and len(directive.words) == 2:
            yield from _included(directive.words[1], known, depth + 1)
        elif directive.block is not None:
            yield replace(directive, block=tuple(_expand(directive.block, known, depth + 1)))
        else:
            yield directive


def includes_in(text: str, prefix: str) -> list[str]:
    """The absolute patterns of files that a configuration file includes, in their order.

    :param prefix: the folder of the main file, by which nginx completes relative ones.
    :raises UnreadableConfig: see :func:`parse`.
    """
    found: list[str] = []
    waiting = list(parse(text))
    while waiting:
        directive = waiting.pop(0)
        if directive.name == "include" and len(directive.words) == 2:
            found.append(_absolute(directive.words[1], prefix))
        waiting[:0] = directive.block or ()
    return found


def _absolute(pattern: str, prefix: str) -> str:
    return pattern if pattern.startswith("/") else f"{prefix}/{pattern}"


def _included(pattern: str, known: _Included, depth: int) -> Iterator[Directive]:
    pattern = _absolute(pattern, known.prefix)
    glob = _glob(pattern)
    matching = [path for path in known.files if path == pattern or glob.match(path)]
    known.count += len(matching)
    if known.count > _INCLUDES:
        raise UnreadableConfig(f"it includes more than {_INCLUDES} files")
    if not matching and not re.search(r"[*?[]", pattern):
        raise UnreadableConfig(f"include {pattern}: nginx -T did not print that file")
    for path in matching:
        for directive in _expand(parse(known.files[path]), known, depth):
            yield directive if directive.file else replace(directive, file=path)


def _glob(pattern: str) -> re.Pattern[str]:
    """As glob(3), which nginx asks: no wildcard matches a slash.

    :raises UnreadableConfig: it is none, or has more wildcards than can be matched in a time that is bounded.
    """
    if pattern.count("*") > _WILDCARDS:
        raise UnreadableConfig("an include has too many wildcards")
    parts = re.findall(r"\[[!^]?\]?[^]]*\]|.", pattern, re.DOTALL)
    simple = {"*": "[^/]*", "?": "[^/]"}
    classes = {p: re.sub(r"^\[!", "[^", p.replace("\\", "\\\\")) for p in parts if len(p) > 1}
    try:
        return re.compile("".join(simple.get(p) or classes.get(p) or re.escape(p) for p in parts) + r"\Z")
    except re.error as error:
        raise UnreadableConfig("an include has a pattern that means nothing") from error
