# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hotfix of the database may say: functions, procedures, views and triggers, and nothing that has rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .sql_statements import OTHER, QUOTED, WORD, Statement, Token, Unreadable, split

FUNCTION, VIEW, TRIGGER = "function", "view", "trigger"
_UPDATE = "write a migration, and run ansible-playbook evenkeel.deploy.update -e update_version=VERSION"
_ROWS = ("insert", "update", "delete", "merge", "truncate", "copy", "with", "select", "values", "do", "call", "table")
_TRANSACTION = ("begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare")
_SESSION = ("set", "reset", "discard", "listen", "notify", "lock", "declare", "execute", "explain")


class Refused(ValueError):
    """A statement is none of a hotfix; ``advice`` is what to do instead."""

    def __init__(self, what: str, advice: str = _UPDATE) -> None:
        super().__init__(what)
        self.advice = advice


@dataclass(frozen=True)
class Named:
    """What a statement makes, replaces or drops; an empty schema is the one that the server finds.

    :ivar kind: ``function`` (a procedure too), ``view`` or ``trigger``.
    :ivar table: of a trigger.
    """

    kind: str
    schema: str
    name: str
    table_schema: str = ""
    table: str = ""

    def __str__(self) -> str:
        name = f"{self.schema}.{self.name}" if self.schema else self.name
        at = f"{self.table_schema}.{self.table}" if self.table_schema else self.table
        return f"{self.kind} {name}" + (f" on {at}" if at else "")


@dataclass(frozen=True)
class Change:
    """One statement that is allowed, and what it names."""

    text: str
    line: int
    named: tuple[Named, ...]

    @property
    def locks(self) -> bool:
        """Whether somebody may have to be waited for: a function can be replaced at any time."""
        return any(n.kind != FUNCTION for n in self.named)


def changes_of(text: str) -> list[Change]:
    """The statements of a hotfix.

    :raises Refused: one is none of those that a hotfix can be, or there is none.
    """
    try:
        statements = split(text)
    except Unreadable as error:
        raise Refused(str(error), "correct that, and run the same command again") from error
    if not statements:
        raise Refused("the file has no statement", "name a file with CREATE OR REPLACE FUNCTION, VIEW or TRIGGER")
    return [_change(s) for s in statements]


def checked_query(text: str) -> str:
    """The one query of a check, without its semicolon.

    :raises Refused: it is no query, or more than one.
    """
    advice = "write one SELECT that is true where the hotfix works"
    try:
        statements = split(text)
    except Unreadable as error:
        raise Refused(f"the check cannot be read: {error}", advice) from error
    if len(statements) != 1 or statements[0].head.split(" ")[0] not in ("SELECT", "WITH", "VALUES"):
        raise Refused("the check is not one SELECT", advice)
    return statements[0].text


class _Reader:
    """The tokens of one statement, read from the left."""

    def __init__(self, statement: Statement) -> None:
        self.tokens = statement.tokens
        self.at = 0
        self.line = statement.line

    def take(self, *words: str) -> bool:
        """Pass over these words where they come next."""
        here = self.tokens[self.at : self.at + len(words)]
        if [t.text for t in here] != list(words) or any(t.kind != WORD for t in here):
            return False
        self.at += len(words)
        return True

    def sign(self, sign: str) -> bool:
        token = self.peek()
        if token is None or token.kind != OTHER or token.text != sign:
            return False
        self.at += 1
        return True

    def peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def name(self, what: str) -> tuple[str, str]:
        """Schema, empty where there is none, and name.

        :raises Refused: there is no name, or it is one that is the server's own.
        """
        parts = [self._part(what)]
        while self.sign("."):
            parts.append(self._part(what))
        if len(parts) > 2:
            raise Refused(f"line {self.line}: {'.'.join(parts)} names a database", "leave that out of the name")
        schema = parts[0] if len(parts) == 2 else ""
        if schema.startswith("pg_") or schema == "information_schema":
            raise Refused(f"line {self.line}: {'.'.join(parts)} is the server's own", "leave that as it is")
        return schema, parts[-1]

    def _part(self, what: str) -> str:
        token = self.peek()
        if token is None or token.kind not in (WORD, QUOTED) or not token.text:
            raise Refused(f"line {self.line}: {what} has no name", "correct that, and run the same command again")
        self.at += 1
        return token.text

    def past_parentheses(self) -> None:
        """Pass over what stands in parentheses, where that comes next."""
        if not self.sign("("):
            return
        depth = 1
        while depth and self.at < len(self.tokens):
            token = self.tokens[self.at]
            depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == OTHER else 0
            self.at += 1

    def past(self, word: str) -> bool:
        """Pass over everything up to a word that stands in no parentheses, and over that."""
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.kind == OTHER and token.text == "(":
                self.past_parentheses()
                continue
            self.at += 1
            if token.kind == WORD and token.text == word:
                return True
        return False


