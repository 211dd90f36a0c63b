# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where ``psql`` sees strings, comments, commands of its own and ends of statements, by the rules of its own scanner (psqlscan.l).

A reader that differs from it in a single place is led to believe that a command of ``psql`` is a part of a string.  What the
versions of ``psql`` themselves read differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

COMMENT, COMMAND, END, RETURN, WRONG = "comment", "command", "end", "return", "wrong"

_NAME = rb"[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*"
# Before a string or a quoted name: no word of its own.
_PREFIX = re.compile(rb"[bBxXnN](?=')|[uU]&(?=['\"])")
_TOKEN = re.compile(
    rb"--[^\n]*|/\*|[eE]?'|\"|" + _PREFIX.pattern + rb"|"
    rb"[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*|[0-9][0-9A-Za-z_.\x80-\xff]*|"
    rb"\$(?:" + _NAME + rb")?\$|\$[0-9A-Za-z_\x80-\xff]*|::|:=|:[A-Za-z0-9_\x80-\xff]+|[();\\\r]"
)
# Rows of an INSERT, of which nothing but their end is of interest: each part either as a whole or not at all.
_VALUE = (
    rb"(?:[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*(?![A-Za-z0-9_$'\x80-\xff])|[0-9.]+(?![A-Za-z0-9_.$'\"\x80-\xff])|"
    rb"'[^'\\]*'(?!')|[ \t\n,*+]|-(?!-))"
)
_VALUES = re.compile(rb"(?:" + _VALUE + rb"|\(" + _VALUE + rb"{0,2000}\)){1,2000}")
_NUMBER = re.compile(rb"[0-9.]+(?:[eE][0-9]+|[eE](?=[+-][0-9]))?(?![A-Za-z0-9_$'\"\x80-\xff])")
_PARAMETER = re.compile(rb"\$[0-9]+(?![A-Za-z0-9_$'\"\x80-\xff])")
_ENDS = {b"'": re.compile(rb"''?"), b"e'": re.compile(rb"\\.|''?", re.S), b'"': re.compile(rb'"')}
_NESTED = re.compile(rb"/\*|\*/")
_WORD, _DIGIT = re.compile(rb"[A-Za-z_\x80-\xff]"), re.compile(rb"[0-9]")
# Content of a string that can be shown to a rule: nothing in it looks like SQL.
_SHORT = re.compile(rb"[A-Za-z0-9_ ,.-]{0,64}")
# Bytes that are kept of a statement: lists of columns are in it.
_KEPT = 256 * 1024
_ROUTINE = re.compile(rb"c(?:[fp]|or[fp])")
_LEADING = (b"create", b"function", b"procedure", b"or", b"replace")


