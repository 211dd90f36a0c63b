# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: no change of a column's type cuts or rounds a value that nobody has given up.

Django writes ``ALTER COLUMN … TYPE varchar(50) USING …::varchar(50)``, and PostgreSQL then cuts what is longer without a
word, as it rounds numbers and times.  The rows are looked at under the lock that the change takes anyway.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .. import column_types
from .catalogue import lost_by
from .session import Stopped

_NAME = r'"(?:[^"]|"")+"'
_TYPE = re.compile(
    rf"^ALTER TABLE ((?:{_NAME}\.)?{_NAME}) ALTER COLUMN ({_NAME}) TYPE (.+?)(?: COLLATE .*| USING .*|, ALTER COLUMN .*)?$",
    re.DOTALL,
)
_IS = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s"


def watch(editor: Any, migration: str, index: int, allowed: Sequence[str]) -> None:
    """Let an editor refuse from now on a change of a type that would lose something.

    :param allowed: migrations, or operations (``app.name:index``), that may lose data.
    :raises Stopped: (by the editor) it would; nothing was changed.
    """
    if {migration, f"{migration}:{index}"} & set(allowed):
        return
    plain = editor.execute

    def execute(sql: Any, params: Any = ()) -> None:
        found = _TYPE.match(str(sql).strip().rstrip(";"))
        if found:
            _hold(editor.connection, migration, *found.groups())
        plain(sql, params)

    editor.execute = execute


def _hold(connection: Any, migration: str, table: str, column: str, new: str) -> None:
    name = column[1:-1].replace('""', '"')
    with connection.cursor() as cursor:
        cursor.execute(_IS, [table, name])
        row = cursor.fetchone()
        if row is None or not column_types.may_lose(str(row[0]), new):
            return
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        sql = lost_by(str, table, column, str(row[0]), new)
        cursor.execute(sql.replace("SELECT *", "SELECT count(*)", 1))
        count = int(cursor.fetchone()[0])
    if count:
        raise Stopped("loses", migration=migration, count=count, column=name, type=new, query=sql)
