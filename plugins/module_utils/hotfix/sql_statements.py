# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where one SQL statement ends and the next begins, as PostgreSQL itself reads them. Pure.

The server is told ``standard_conforming_strings = on``: only then a backslash in a plain string is nothing special.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WORD, QUOTED, STRING, OTHER = "word", "quoted", "string", "other"

_SPACE = re.compile(r"[ \t\n\r\f\v]+")
# A lone carriage return ends a comment for the server too: what follows it is no comment.
_LINE_COMMENT = re.compile(r"--[^\n\r]*")
_BLOCK = re.compile(r"/\*|\*/")
_WORD = re.compile(r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*")
_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$")
_PARAMETER = re.compile(r"\$\d+")
_PLAIN = re.compile(r"'(?:[^']|'')*'")
_ESCAPED = re.compile(r"'(?:[^'\\]|''|\\.)*'", re.S)
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
# A string goes on after a line break, and one with escapes goes on with escapes.
_GOES_ON = re.compile(r"(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\n\r\f\v]+|--[^\n\r]*[\n\r])*(?=')")
_PREFIXES = ("e", "b", "x", "n", "u&")


class Unreadable(ValueError):
    """The text is no SQL that could be told apart; the message is for the user."""


@dataclass(frozen=True)
class Token:
    """A word (folded as the server does), a quoted name (without its quotes), a string, or one other character.

    :ivar line: counted from 1.
    """

    kind: str
    text: str
    start: int
    end: int
    line: int


@dataclass(frozen=True)
class Statement:
    """One statement as it was written, without the semicolon; its tokens have no comments among them."""

    text: str
    tokens: tuple[Token, ...]
    line: int

    @property
    def head(self) -> str:
        """Its first words, in capitals."""
        words = []
        for token in self.tokens[:4]:
            if token.kind != WORD:
                break
            words.append(token.text.upper())
        return " ".join(words)


def tokens_of(text: str) -> Iterator[Token]:
    """Everything in a text but space and comments.

    :raises Unreadable: something that was opened is never closed, or no such character can be in SQL.
    """
    at, line, counted = 0, 1, 0
    while at < len(text):
        end, kind, content = _next(text, at)
        line += text.count("\n", counted, at)
        counted = at
        if kind:
            yield Token(kind, content, at, end, line)
        at = end


def _next(text: str, at: int) -> tuple[int, str, str]:
    """Where what begins at a place ends, its kind (empty for space and comments), and what it says."""
    sign = text[at]
    for pattern in (_SPACE, _LINE_COMMENT):
        found = pattern.match(text, at)
        if found:
            return found.end(), "", ""
    if text.startswith("/*", at):
        return _block_end(text, at), "", ""
    if sign == "'":
        return _string_end(text, at, False), STRING, ""
    if sign == '"':
        found = _closed(_QUOTED, text, at, "a quoted name")
        return found.end(), QUOTED, found.group()[1:-1].replace('""', '"')
    if sign == "$":
        return _after_dollar(text, at)
    word = _WORD.match(text, at)
    if word:
        return _after_word(text, word)
    number = _NUMBER.match(text, at)
    if number:
        return number.end(), OTHER, number.group()
    if sign == "\0":
        raise Unreadable(f"line {_line(text, at)} has a character that no SQL has (NUL): it is no text, or UTF-16")
    if sign == "\\":
        command = re.match(r"\\\S*", text[at:])
        shown = command.group()[:20] if command else "\\"
        raise Unreadable(f"line {_line(text, at)} has {shown}, a command of psql: only SQL is run")
    return at + 1, OTHER, sign


def _after_word(text: str, word: re.Match[str]) -> tuple[int, str, str]:
    name, end = word.group(), word.end()
    prefix = name.lower()
    if prefix == "u" and text.startswith(("&'", '&"'), end):
        prefix, end = "u&", end + 1
    if prefix == "u&" and text.startswith('"', end):
        raise Unreadable(f"line {_line(text, end)} has a name with escapes (U&): write it as it is, in double quotes")
    if prefix in _PREFIXES and text.startswith("'", end):
        return _string_end(text, end, prefix == "e"), STRING, ""
    # Only ASCII is folded.
    return end, WORD, "".join(c.lower() if c < "\x80" else c for c in name)


def _after_dollar(text: str, at: int) -> tuple[int, str, str]:
    tag = _DOLLAR.match(text, at)
    if tag:
        end = text.find(tag.group(), tag.end())
        if end < 0:
            raise Unreadable(f"{tag.group()} of line {_line(text, at)} is never closed")
        return end + len(tag.group()), STRING, ""
    parameter = _PARAMETER.match(text, at)
    return (parameter.end() if parameter else at + 1), OTHER, "$"


def _string_end(text: str, at: int, escapes: bool) -> int:
    end = _closed(_ESCAPED if escapes else _PLAIN, text, at, "a string").end()
    while True:
        more = _GOES_ON.match(text, end)
        if not more:
            return end
        end = _closed(_ESCAPED if escapes else _PLAIN, text, more.end(), "a string").end()


def _closed(pattern: re.Pattern[str], text: str, at: int, what: str) -> re.Match[str]:
    found = pattern.match(text, at)
    if not found:
        raise Unreadable(f"{what} of line {_line(text, at)} is never closed")
    return found


def _block_end(text: str, at: int) -> int:
    depth, end = 0, at
    while True:
        found = _BLOCK.search(text, end)
        if not found:
            raise Unreadable(f"a comment of line {_line(text, at)} is never closed")
        depth += 1 if found.group() == "/*" else -1
        end = found.end()
        if not depth:
            return end


def _line(text: str, at: int) -> int:
    return 1 + text.count("\n", 0, at)


def split(text: str) -> list[Statement]:
    """The statements of a text; a body ``BEGIN ATOMIC … END`` of a function belongs to its statement.

    :raises Unreadable: what is opened is never closed, or it is a command of ``psql``.
    """
    text = text[1:] if text.startswith("\ufeff") else text
    found: list[Statement] = []
    mine: list[Token] = []
    parentheses, bodies = 0, 0
    for token in tokens_of(text):
        if token.kind == OTHER and token.text == ";" and parentheses <= 0 and not bodies:
            _add(found, text, mine)
            mine, parentheses = [], 0
            continue
        if token.kind == OTHER:
            parentheses += {"(": 1, ")": -1}.get(token.text, 0)
        elif token.kind == WORD:
            if token.text == "atomic" and mine and _is(mine[-1], "begin") and not parentheses and _has_body(mine):
                bodies += 1
            elif bodies:
                bodies += {"case": 1, "end": -1}.get(token.text, 0)
        mine.append(token)
    if bodies or parentheses > 0:
        what = "BEGIN ATOMIC" if bodies else "a parenthesis"
        raise Unreadable(f"{what} in the statement of line {mine[0].line} is never closed")
    _add(found, text, mine)
    return found


def _is(token: Token, word: str) -> bool:
    return token.kind == WORD and token.text == word


def _has_body(tokens: Sequence[Token]) -> bool:
    words = [t.text if t.kind == WORD else "" for t in tokens[:4]]
    rest = words[3:] if words[1:3] == ["or", "replace"] else words[1:]
    return words[0] == "create" and rest[:1] in (["function"], ["procedure"])


def _add(found: list[Statement], text: str, tokens: Sequence[Token]) -> None:
    if tokens:
        found.append(Statement(text[tokens[0].start : tokens[-1].end], tuple(tokens), tokens[0].line))
