# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: the table in which we keep what was put off, in the database that it is about.

A row with ``op_index`` -1 stands for a migration that was run by us, with everything that was decided of it; the
others stand for single operations.  A row changes in the transaction of what it tells, wherever there is one:

- ``deferred``: only Django's state has moved; the operation waits for contract.
- ``between``: run, but for statements that must not be in a transaction, which are kept in the row.
- ``begun``: it cannot be in a transaction, and whether it has ended is not known here.
- ``done``, and of a migration ``expanded``, then ``settled`` when every code that runs was made for it.
- ``abandoned``: put aside; nothing of it is run until an expand takes it up again.

The row ``HOST`` says which host changes this database (``migrations/database_host.py``). It is ``settled``, so that no decision on
migrations meets it.
"""

from __future__ import annotations

import json
from typing import Any

TABLE = "evenkeel_migrations"
MIGRATION = -1
HOST = ("", "host", MIGRATION)
#: What tells the query for the claim of a host, no query where the table is not there or may not be read.  The identity is what
#: a restored copy does not have: the server's own, or that of the table where a managed server keeps its own to itself.
CLAIM = f"""
SELECT format($evenkeel$SELECT jsonb_build_object('name', current_database(), 'identity', %s || '/%s',
  'detail', coalesce(detail, ''), 'release', coalesce(release, ''), 'may', %L,
  'changed', coalesce(to_char(changed AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''))::text
  FROM (SELECT) one LEFT JOIN %s ON (app, name, op_index) = ('{HOST[0]}', '{HOST[1]}', {HOST[2]})$evenkeel$,
  CASE WHEN has_function_privilege(to_regprocedure('pg_control_system()')::oid, 'EXECUTE')
    THEN '(SELECT system_identifier FROM pg_control_system())' ELSE quote_literal('table ' || c.oid) END, d.oid,
  CASE WHEN has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE') THEN 'yes' ELSE '' END,
  c.oid::regclass)
FROM pg_class c, pg_database d
WHERE c.oid = to_regclass('{TABLE}') AND d.datname = current_database() AND has_table_privilege(c.oid, 'SELECT')
"""
_MAKE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    app text NOT NULL, name text NOT NULL, op_index integer NOT NULL,
    operation text NOT NULL DEFAULT '', state text NOT NULL, detail text NOT NULL DEFAULT '{{}}',
    release text NOT NULL DEFAULT '', image text NOT NULL DEFAULT '',
    since timestamp with time zone NOT NULL DEFAULT now(), changed timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (app, name, op_index)
)
"""
_COLUMNS = ("app", "name", "op_index", "operation", "state", "detail", "release", "image", "since")


class Ledger:
    """The rows in one database.

    :param release: the revision that is being brought in, and its image's id.
    """

    def __init__(self, connection: Any, release: str = "", image: str = "") -> None:
        self.connection, self.release, self.image = connection, release, image

    def _run(self, sql: str, *arguments: Any) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, arguments)
            return int(cursor.rowcount)

    def there(self) -> bool:
        """Whether there is a table."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [TABLE])
            return bool(cursor.fetchone()[0])

    def make(self) -> None:
        """Make the table where there is none."""
        if not self.there():
            self._run(_MAKE)

    def rows(self, settled: bool = False) -> list[dict[str, Any]]:
        """Everything that is not settled, or that too, the oldest first."""
        if not self.there():
            return []
        which = "true" if settled else "state <> 'settled'"
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(_COLUMNS)} FROM {TABLE} WHERE {which} ORDER BY since, op_index")
            found = [dict(zip(_COLUMNS, row)) for row in cursor.fetchall()]
        for row in found:
            row["index"], row["detail"] = row.pop("op_index"), json.loads(row["detail"])
            row["since"] = row["since"].isoformat()
        return found

    def row(self, app: str, name: str, index: int) -> dict[str, Any] | None:
        """One row, as it is now."""
        return next((r for r in self.rows() if (r["app"], r["name"], r["index"]) == (app, name, index)), None)

    def write(self, app: str, name: str, index: int, state: str, operation: str, detail: dict[str, Any]) -> None:
        """Make a row, or make it anew: what an earlier release has left of the same one is no more."""
        self._run(
            f"INSERT INTO {TABLE} (app, name, op_index, operation, state, detail, release, image) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (app, name, op_index) DO UPDATE SET "
            "operation = excluded.operation, state = excluded.state, detail = excluded.detail, "
            "release = excluded.release, image = excluded.image, since = now(), changed = now()",
            app, name, index, operation, state, json.dumps(detail), self.release, self.image,
        )  # fmt: skip

    def turn(
        self, app: str, name: str, index: int, state: str, detail: dict[str, Any] | None = None, was: str = ""
    ) -> bool:
        """Change a row's state, and its details where any are given; False where it is not ``was`` any more."""
        more, arguments = ("", []) if detail is None else (", detail = %s", [json.dumps(detail)])
        where = " AND state = %s" if was else ""
        changed = self._run(
            f"UPDATE {TABLE} SET state = %s, changed = now(){more} WHERE app = %s AND name = %s AND op_index = %s{where}",
            state, *arguments, app, name, index, *([was] if was else []),
        )  # fmt: skip
        return changed == 1

    def learn(self, app: str, name: str, detail: dict[str, Any]) -> None:
        """The release that is being brought in has this migration too."""
        known = [word for word in (self.release, self.image) if word and word not in (detail.get("known_by") or [])]
        if known:
            more = {**detail, "known_by": [*(detail.get("known_by") or []), *known]}
            self._run(
                f"UPDATE {TABLE} SET detail = %s WHERE app = %s AND name = %s AND op_index = {MIGRATION}",
                json.dumps(more), app, name,
            )  # fmt: skip

    def take_up(self, app: str, name: str) -> None:
        """What was put aside waits again, for the release that is being brought in."""
        self._run(
            f"UPDATE {TABLE} SET state = CASE op_index WHEN {MIGRATION} THEN 'expanded' ELSE 'deferred' END, "
            "release = %s, image = %s, changed = now() WHERE app = %s AND name = %s AND state = 'abandoned'",
            self.release, self.image, app, name,
        )  # fmt: skip

    def claim(self) -> dict[str, str]:
        """The claim of a host as ``migrations/database_host.py`` reads it; without ``may`` none can be written."""
        with self.connection.cursor() as cursor:
            cursor.execute(CLAIM)
            query = cursor.fetchone()
            if query:
                cursor.execute(query[0])
                found: dict[str, str] = json.loads(cursor.fetchone()[0])
                return found
            cursor.execute("SELECT has_schema_privilege(current_schema(), 'CREATE')")
            may = cursor.fetchone()[0] and not self.there()
        return {"identity": "", "detail": "", "may": "yes" if may else ""}

    def take(self, host: dict[str, str], seen: str) -> bool:
        """Claim this database for a host; False where the claim is another one than was ``seen``, and not this host's."""
        detail = json.dumps({**host, "database": self.claim()["identity"]}, sort_keys=True)
        return self._run(
            f"INSERT INTO {TABLE} AS kept (app, name, op_index, state, detail, release, image) "
            "VALUES (%s, %s, %s, 'settled', %s, %s, %s) ON CONFLICT (app, name, op_index) DO UPDATE SET "
            "detail = excluded.detail, release = excluded.release, image = excluded.image, changed = now(), "
            "since = CASE kept.detail WHEN excluded.detail THEN kept.since ELSE now() END "
            "WHERE kept.detail IN (excluded.detail, %s)",
            *HOST, detail, self.release, self.image, seen,
        ) == 1  # fmt: skip

    def forget(self, app: str, name: str, but: tuple[str, ...] = ()) -> None:
        """Take a migration's rows away."""
        self._run(f"DELETE FROM {TABLE} WHERE app = %s AND name = %s AND state <> ALL (%s)", app, name, list(but))
