# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a start script of an image runs, for the arguments and the environment that a service gives it.

One script is often the start of all services: ``case "$1" in worker) …``, ``if [ "$ROLE" = beat ]; then …``. This reads what
such scripts are made of: branches, loops, functions, variables. Where a branch cannot be told, both count.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_PUNCTUATION = re.compile(r";;&?|&&|\|\||>>|<<|>&|&>|<&|[;&|()<>]")
_REDIRECTS = {">", ">>", "<", "<<", ">&", "&>", "<&"}
_SEPARATORS = {";", ";;", "&", "&&", "|", "||", "(", ")"}
_HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1(.*?)\n.*?^\s*\2\s*$", re.DOTALL | re.MULTILINE)
_ASSIGNED = re.compile(r"^(\w+)=(.*)$", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:(\w+)|([@*#])|\{(\w+|[@*#])(?:(:?[-=+?#%])([^{}]*))?(?::(\d+))?\})")
_NAME = re.compile(r"^[A-Za-z_][\w-]*$")
#: How deep functions may call each other before they are left alone.
_DEPTH = 8


@dataclass(frozen=True)
class Command:
    """A simple command of a script.

    :ivar words: as a program gets them; ``looped``: whether it is run again and again.
    """

    words: tuple[str, ...]
    looped: bool = False


def _tokens(text: str) -> list[str]:
    text = _HERE.sub(lambda m: m.group(3), text.replace("\\\n", " "))
    lines = [re.sub(r"(^|\s)#[^'\"]*$", "", line) for line in text.splitlines()]
    # What is in quotes may go over several lines; what ends there is none the wiser for a semicolon.
    whole = " \n;\n ".join(lines)
    lexer = shlex.shlex(whole, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        tokens = list(lexer)
    except ValueError:
        # A quote that nothing closes.
        tokens = re.sub(r"([;&|()]+)", r" \1 ", whole).split()
    return [
        part
        for token in tokens
        for part in (_PUNCTUATION.findall(token) if token and set(token) <= set("();<>|&") else [token])
    ]


@dataclass
class _Reader:
    """Goes through a script's tokens once; ``commands`` are what it has met where it may get to."""

    tokens: Sequence[str]
    arguments: list[str]
    environment: dict[str, str]
    functions: dict[str, Sequence[str]] = field(default_factory=dict)
    depth: int = 0
    at: int = 0
    commands: list[Command] = field(default_factory=list)
    ended: bool = False

    def _next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def expanded(self, word: str) -> list[str]:
        """A word as the words that it becomes."""
        if word in ("$@", "$*", "${@}", "${*}"):
            return list(self.arguments)
        rest = re.fullmatch(r"\$\{[@*]:(\d+)\}", word)
        if rest:
            return self.arguments[max(0, int(rest.group(1)) - 1) :]
        return [_VARIABLE.sub(self._value, word)]

    def _value(self, match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2) or match.group(3)
        operator, other = match.group(4) or "", match.group(5) or ""
        if name == "#":
            return str(len(self.arguments))
        if name in "@*":
            value = " ".join(self.arguments)
        elif name.isdecimal():
            number = int(name)
            value = self.arguments[number - 1] if 0 < number <= len(self.arguments) else ""
        else:
            value = self.environment.get(name, "")
        if operator.lstrip(":") in ("-", "="):
            return value or _VARIABLE.sub(self._value, other)
        if operator.lstrip(":") == "+":
            return other if value else ""
        if operator == "#" and other and value.startswith(other):
            return value[len(other) :]
        return value

    def read(self, until: frozenset[str], live: bool, sure: bool, looped: bool = False) -> str:
        """Go on to one of these words at the beginning of a command, and past it; returns it, empty at the end."""
        while self.at < len(self.tokens):
            word = self._next()
            if word in until:
                self.at += 1
                return word
            if word in _SEPARATORS or word in ("{", "}", "!", "then", "do"):
                self.at += 1
            elif word == "if":
                self.at += 1
                self._branches(live, sure, looped)
            elif word == "case":
                self.at += 1
                self._cases(live, sure, looped)
            elif word in ("while", "until", "for", "select"):
                self.at += 1
                self._skip_to("do")
                self.read(frozenset({"done"}), live, sure=False, looped=looped or word in ("while", "until"))
            elif self._defines():
                continue
            else:
                self._simple(live and not self.ended, sure, looped)
        return ""

    def _skip_to(self, word: str) -> list[str]:
        began = self.at
        while self.at < len(self.tokens) and self._next() != word:
            self.at += 1
        skipped = list(self.tokens[began : self.at])
        self.at += 1
        return skipped

    def _branches(self, live: bool, sure: bool, looped: bool) -> None:
        open_yet, end = True, "elif"
        certain = sure
        while end in ("elif", "else"):
            value = self._holds(self._skip_to("then")) if end == "elif" else True
            may = live and open_yet and value is not False
            end = self.read(frozenset({"elif", "else", "fi"}), may, certain and value is True, looped)
            open_yet = open_yet and value is not True
            certain = certain and value is not None

    def _cases(self, live: bool, sure: bool, looped: bool) -> None:
        value = "".join(self.expanded(self._next()))
        self.at += 1
        self._skip_to("in")
        taken = False
        while self.at < len(self.tokens):
            while self._next() in (";", "(", ";;"):
                self.at += 1
            if self._next() in ("esac", ""):
                self.at += 1
                return
            patterns = [p for p in self._skip_to(")") if p != "|"]
            fits = any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)
            end = self.read(frozenset({";;", ";;&", "esac"}), live and fits and not taken, sure, looped)
            taken = taken or fits
            if end in ("esac", ""):
                return

    def _defines(self) -> bool:
        words = list(self.tokens[self.at : self.at + 4])
        if words[:1] == ["function"]:
            words = words[1:]
            self.at += 1
        if len(words) < 2 or not _NAME.match(words[0]) or (words[1:3] != ["(", ")"] and words[1] != "{"):
            return False
        name = words[0]
        self._skip_to("{")
        began, depth = self.at, 1
        while self.at < len(self.tokens) and depth:
            depth += (self._next() == "{") - (self._next() == "}")
            self.at += 1
        self.functions[name] = self.tokens[began : self.at - 1]
        return True

    def _simple(self, live: bool, sure: bool, looped: bool) -> None:
        raw: list[str] = []
        while self.at < len(self.tokens) and self._next() not in _SEPARATORS:
            if self._next() in _REDIRECTS:
                if raw and raw[-1].isdecimal():
                    # 2>&1: which of its outputs.
                    raw.pop()
                self.at += 2
                continue
            raw.append(self._next())
            self.at += 1
        words = [part for word in raw for part in self.expanded(word)]
        while words and _ASSIGNED.match(words[0]):
            name, value = words.pop(0).split("=", 1)
            if live and not words:
                self.environment[name] = value
        if words and words[0] in ("export", "declare", "local", "readonly"):
            for name, value in (w.split("=", 1) for w in words[1:] if _ASSIGNED.match(w)):
                if live:
                    self.environment[name] = value
            return
        if not words or not live:
            return
        if words[0] == "shift":
            del self.arguments[: int(words[1]) if words[1:] and words[1].isdecimal() else 1]
        elif words[:2] == ["set", "--"]:
            self.arguments[:] = words[2:]
        elif words[0] in ("exit", "return"):
            self.ended = self.ended or sure
        elif words[0] in self.functions and self.depth < _DEPTH:
            inner = _Reader(self.functions[words[0]], words[1:], self.environment, self.functions, self.depth + 1)
            inner.read(frozenset(), live, sure, looped)
            self.commands += inner.commands
        else:
            self.commands.append(Command(tuple(words), looped))
            self.ended = self.ended or (sure and words[0] == "exec" and len(words) > 1)

    def _holds(self, tokens: list[str]) -> bool | None:
        """Whether a condition holds; None where that is only known when it runs."""
        for operator, other in (("||", True), ("&&", False)):
            if operator in tokens:
                at = tokens.index(operator)
                left, right = self._holds(tokens[:at]), self._holds(tokens[at + 1 :])
                if other in (left, right):
                    return other
                return None if None in (left, right) else not other
        words = [part for token in tokens if token != ";" for part in self.expanded(token)]
        if words[:1] == ["!"]:
            inner = self._holds(words[1:])
            return None if inner is None else not inner
        if words[:1] in (["["], ["[["]):
            words = [w for w in words[1:] if w not in ("]", "]]")]
        elif words[:1] == ["test"]:
            words = words[1:]
        else:
            return {"true": True, "false": False}.get(" ".join(words))
        if words[:1] == ["!"]:
            inner = self._holds(["[", *words[1:]])
            return None if inner is None else not inner
        return _compared(words)


def _compared(words: Sequence[str]) -> bool | None:
    if len(words) == 1:
        return bool(words[0])
    if len(words) == 2 and words[0] in ("-z", "-n"):
        return bool(words[1]) == (words[0] == "-n")
    if len(words) != 3:
        return None
    left, operator, right = words
    if operator in ("=", "=="):
        return fnmatch.fnmatchcase(left, right) if set(right) & set("*?") else left == right
    if operator == "!=":
        return left != right
    if operator in ("-eq", "-ne", "-gt", "-lt", "-ge", "-le") and left.isdecimal() and right.isdecimal():
        one, two = int(left), int(right)
        return {
            "-eq": one == two, "-ne": one != two, "-gt": one > two, "-lt": one < two, "-ge": one >= two, "-le": one <= two,
        }[operator]  # fmt: skip
    return None


def commands_of(text: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[Command]:
    """The simple commands that a shell script runs, in their order, conditions and what only prepares left out.

    :param arguments: what the script is given, as ``$1`` and so on.
    :param environment: the variables that it finds; one that is not in it is empty to the script.
    """
    reader = _Reader(_tokens(text), list(arguments), dict(environment))
    reader.read(frozenset(), live=True, sure=True)
    yield from reader.commands
