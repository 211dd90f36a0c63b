# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plain dump of ``pg_dump`` is worth before ``psql`` reads it: whole, of one database, and not led elsewhere by commands.

``psql`` itself runs whatever comes: a dump that ends in the middle is restored in half, and ``\\connect`` leads it to another
database than the one it was started for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_HEADER = b"-- PostgreSQL database dump"
_COMPLETE = b"-- PostgreSQL database dump complete"
_CLUSTER = b"-- PostgreSQL database cluster dump"
_VERSION = re.compile(rb"^-- Dumped from database version (\d+)")
# Where none of these is open: comments, strings, quoted names, commands of psql, ends of statements.
_TOKEN = re.compile(
    rb"--[^\n]*|/\*|(?<![A-Za-z0-9_$\x80-\xff])[eE]'|'|\"|\\|;"
    rb"|(?<![A-Za-z0-9_$\x80-\xff])\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$"
)
_ENDS = {b"'": re.compile(rb"'"), b"e'": re.compile(rb"\\.|'", re.S), b'"': re.compile(rb'"')}
_COMMENT = re.compile(rb"/\*|\*/")
_COPY = re.compile(
    rb'\s*COPY\s+(?:("(?:[^"]|"")*"|[^\s".(]+)\s*\.\s*)?("(?:[^"]|"")*"|[^\s".(]+)\s*(?:\(.*\))?\s*FROM\s+stdin\b',
    re.I | re.S,
)
_INSERT = re.compile(rb'\s*INSERT\s+INTO\s+(?:("(?:[^"]|"")*"|[^\s".(]+)\s*\.\s*)?("(?:[^"]|"")*"|[^\s".(]+)', re.I)
_DATABASE = re.compile(rb"\s*(CREATE|DROP)\s+DATABASE\b", re.I)
_ROLE = re.compile(rb"\s*(CREATE|DROP|ALTER)\s+(ROLE|USER)\s+(?!MAPPING)", re.I)
_TABLE = re.compile(rb"\s*CREATE\s+(UNLOGGED\s+|FOREIGN\s+)?TABLE\b", re.I)
_DROPS = re.compile(
    rb"\s*(DROP\s+(?!.*\bIF\s+EXISTS\b)|ALTER\s+TABLE\s+(?!IF\s+EXISTS\b).*\bDROP\s+CONSTRAINT\b)", re.I | re.S
)
_LAX_STRINGS = re.compile(rb"\bstandard_conforming_strings\b(?!\s*=\s*on\b)", re.I)
# These come from pg_dump itself: they bar what else a psql command could do.
_RESTRICT = re.compile(rb"\\(un)?restrict [A-Za-z0-9]+\s*$")
# What is looked at of a statement (bytes): lists of columns are in it.
_KEPT = 256 * 1024