def _change(statement: Statement) -> Change:
    reader = _Reader(statement)
    if reader.take("create"):
        named = _created(reader, statement)
    elif reader.take("drop"):
        named = _dropped(reader, statement)
    else:
        raise _refusal(statement)
    return Change(statement.text, statement.line, tuple(named))


def _created(reader: _Reader, statement: Statement) -> list[Named]:
    reader.take("or", "replace")
    if reader.take("function") or reader.take("procedure"):
        return [Named(FUNCTION, *reader.name("the function"))]
    reader.take("recursive")
    if reader.take("view"):
        return [Named(VIEW, *reader.name("the view"))]
    if reader.take("trigger"):
        schema, name = reader.name("the trigger")
        if schema or not reader.past("on"):
            raise Refused(f"line {statement.line}: the trigger {name} is not written as CREATE TRIGGER name … ON table",
                          "correct that, and run the same command again")  # fmt: skip
        return [Named(TRIGGER, "", name, *reader.name("the table of the trigger"))]
    raise _refusal(statement)


def _dropped(reader: _Reader, statement: Statement) -> list[Named]:
    found: list[Named] = []
    kind = FUNCTION if reader.take("function") or reader.take("procedure") else VIEW if reader.take("view") else ""
    if not kind and not reader.take("trigger"):
        raise _refusal(statement)
    reader.take("if", "exists")
    if not kind:
        schema, name = reader.name("the trigger")
        if schema or not reader.take("on"):
            raise Refused(f"line {statement.line}: the trigger {name} is not written as DROP TRIGGER name ON table",
                          "correct that, and run the same command again")  # fmt: skip
        found.append(Named(TRIGGER, "", name, *reader.name("the table of the trigger")))
    while kind:
        found.append(Named(kind, *reader.name(f"the {kind}")))
        reader.past_parentheses()
        if not reader.sign(","):
            break
    reader.take("restrict")
    if reader.peek() is not None:
        cascade = reader.take("cascade")
        raise Refused(
            f"line {statement.line}: DROP … CASCADE takes away what it does not name, and nobody would keep it"
            if cascade
            else f"line {statement.line}: what comes after {found[-1]} cannot be read",
            "name each thing that goes" if cascade else "correct that, and run the same command again",
        )
    return found


def _refusal(statement: Statement) -> Refused:
    """Why a statement is none of a hotfix, by its first words."""
    head = statement.head or statement.text[:20]
    first, _space, rest = head.lower().partition(" ")
    where = f"line {statement.line}: {' '.join(head.split(' ')[:3])}"
    if first in _TRANSACTION:
        return Refused(f"{where} begins or ends a transaction, and a hotfix is one already", "leave it out")
    if first in _SESSION:
        return Refused(f"{where} is for a session, and this one ends with the hotfix",
                       "leave it out; a function's own settings stand in it (CREATE FUNCTION … SET name = value)")  # fmt: skip
    if first in _ROWS:
        return Refused(f"{where} works on rows, which no definition brings back")
    words = rest.replace("or replace ", "").split(" ")
    if first in ("create", "drop") and words[0] in ("temp", "temporary"):
        return Refused(f"{where} is gone with the session that made it", "leave TEMPORARY out")
    if first in ("create", "drop") and words[0] == "materialized":
        return Refused(f"{where} view has rows of its own, and filling it takes as long as its query")
    if first in ("create", "drop", "alter", "comment", "grant", "revoke", "reindex", "refresh", "cluster", "vacuum"):
        return Refused(f"{where} is none of what a hotfix changes: a function, procedure, view or trigger")
    return Refused(f"{where} is no CREATE or DROP of a function, procedure, view or trigger")


def all_named(changes: Sequence[Change]) -> list[Named]:
    """What the statements name, each once, in their order."""
    return list(dict.fromkeys(n for c in changes for n in c.named))
