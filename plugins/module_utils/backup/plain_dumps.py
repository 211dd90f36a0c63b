# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plain dump of ``pg_dump`` is worth before ``psql`` reads it: whole, of one database, and not led elsewhere by commands.

``psql`` itself runs whatever comes: a dump that ends in the middle is restored in half, and ``\\connect`` leads it to another
database than the one it was started for.  Statements that ``pg_dump`` does not write are refused.  What its functions, views and
defaults do is the database's own affair: a dump that is restored is trusted as much as whoever may define them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .psql_scan import COMMENT, END, RETURN, WRONG, Scan

_HEADER = b"-- PostgreSQL database dump"
_COMPLETE = b"-- PostgreSQL database dump complete"
_CLUSTER = b"-- PostgreSQL database cluster dump"
_VERSION = re.compile(rb"^-- Dumped from database version (\d+)")
_NAME = rb"""("(?:[^"]|"")*"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)"""
_TABLE_NAME = rb"(?:" + _NAME + rb"\s*\.\s*)?" + _NAME
# As pg_dump writes it, and with nothing more: whoever takes another COPY for this one takes statements for rows.
_COPY = re.compile(
    rb"COPY\s+" + _TABLE_NAME + rb"\s*(?:\(\s*" + _NAME + rb"(?:\s*,\s*" + _NAME + rb")*\s*\)\s*)?FROM\s+stdin\s*", re.I
)
_INSERT = re.compile(rb"INSERT\s+INTO\s+" + _TABLE_NAME, re.I)
_DATABASE = re.compile(rb"(CREATE|DROP|ALTER)\s+DATABASE\b", re.I)
_ROLE = re.compile(rb"(CREATE|DROP|ALTER)\s+(ROLE|USER|GROUP)\s+(?!MAPPING)", re.I)
_SYSTEM = re.compile(rb"ALTER\s+SYSTEM\b", re.I)
_TABLE = re.compile(rb"CREATE\s+(UNLOGGED\s+|FOREIGN\s+)?TABLE\b", re.I)
_DROPS = re.compile(
    rb"(DROP\s+(?!.*\bIF\s+EXISTS\b)|ALTER\s+TABLE\s+(?!IF\s+EXISTS\b).*\bDROP\s+CONSTRAINT\b)", re.I | re.S
)
_SET = re.compile(
    rb"SET\s+(?:SESSION\s+AUTHORIZATION\s+(?P<who>\S.*)|(?P<name>[a-z_][a-z0-9_.]*)\s*(?:=|TO)\s*(?P<value>.*))",
    re.I | re.S,
)
# In other encodings a quote can be a part of a letter, and psql reads them so.
_SAFE_ENCODING = re.compile(
    rb"utf8|unicode|sqlascii|latin\d+|iso8859\d|win(?:125\d|866|874)|koi8[ru]?|euc(?:jp|kr|cn|tw|jis2004)|muleinternal"
)
_SELECT = re.compile(
    rb"SELECT\s+(?:pg_catalog\.set_config\s*\(\s*'search_path'\s*,\s*'[^']*'\s*,\s*false\s*\)"
    rb"|pg_catalog\.(?:setval|lo_create|lo_open|lowrite|lo_close)\s*\((?:[^()']|'[^']*')*\)"
    rb"|pg_catalog\.lo_unlink\s*\(\s*(?:oid|'?[0-9]+'?)\s*\)(?:\s+FROM\s+pg_catalog\.pg_largeobject_metadata\s+WHERE\s+oid\s*=\s*'?[0-9]+'?)?"
    rb"|\*\s+FROM\s+pg_catalog\.pg_(?:restore|clear)_(?:relation|attribute|extended)_stats\s*\((?:[^()']|'[^']*')*\))\s*",
    re.I,
)
# First words of what pg_dump writes.
_KNOWN = {*b"ALTER BEGIN COMMENT COMMIT COPY CREATE DROP GRANT INSERT REFRESH REVOKE SECURITY SELECT SET".split()}
_TERMINAL = "has line ends of a terminal (CRLF), as docker exec -t writes them, in its rows too; leave out the -t"
_RESTRICT = re.compile(rb"\\(un)?restrict ([A-Za-z0-9]+)")


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
    #: Where ``\\restrict`` and ``\\unrestrict`` of pg_dump itself stand (bytes): psql is restricted by us.
    restricts: list[int] = field(default_factory=list)
    _scan: Scan = field(default_factory=Scan)
    _line: int = 0
    _read: int = 0
    _began: bool = False
    _stated: bool = False
    _complete: bool = False
    _copying: str | None = None
    _at_start: bool = True
    _key: bytes = b""

    @property
    def in_rows(self) -> bool:
        """Whether what comes next are rows of a ``COPY``, of which a part of a line is taken as well."""
        return self._copying is not None

    def read(self, piece: bytes) -> None:
        """Take the next line, its end included; of rows a piece of a line."""
        self._read += len(piece)
        if self._at_start:
            self._line += 1
        if b"\0" in piece:
            self._refuse(
                "has bytes that no dump has (NUL): it is corrupted, or was written as UTF-16 (PowerShell's > does that)"
            )
        if self._copying is not None:
            self._row(piece)
            return
        if self._line == 1 and piece.startswith(b"\xef\xbb\xbf"):
            # psql passes over it as well.
            piece = piece[3:]
        self._sql(piece)

    def _row(self, piece: bytes) -> None:
        """Take a row of what is copied, or a piece of one, or the end of all."""
        whole = piece.endswith(b"\n")
        if self._at_start and piece.startswith(b"\\.") and piece.rstrip(b"\r\n") == b"\\.":
            if b"\r" in piece:
                # psql takes that for the end as well.
                self._refuse(_TERMINAL)
            self._copying = None
        elif whole and self._copying:
            self.rows[self._copying] += 1
        self._at_start = whole

    def verdict(self, server: int, restricted: bool) -> str:
        """What is wrong with it once all of it was read, empty where nothing is.

        :param server: the major version of the server that is to read it; ``restricted``: whether its psql knows ``\\restrict``.
        """
        if self.wrong:
            return self.wrong
        if self._scan.lax and not restricted:
            return (
                "has a string with a backslash before a quote, by which a psql that does not know \\restrict can be led to "
                "run a command; PostgreSQL 13.22, 14.19, 15.14, 16.10, 17.6 and later ones know it"
            )
        if not self._began:
            return "is no plain dump of pg_dump: its first line is another one"
        if self._copying is not None or self._scan.open or not self._complete:
            return "is truncated: pg_dump's last line, 'PostgreSQL database dump complete', is not at its end"
        if self.version > server > 0:
            return f"is of a newer server (PostgreSQL {self.version}) than the one here ({server})"
        if not self.tables:
            return "is empty: there is no table in it"
        return ""

    def _refuse(self, why: str) -> None:
        self.wrong = self.wrong or f"{why} (line {self._line})"

    def _sql(self, line: bytes) -> None:
        for kind, text in self._scan.line(line):
            if kind == COMMENT:
                self._comment(text)
            elif kind == END:
                if self._copying is not None:
                    self._refuse("has a statement behind COPY on the same line")
                self._judge(text.strip())
            elif kind == RETURN:
                terminal = line.endswith(b"\r\n")
                self._refuse(_TERMINAL if terminal else "has a carriage return outside of a string")
            elif kind == WRONG:
                self._refuse(text.decode("utf-8", "replace"))
            else:
                self._command(line, text)
                return
        if self._scan.statement or self._scan.open not in (b"", b"/*"):
            self._stated, self._complete = True, False
            if self._copying is not None:
                self._refuse("has a statement behind COPY on the same line")

    def _command(self, line: bytes, text: bytes) -> None:
        """Pass over the two that pg_dump writes around all statements, and refuse any other of psql."""
        found = _RESTRICT.fullmatch(text) if line.rstrip(b"\n") == text else None
        if found and not found.group(1) and not self._stated and not self._key:
            self._key = found.group(2)
        elif found and found.group(1) and self._complete and len(self.restricts) == 1 and found.group(2) == self._key:
            pass
        else:
            said = text.split()[0][:20].decode("ascii", "replace")
            more = (
                ": it is of more than one database, or was made with --create" if said in ("\\connect", "\\c") else ""
            )
            self._refuse(f"has the command {said} of psql in it{more}")
        self.restricts.append(self._read - len(line))

    def _comment(self, text: bytes) -> None:
        if text == _CLUSTER:
            self._refuse("is of a whole server (pg_dumpall); restore one database of it by pg_dump of that database")
        elif text == _HEADER:
            self._began = True
        elif text == _COMPLETE and not self._scan.statement:
            self._complete = True
        found = _VERSION.match(text)
        if found and not self.version:
            self.version = int(found.group(1))

    def _judge(self, statement: bytes) -> None:
        """Take note of a statement, or refuse it.

        :param statement: without what stands in its strings.
        """
        if not statement:
            return
        self._stated, self._complete = True, False
        word = statement.split(None, 1)[0].upper()
        if word not in _KNOWN:
            self._refuse(f"has a statement in it that pg_dump does not write: {word[:20].decode('ascii', 'replace')}")
        elif word == b"COPY":
            found = _COPY.fullmatch(statement)
            if found:
                self._copying = _name(found.group(1), found.group(2))
                self.rows.setdefault(self._copying, 0)
            else:
                self._refuse(
                    "has a COPY that pg_dump does not write: one with options, from or to a program, or a file of the server"
                )
        elif word == b"INSERT":
            found = _INSERT.match(statement)
            if found:
                self.inserted.add(_name(found.group(1), found.group(2)))
        elif _DATABASE.match(statement):
            self._refuse("makes, changes or drops a database by itself: it was made with --create; make one without")
        elif _ROLE.match(statement):
            self._refuse("makes or changes roles: it is of a whole server (pg_dumpall)")
        elif _SYSTEM.match(statement):
            self._refuse("changes settings of the whole server (ALTER SYSTEM)")
        elif _TABLE.match(statement):
            self.tables += 1
        elif not self.tables and _DROPS.match(statement):
            self._refuse(
                "drops what a new database does not have: it was made with --clean; add --if-exists, or leave both out"
            )
        elif word == b"SET":
            self._setting(_SET.fullmatch(statement))
        elif word == b"SELECT" and not _SELECT.fullmatch(statement):
            self._refuse("has a SELECT that pg_dump does not write")

    def _setting(self, found: re.Match[bytes] | None) -> None:
        if found is None:
            self._refuse("has a SET that pg_dump does not write")
        elif found["who"]:
            return
        elif found["name"].lower() == b"standard_conforming_strings" and found["value"].strip(b"' ").lower() != b"on":
            self._refuse("has standard_conforming_strings off, which is not read here")
        elif found["name"].lower() == b"client_encoding" and not _SAFE_ENCODING.fullmatch(
            re.sub(rb"[^a-z0-9?]", b"", found["value"].lower())
        ):
            self._refuse("is in an encoding in which a quote can be a part of a letter; make one with --encoding UTF8")


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