class Scan:
    """Reads line after line.

    :ivar statement: what there is of the statement that is under way, contents of strings left out.
    :ivar open: what is open at the end of the line, empty where nothing is.
    :ivar lax: whether a string holds a backslash before a quote: with ``standard_conforming_strings`` off it ends elsewhere.
    """

    def __init__(self) -> None:
        self.statement = bytearray()
        self.open = b""
        self.lax = False
        self._content = bytearray()
        self._nested = self._parentheses = self._blocks = self._words = 0
        self._leading = bytearray(4)

    def line(self, line: bytes) -> Iterator[tuple[str, bytes]]:
        """What is met in a line, each with its text: comments, commands, ends of statements, returns, what is refused."""
        at = 0
        while at < len(line):
            if self.open:
                at = self._in_open(line, at)
                continue
            rows = _VALUES.match(line, at) if self.statement[:6].upper() == b"INSERT" else None
            if rows:
                self._keep(rows.group())
                at = rows.end()
                continue
            found = _TOKEN.search(line, at)
            if not found:
                self._keep(line[at:])
                return
            self._keep(line[at : found.start()])
            token, at = found.group(), found.end()
            first = token[:1]
            if token.endswith((b"'", b'"')):
                self._begin(b"e'" if len(token) == 2 else token, token)
            elif _WORD.match(first):
                if not _PREFIX.match(line, found.start()):
                    self._word(token.lower())
                self._keep(token)
            elif token == b";":
                if self._parentheses or self._blocks:
                    self._keep(token)
                    continue
                yield END, bytes(self.statement)
                self.statement.clear()
                self._words = 0
            elif token in (b"(", b")"):
                self._parentheses = self._parentheses + 1 if token == b"(" else max(0, self._parentheses - 1)
                self._keep(token)
            elif token.startswith(b"--"):
                if b"\r" in token:
                    # There ends the comment for psql.
                    yield RETURN, token
                yield COMMENT, token.rstrip()
                self._keep(b" ")
            elif token == b"/*":
                self.open, self._nested = token, 1
                self._keep(b" ")
            elif token == b"\\":
                yield COMMAND, line[found.start() :].rstrip()
            elif first == b"$" and token.endswith(b"$") and len(token) > 1:
                self._begin(token, b"'")
            elif token == b"\r":
                yield RETURN, token
            else:
                wrong = self._wrong(line, token, found.start())
                if wrong:
                    yield WRONG, wrong
                self._keep(token)

    @staticmethod
    def _wrong(line: bytes, token: bytes, start: int) -> bytes:
        """Why a number, a parameter or a variable of psql is refused, empty where it is not."""
        if token.startswith(b"$") and not _PARAMETER.match(line, start):
            return b"has a $ that begins no string"
        if _DIGIT.match(token) and not _NUMBER.match(line, start):
            return b"has a number that runs into what follows it, which each version of psql reads in its own way"
        if re.match(rb":[A-Z]", token):
            return b"uses a variable of psql"
        return b""

    def _word(self, word: bytes) -> None:
        """Count the blocks of a routine's body in standard SQL, in which semicolons end no statement, as psql 14 and later does."""
        if not self._words:
            self._leading = bytearray(4)
        if self._words < 4 and word in _LEADING:
            self._leading[self._words] = word[0]
        self._words += 1
        if self._parentheses or not _ROUTINE.match(self._leading):
            return
        if word == b"begin" or (word == b"case" and self._blocks):
            self._blocks += 1
        elif word == b"end" and self._blocks:
            self._blocks -= 1

    def _begin(self, what: bytes, shown: bytes) -> None:
        self.open = what
        self._content.clear()
        self._keep(shown)

    def _in_open(self, line: bytes, at: int) -> int:
        """Go on in what is open; returns where it ends, or the end of the line."""
        if self.open == b"/*":
            for found in _NESTED.finditer(line, at):
                self._nested += 1 if found.group() == b"/*" else -1
                if not self._nested:
                    self.open = b""
                    return found.end()
            return len(line)
        stop, after = self._end_of(line, at)
        if self.open == b'"':
            self._keep(line[at:after])
        elif len(self._content) <= 64:
            self._content += line[at : min(stop, at + 65)]
        if stop < len(line):
            if self.open != b'"':
                # E'' and $$ as well: what stands in them is shown only where it means the same in all of them.
                self._keep((bytes(self._content) if _SHORT.fullmatch(self._content) else b"?") + b"'")
            self.open = b""
        return after

    def _end_of(self, line: bytes, at: int) -> tuple[int, int]:
        """Where the content of what is open ends, and where what comes after it begins; the line's length where it goes on."""
        if self.open.startswith(b"$"):
            stop = line.find(self.open, at)
            return (stop, stop + len(self.open)) if stop >= 0 else (len(line), len(line))
        for found in _ENDS[self.open].finditer(line, at):
            quote = found.group()
            if self.open == b"'":
                begin = found.start()
                while begin > at and line[begin - 1 : begin] == b"\\":
                    begin -= 1
                self.lax = self.lax or (found.start() - begin) % 2 == 1
            if quote in (b"'", b'"'):
                return found.start(), found.end()
        return len(line), len(line)

    def _keep(self, text: bytes) -> None:
        if not self.statement:
            text = text.lstrip()
        if text:
            self.statement += text[: max(0, _KEPT - len(self.statement))]