@dataclass
class PlainDump:
    """What was read of one so far.

    :ivar rows: table (``schema.name``) to the rows that the dump has for it.
    :ivar wrong: why it is not restored, empty for as long as nothing is known.
    :ivar version: the major version of the server that it is of, 0 where it does not say.
    """

    rows: dict[str, int] = field(default_factory=dict)
    inserted: set[str] = field(default_factory=set)
    tables: int = 0
    wrong: str = ""
    version: int = 0
    _line: int = 0
    _began: bool = False
    _complete: bool = False
    _copying: str | None = None
    _at_start: bool = True
    _open: bytes = b""
    _depth: int = 0
    _statement: bytearray = field(default_factory=bytearray)

    @property
    def in_rows(self) -> bool:
        """Whether what comes next are rows of a ``COPY``, of which a part of a line is taken as well."""
        return self._copying is not None

    def read(self, piece: bytes) -> None:
        """Take the next line, its end included; of rows a piece of a line."""
        whole = piece.endswith(b"\n")
        if self._at_start:
            self._line += 1
        if self._copying is not None:
            if self._at_start and piece.rstrip(b"\n") == b"\\.":
                self._copying = None
            elif whole and self._copying:
                self.rows[self._copying] += 1
            self._at_start = whole
            return
        if b"\0" in piece:
            self._refuse(
                "has bytes that no dump has (NUL): it is corrupted, or was written as UTF-16 (PowerShell's > does that)"
            )
        elif piece.endswith(b"\r\n") and not self._open:
            self._refuse(
                "has line ends of a terminal (CRLF), as docker exec -t writes them, in its rows too; leave out the -t"
            )
        self._sql(piece)

    def verdict(self, server: int) -> str:
        """What is wrong with it once all of it was read, empty where nothing is.

        :param server: the major version of the server that is to read it.
        """
        if self.wrong:
            return self.wrong
        if not self._began:
            return "is no plain dump of pg_dump: its first line is another one"
        if self._copying is not None or self._open or not self._complete:
            return "is truncated: pg_dump's last line, 'PostgreSQL database dump complete', is not at its end"
        if self.version > server > 0:
            return f"is of a newer server (PostgreSQL {self.version}) than the one here ({server})"
        if not self.tables:
            return "is empty: there is no table in it"
        return ""

    def _refuse(self, why: str) -> None:
        self.wrong = self.wrong or f"{why} (line {self._line})"

    def _sql(self, line: bytes) -> None:
        at = 0
        if self._at_start and not self._open and _RESTRICT.match(line):
            return
        while at < len(line):
            if self._open:
                at = self._closed(line, at)
                continue
            found = _TOKEN.search(line, at)
            if not found:
                self._keep(line[at:])
                return
            self._keep(line[at : found.start()])
            token, at = found.group(), found.end()
            if token.startswith(b"--"):
                self._comment(token.rstrip())
            elif token == b"/*":
                self._open, self._depth = b"/*", 1
            elif token == b"\\":
                word = re.match(rb"\S{0,20}", line[found.start() :])
                said = (word.group() if word else b"\\").decode("ascii", "replace")
                more = (
                    ": it is of more than one database, or was made with --create"
                    if said in ("\\connect", "\\c")
                    else ""
                )
                self._refuse(f"has the command {said} of psql in it{more}")
            elif token == b";":
                self._judge(bytes(self._statement))
                self._statement.clear()
            else:
                self._keep(token)
                self._open = token.lower() if token in (b"E'", b"e'") else token

    def _closed(self, line: bytes, at: int) -> int:
        """Go on in what is open; returns where it ends, or the end of the line."""
        if self._open == b"/*":
            for found in _COMMENT.finditer(line, at):
                self._depth += 1 if found.group() == b"/*" else -1
                if not self._depth:
                    self._open = b""
                    return found.end()
            return len(line)
        if self._open.startswith(b"$"):
            end = line.find(self._open, at)
            stop = end + len(self._open) if end >= 0 else len(line)
            closed = end >= 0
        else:
            match = next((m for m in _ENDS[self._open].finditer(line, at) if not m.group().startswith(b"\\")), None)
            stop, closed = (match.end(), True) if match else (len(line), False)
        self._keep(line[at:stop])
        if closed:
            self._open = b""
        return stop

    def _keep(self, text: bytes) -> None:
        if not self._statement:
            text = text.lstrip()
        if text:
            self._complete = False
            self._statement += text[: max(0, _KEPT - len(self._statement))]

    def _comment(self, text: bytes) -> None:
        if text == _CLUSTER:
            self._refuse("is of a whole server (pg_dumpall); restore one database of it by pg_dump of that database")
        elif text == _HEADER:
            self._began = True
        elif text == _COMPLETE and not self._statement:
            self._complete = True
        found = _VERSION.match(text)
        if found and not self.version:
            self.version = int(found.group(1))

    def _judge(self, statement: bytes) -> None:
        """Take note of a statement."""
        word = statement[:12].upper()
        if word.startswith(b"COPY"):
            found = _COPY.match(statement)
            if found:
                self._copying = _name(found.group(1), found.group(2))
                self.rows.setdefault(self._copying, 0)
        elif word.startswith(b"INSERT"):
            found = _INSERT.match(statement)
            if found:
                self.inserted.add(_name(found.group(1), found.group(2)))
        elif _DATABASE.match(statement):
            self._refuse("makes or drops a database by itself: it was made with --create; make one without")
        elif _ROLE.match(statement):
            self._refuse("makes or changes roles: it is of a whole server (pg_dumpall)")
        elif _TABLE.match(statement):
            self.tables += 1
        elif not self.tables and _DROPS.match(statement):
            self._refuse(
                "drops what a new database does not have: it was made with --clean; add --if-exists, or leave both out"
            )
        elif word.startswith((b"SET", b"SELECT", b"ALTER")) and _LAX_STRINGS.search(statement):
            self._refuse("has standard_conforming_strings off, which is not read here")


def _name(schema: bytes | None, table: bytes) -> str:
    """A table as an inventory names it; without a schema it is told apart by having no dot before it."""
    parts = [_plain(part) for part in (schema, table) if part]
    return ".".join(parts)


def _plain(identifier: bytes) -> str:
    text = identifier.decode("utf-8", "replace")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def wrong_with_start(name: str, head: bytes, size: int) -> str:
    """What can be told of a plain dump by its first bytes, empty where nothing is wrong."""
    if size == 0:
        return "is empty (0 bytes)"
    if head.startswith(b"PGDMP"):
        return "is an archive of pg_dump's custom format, no plain dump: call it .dump, with its manifest beside it"
    if name.endswith(".gz") and not is_compressed(head):
        return "is not compressed by gzip, though its name says so"
    return ""


def is_compressed(head: bytes) -> bool:
    """Whether it is a file of gzip, whatever it is called."""
    return head.startswith(b"\x1f\x8b")


def is_plain_name(text: str) -> bool:
    """Whether a file is named as people name plain dumps."""
    return text.endswith((".sql", ".sql.gz"))


def comparable(dump: PlainDump) -> dict[str, int]:
    """Rows of the tables that can be compared: those that only ``COPY`` fills, named with their schema."""
    return {table: rows for table, rows in dump.rows.items() if "." in table and table not in dump.inserted}


def differences(dump: PlainDump, restored: Mapping[str, Any]) -> list[str]:
    """Where what was restored is not what the dump has."""
    there: Mapping[str, int] = restored.get("rows") or {}
    found = [f"table {table} is missing" for table in sorted(set(comparable(dump)) - set(there))]
    for table, rows in sorted(comparable(dump).items()):
        if table in there and there[table] != rows:
            found.append(f"{table} has {there[table]} rows instead of {rows}")
    return found


def of(lines: Iterable[bytes]) -> PlainDump:
    """Read all of a dump; it is given up at the first thing that is wrong."""
    dump = PlainDump()
    for line in lines:
        dump.read(line)
        if dump.wrong:
            break
    return dump
