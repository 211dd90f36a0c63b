# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: what PostgreSQL's catalogue knows of tables, and whether rows would not fit.

Everything happens in one transaction that is read-only, has short time limits and is rolled back.  Limits are set for
that transaction alone: behind a pooler the session is somebody else's next.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from typing import Any

#: Bytes above which no table is read to look for rows that do not fit.
TOO_DEAR = 2 * 1024**3

# A partitioned table has nothing in itself.
_TABLE = """
SELECT c.relkind, coalesce(parts.rows, c.reltuples), coalesce(parts.bytes, pg_total_relation_size(c.oid))
FROM pg_class c, LATERAL (SELECT sum(greatest(l.reltuples, 0)) AS rows, sum(pg_total_relation_size(l.oid)) AS bytes
                          FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid WHERE t.isleaf) AS parts
WHERE c.oid = %s
"""
_COLUMNS = """
SELECT attname, attnotnull, atthasdef, attidentity <> '', attgenerated <> '', format_type(atttypid, atttypmod)
FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_INDEXES = """
SELECT c.relname, i.indisvalid, i.indisunique, i.indisprimary, i.indpred IS NOT NULL, i.indexprs IS NOT NULL,
       i.indimmediate,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k(number, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = %s
"""
#: Of a plain index of a column, what follows its method in its definition.
_OF_COLUMN = """
SELECT c.relname, i.indisunique, m.amname,
       substr(d.text, strpos(d.text, ' USING ' || m.amname || ' ') + length(' USING ' || m.amname || ' '))
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam,
     LATERAL (SELECT pg_get_indexdef(i.indexrelid) AS text) d
WHERE i.indrelid = to_regclass(%s) AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indisvalid AND i.indimmediate
  AND (SELECT attnum FROM pg_attribute WHERE attrelid = i.indrelid AND attname = %s) = ANY (i.indkey)
ORDER BY c.relname
"""
#: Since PostgreSQL 15 a database may have another provider, and from version to version the columns have other names.
#: What is C.UTF-8 to a database is C.utf8 to its collations.
_OWN_COLLATIONS = """
SELECT c.collname FROM pg_collation c, pg_database d, LATERAL (SELECT to_jsonb(c) AS of_it, to_jsonb(d) AS of_all) j
WHERE d.datname = current_database() AND c.collprovider::text = coalesce(of_all ->> 'datlocprovider', 'c')
  AND c.collencoding IN (-1, d.encoding) AND coalesce((of_it ->> 'collisdeterministic')::bool, true)
  AND lower(replace(coalesce(of_it ->> 'colllocale', of_it ->> 'colliculocale', of_it ->> 'collcollate'), '-', '')) =
      lower(replace(coalesce(of_all ->> 'datlocale', of_all ->> 'daticulocale', of_all ->> 'datcollate'), '-', ''))
  AND (c.collprovider <> 'c' OR of_it ->> 'collcollate' = of_it ->> 'collctype') AND d.datcollate = d.datctype
"""
_CONSTRAINTS = """
SELECT o.conname, o.contype, o.convalidated, o.condeferrable, o.confdeltype, f.relname,
       ARRAY(SELECT a.attname::text FROM unnest(o.conkey) WITH ORDINALITY AS k(number, place)
             JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.number ORDER BY k.place)
FROM pg_constraint o LEFT JOIN pg_class f ON f.oid = o.confrelid WHERE o.conrelid = %s
"""


@contextlib.contextmanager
def reading_only(connection: Any, statement_timeout: int) -> Iterator[None]:
    """A transaction in which nothing can be written, and nothing waits or takes long."""
    from django.db import transaction

    with transaction.atomic(using=connection.alias):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
                cursor.execute(f"SET LOCAL statement_timeout = {int(statement_timeout)}")
                cursor.execute("SET LOCAL lock_timeout = 1000")
        yield
        transaction.set_rollback(True, using=connection.alias)


def _rows(connection: Any, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def table(connection: Any, name: str) -> dict[str, Any] | None:
    """What the catalogue knows of one table, None where there is none."""
    ((oid,),) = _rows(connection, "SELECT to_regclass(%s)::oid", connection.ops.quote_name(name))
    if oid is None:
        return None
    ((kind, rows, size),) = _rows(connection, _TABLE, oid)
    columns = {c[0]: dict(zip(("not_null", "default", "identity", "generated", "type"), c[1:]))
               for c in _rows(connection, _COLUMNS, oid)}  # fmt: skip
    words = ("valid", "unique", "primary", "partial", "expressions", "immediate", "columns")
    indexes = {i[0]: dict(zip(words, i[1:])) for i in _rows(connection, _INDEXES, oid)}
    words_of = ("type", "validated", "deferrable", "on_delete", "references", "columns")
    constraints = {c[0]: dict(zip(words_of, c[1:])) for c in _rows(connection, _CONSTRAINTS, oid)}
    empty = probe(connection, f"SELECT 1 FROM {connection.ops.quote_name(name)} LIMIT 1")
    return {
        "kind": kind, "rows": max(-1, int(rows)), "bytes": int(size), "columns": columns, "indexes": indexes,
        "constraints": constraints, "empty": None if empty is None else not empty, "nulls": {}, "duplicates": {},
        "losses": {},
    }  # fmt: skip


def own_collations(connection: Any) -> list[str]:
    """Names of collations that sort as the database does anyway."""
    with connection.cursor() as cursor:
        cursor.execute(_OWN_COLLATIONS)
        return [name for (name,) in cursor.fetchall()]


def size(connection: Any, name: str) -> int | None:
    """Bytes of a table with its indexes, None where there is none."""
    ((oid,),) = _rows(connection, "SELECT to_regclass(%s)::oid", connection.ops.quote_name(name))
    return None if oid is None else int(_rows(connection, _TABLE, oid)[0][2])


def probe(connection: Any, sql: str) -> bool | None:
    """Whether a query finds a row; None where that could not be known within the time."""
    from django.db import DatabaseError, transaction

    try:
        with transaction.atomic(using=connection.alias):
            return bool(_rows(connection, sql))
    except DatabaseError:
        return None


def look_for_nulls(connection: Any, name: str, known: dict[str, Any], column: str) -> None:
    """Whether a column has NULLs now."""
    if column in known["columns"] and column not in known["nulls"]:
        quote = connection.ops.quote_name
        sql = f"SELECT 1 FROM {quote(name)} WHERE {quote(column)} IS NULL LIMIT 1"
        known["nulls"][column] = probe(connection, sql) if known["bytes"] <= TOO_DEAR else None


def look_for_duplicates(connection: Any, name: str, known: dict[str, Any], columns: list[str]) -> None:
    """Whether two rows have the same values in these columns now."""
    key = ",".join(columns)
    if columns and set(columns) <= set(known["columns"]) and key not in known["duplicates"]:
        quoted = [connection.ops.quote_name(column) for column in columns]
        some = " AND ".join(f"{column} IS NOT NULL" for column in quoted)
        sql = (
            f"SELECT 1 FROM {connection.ops.quote_name(name)} WHERE {some} "
            f"GROUP BY {', '.join(quoted)} HAVING count(*) > 1 LIMIT 1"
        )
        known["duplicates"][key] = probe(connection, sql) if known["bytes"] <= TOO_DEAR else None


def lost_by(quote: Any, table: str, column: str, old: str, new: str) -> str:
    """A query for the rows whose value would be another one after a change of the type; types as PostgreSQL writes them."""
    return f"SELECT * FROM {quote(table)} WHERE {quote(column)}::{new}::{old} IS DISTINCT FROM {quote(column)}"


def look_for_losses(connection: Any, name: str, known: dict[str, Any], column: str, new: str) -> None:
    """Whether a change of a column's type cuts or rounds a value (True), or fails for one (``fails``)."""
    from django.db import DatabaseError, transaction

    key = f"{column}: {new}"
    if column not in known["columns"] or key in known["losses"]:
        return
    sql = lost_by(connection.ops.quote_name, name, column, known["columns"][column]["type"], new)
    found: bool | str | None = None
    try:
        if known["bytes"] <= TOO_DEAR:
            with transaction.atomic(using=connection.alias):
                found = bool(_rows(connection, f"{sql} LIMIT 1"))
    except DatabaseError as error:
        # Class 22: a value that is none of the new type.
        code = str(getattr(error.__cause__, "sqlstate", None) or getattr(error.__cause__, "pgcode", None) or "")
        found = "fails" if code.startswith("22") else None
    known["losses"][key] = found


def identity_of(connection: Any, table: str, column: str) -> tuple[str, str] | None:
    """The type of an identity and the name of its sequence, None where a column is none."""
    found = _rows(
        connection,
        "SELECT format_type(atttypid, atttypmod), pg_get_serial_sequence(%s, attname) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attname = %s AND attidentity <> ''",
        connection.ops.quote_name(table), connection.ops.quote_name(table), column,
    )  # fmt: skip
    return (str(found[0][0]), str(found[0][1])) if found else None


def short(*names: str) -> str:
    """A part of a name of ours that stands for several names, which may be as long as names can be."""
    return f"{names[-1][:24]}_{hashlib.sha256('.'.join(names).encode()).hexdigest()[:10]}"


def index_definitions(connection: Any, table: str, column: str, other: str) -> list[dict[str, str]]:
    """The indexes of a column, as they would be of another one, built concurrently.

    :return: of those that have no expression and hold for all rows, ``index`` (its name, quoted) and ``sql``.
    """
    quote, found = connection.ops.quote_name, []
    for name, unique, method, rest in _rows(connection, _OF_COLUMN, quote(table), column):
        named = quote(f"evenkeel_{short(name, other)}")
        # PostgreSQL quotes what needs it: the column stands there in one form or the other.
        own = re.compile(rf'(?<![\w"])("{re.escape(column)}"|{re.escape(column)})(?![\w"])')
        columns = own.sub(lambda _found: quote(other), str(rest))
        kind = "UNIQUE INDEX" if unique else "INDEX"
        sql = f"CREATE {kind} CONCURRENTLY {named} ON {quote(table)} USING {method} {columns}"
        found.append({"index": named, "sql": sql})
    return found


def extension_available(connection: Any, name: str) -> bool:
    """Whether the server has the files of an extension."""
    return bool(_rows(connection, "SELECT 1 FROM pg_available_extensions WHERE name = %s", name))
