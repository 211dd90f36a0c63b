# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database holds, told by its own ``psql`` line by line, all of it in one transaction.

A statement that is read from the catalogue and run by ``\\gexec`` counts each table: nothing of a name is put together here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

#: What the last line of each part is.
END = "EVENKEEL END"

# Limits of the server's own must not end a transaction that waits for a dump; some of them only newer servers have.
BEGIN = """\
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT FROM (SELECT set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout',
  'idle_in_transaction_session_timeout', 'transaction_timeout')) s;
SET LOCAL search_path = pg_catalog;
SET LOCAL row_security = off;
"""

SNAPSHOT = f"""\
SELECT json_build_object('snapshot', pg_catalog.pg_export_snapshot());
SELECT json_build_object('size', pg_catalog.pg_database_size(current_database()));
SELECT '{END}';
"""

_MINE = """n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND c.relpersistence <> 't'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')"""

# What only superusers see is read from pg_settings, which leaves it out for others: current_setting would fail.
INVENTORY = f"""\
SELECT json_build_object('facts', json_build_object(
  'server_version', current_setting('server_version'),
  'owner', pg_get_userbyid(d.datdba), 'encoding', pg_encoding_to_char(d.encoding), 'collate', d.datcollate,
  'ctype', d.datctype, 'preload', (SELECT coalesce(min(setting), '') FROM pg_settings WHERE name = 'shared_preload_libraries'),
  'extensions', (SELECT coalesce(json_object_agg(extname, extversion), '{{}}') FROM pg_extension),
  'large_objects', (SELECT count(*) FROM pg_largeobject_metadata),
  'roles', (SELECT json_agg(json_build_object('name', rolname, 'superuser', rolsuper, 'login', rolcanlogin,
      'createdb', rolcreatedb, 'createrole', rolcreaterole, 'replication', rolreplication, 'bypassrls', rolbypassrls,
      'member_of', ARRAY(SELECT pg_get_userbyid(m.roleid) FROM pg_auth_members m WHERE m.member = r.oid)) ORDER BY rolname)
    FROM pg_roles r),
  'settings', (SELECT coalesce(json_agg(json_build_object('role', CASE setrole WHEN 0 THEN '' ELSE pg_get_userbyid(setrole)
      END, 'everywhere', setdatabase = 0, 'settings', setconfig)), '[]')
    FROM pg_db_role_setting WHERE setdatabase IN (0, d.oid))))
FROM pg_database d WHERE datname = current_database();
SELECT json_build_object('relation', json_build_array(CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
  WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
  WHEN 'c' THEN 'type' ELSE 'index' END, n.nspname || '.' || c.relname))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_MINE} ORDER BY c.relkind, n.nspname, c.relname;
SELECT format('SELECT json_build_object(''migration'', json_build_array(app, name)) FROM %I.django_migrations ORDER BY id',
  n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relname = 'django_migrations' AND {_MINE} ORDER BY n.nspname <> 'public', n.nspname LIMIT 1 \\gexec
SELECT format('SELECT json_build_object(''rows'', json_build_array(%L::text, count(*))) FROM ONLY %I.%I',
  n.nspname || '.' || c.relname, n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND {_MINE} \\gexec
SELECT '{END}';
"""

_ACCESS = f"""\
SELECT json_build_object('owner', pg_get_userbyid(d.datdba),
  'extensions', (SELECT coalesce(json_object_agg(extname, extversion), '{{}}') FROM pg_extension),
  'relations', (SELECT coalesce(json_object_agg(n.nspname || '.' || c.relname, json_build_object(
      'owner', pg_get_userbyid(c.relowner),
      'grants', ARRAY(SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END || ' ' || a.privilege_type
        FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner ORDER BY 1))), '{{}}')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND {_MINE}))
FROM pg_database d WHERE datname = current_database();
"""

#: Owner, extensions, and who owns and may do what with each relation; one line of JSON.
ACCESS = f"{BEGIN}{_ACCESS}COMMIT;\n"

#: What the role that asks may do with the database and with whoever is connected; see ``postgres.external_database.missing_rights``.
RIGHTS = """\
SET search_path = pg_catalog;
SELECT json_build_object('user', current_user, 'owner', pg_get_userbyid(d.datdba), 'superuser', r.rolsuper,
  'createdb', r.rolcreatedb, 'owns', pg_has_role(d.datdba, 'USAGE'), 'signal', pg_has_role('pg_signal_backend', 'USAGE'),
  'others', ARRAY(SELECT DISTINCT o.rolname FROM pg_stat_activity a JOIN pg_roles o ON o.oid = a.usesysid
    WHERE a.datid = d.oid AND NOT o.rolsuper AND NOT pg_has_role(o.oid, 'USAGE') ORDER BY 1),
  'superusers', ARRAY(SELECT DISTINCT o.rolname FROM pg_stat_activity a JOIN pg_roles o ON o.oid = a.usesysid
    WHERE a.datid = d.oid AND o.rolsuper ORDER BY 1),
  'beside', (SELECT x.datname FROM pg_database x WHERE x.datname IN ('postgres', 'defaultdb', 'template1') AND x.oid <> d.oid
    AND x.datallowconn AND has_database_privilege(x.oid, 'CONNECT') ORDER BY x.datname = 'template1', x.datname = 'defaultdb'
    LIMIT 1))
FROM pg_database d, pg_roles r WHERE d.datname = current_database() AND r.rolname = current_user;
"""


def read(lines: Iterable[str]) -> dict[str, Any]:
    """What :data:`INVENTORY` has printed, as a manifest keeps it.

    :raises ValueError: a line that is none of its own.
    """
    report: dict[str, Any] = {"relations": {}, "rows": {}}
    latest: dict[str, str] = {}
    count = 0
    for line in lines:
        one = json.loads(line)
        if "relation" in one:
            kind, name = one["relation"]
            report["relations"].setdefault(kind, []).append(name)
        elif "rows" in one:
            table, rows = one["rows"]
            report["rows"][table] = int(rows)
        elif "migration" in one:
            count += 1
            app, name = one["migration"]
            latest[app] = name
        else:
            report.update(one["facts"])
    report["migrations"] = {"count": count, "latest": latest}
    return report
