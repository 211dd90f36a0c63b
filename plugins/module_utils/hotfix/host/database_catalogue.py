# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a PostgreSQL catalogue about functions, views and triggers; each answer is a line of JSON.

What is looked for travels as hexadecimal digits: nothing of a name is put together here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from ..database import Named

#: What the last line of each part is.
END = "EVENKEEL END"


def text(value: str) -> str:
    """An expression of SQL that is a text."""
    return f"pg_catalog.convert_from(pg_catalog.decode('{value.encode().hex()}', 'hex'), 'UTF8')"


def run(statement: str) -> str:
    """A statement that runs another one, which cannot end the transaction, as several in one could."""
    return f"DO $evenkeel$ BEGIN EXECUTE {text(statement)}; END $evenkeel$;\n"


def _own(oid: str, catalogue: str, namespace: str = "n.nspname") -> str:
    """That something is neither the server's own nor an extension's."""
    return (
        f"{namespace} NOT LIKE 'pg\\_%' AND {namespace} <> 'information_schema' AND NOT EXISTS (SELECT FROM pg_depend d "
        f"WHERE d.classid = '{catalogue}'::regclass AND d.objid = {oid} AND d.deptype = 'e')"
    )


def _grants(acl: str, kind: str, owner: str, more: str = "") -> str:
    return (
        "(SELECT coalesce(jsonb_agg(jsonb_build_array(CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE "
        "quote_ident(pg_get_userbyid(g.grantee)) END, g.privilege_type, g.is_grantable, g.col)), '[]') FROM ("
        f"SELECT a.grantee, a.privilege_type, a.is_grantable, '' AS col FROM aclexplode(coalesce({acl}, "
        f"acldefault('{kind}', {owner}))) a{more}) g)"
    )


_COLUMNS = (
    " UNION ALL SELECT a.grantee, a.privilege_type, a.is_grantable, quote_ident(t.attname) FROM pg_attribute t, "
    "aclexplode(t.attacl) a WHERE t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped"
)

_EXTRAS = """ARRAY(SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
  UNION ALL SELECT pg_get_ruledef(r.oid) FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'
  UNION ALL SELECT 'default ' || d.adnum || ' ' || pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = c.oid
  UNION ALL SELECT 'comment ' || d.objsubid || ' ' || d.description FROM pg_description d
    WHERE d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid > 0
  ORDER BY 1)"""

_THINGS = f"""\
SELECT jsonb_build_object('kind', CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, 'schema', s.nspname,
  'name', p.proname, 'sql_name', format('%I.%I(%s)', s.nspname, p.proname, oidvectortypes(p.proargtypes)),
  'definition', rtrim(pg_get_functiondef(p.oid), E'\\n'),
  'shape', jsonb_build_array(pg_get_function_arguments(p.oid), coalesce(pg_get_function_result(p.oid), '')),
  'owner', quote_ident(pg_get_userbyid(p.proowner)), 'grants', {_grants("p.proacl", "f", "p.proowner")},
  'comment', obj_description(p.oid, 'pg_proc'), 'oid', p.oid::bigint)
FROM pg_proc p JOIN pg_namespace s ON s.oid = p.pronamespace WHERE p.prokind <> 'a' AND {_own("p.oid", "pg_proc", "s.nspname")}
  AND EXISTS (SELECT FROM named m WHERE m.kind = 'function' AND m.name = p.proname AND m.schema IN ('', s.nspname))
UNION ALL
SELECT jsonb_build_object('kind', 'view', 'schema', s.nspname, 'name', c.relname,
  'sql_name', format('%I.%I', s.nspname, c.relname),
  'definition', format(E'CREATE OR REPLACE VIEW %I.%I (%s)%s AS\\n%s', s.nspname, c.relname, (SELECT string_agg(quote_ident(
      a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    ' WITH (' || array_to_string(c.reloptions, ', ') || ')', rtrim(pg_get_viewdef(c.oid), '; ')),
  'shape', ARRAY(SELECT quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
  'owner', quote_ident(pg_get_userbyid(c.relowner)), 'grants', {_grants("c.relacl", "r", "c.relowner", _COLUMNS)},
  'comment', obj_description(c.oid, 'pg_class'), 'extras', {_EXTRAS}, 'oid', c.oid::bigint)
FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE c.relkind = 'v' AND {_own("c.oid", "pg_class", "s.nspname")}
  AND EXISTS (SELECT FROM named m WHERE m.kind = 'view' AND m.name = c.relname AND m.schema IN ('', s.nspname))
UNION ALL
SELECT jsonb_build_object('kind', 'trigger', 'schema', s.nspname, 'name', t.tgname,
  'sql_name', format('%I ON %I.%I', t.tgname, s.nspname, c.relname), 'definition', pg_get_triggerdef(t.oid),
  'enabled', t.tgenabled, 'table', format('%I.%I', s.nspname, c.relname), 'comment', obj_description(t.oid, 'pg_trigger'),
  'oid', t.oid::bigint)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace s ON s.oid = c.relnamespace
WHERE NOT t.tgisinternal AND {_own("t.oid", "pg_trigger", "s.nspname")} AND EXISTS (SELECT FROM named m WHERE m.kind = 'trigger'
  AND m.name = t.tgname AND m."table" = c.relname AND m.table_schema IN ('', s.nspname))
"""

_PATH = "SELECT FROM (SELECT pg_catalog.set_config('search_path', {0}, true)) s;\n"
#: With this every name of a user's own is told with its schema.
EVERYTHING_NAMED = _PATH.format("'pg_catalog'")
#: What an app's own session would find.
AS_THE_APP = _PATH.format("pg_catalog.current_setting('evenkeel.search_path')")


def begin(lock_timeout: float, statement_timeout: float) -> str:
    """The start of the transaction; who is killed, or stands still, in the middle of it holds no lock for long."""
    return (
        "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;\n"
        "SELECT FROM (SELECT pg_catalog.set_config('evenkeel.search_path', pg_catalog.current_setting('search_path'), true)) s;\n"
        f"{wait_at_most(lock_timeout)}"
        f"SET LOCAL statement_timeout = {int(statement_timeout * 1000)};\n"
        f"SET LOCAL idle_in_transaction_session_timeout = {int(statement_timeout * 1000) + 10_000};\n"
        "SET LOCAL standard_conforming_strings = on;\nSET LOCAL check_function_bodies = on;\n"
        "SET LOCAL row_security = on;\n"
    )


def wait_at_most(seconds: float) -> str:
    """How long a lock is waited for from here on."""
    return f"SET LOCAL lock_timeout = {max(1, int(seconds * 1000))};\n"


def _named(named: Iterable[Named]) -> str:
    words = [
        {"kind": n.kind, "schema": n.schema, "name": n.name, "table_schema": n.table_schema, "table": n.table}
        for n in named
    ]
    return (
        f"WITH named AS (SELECT * FROM jsonb_to_recordset({text(json.dumps(words))}::jsonb) AS n(kind text, schema text, "
        'name text, table_schema text, "table" text))\n'
    )


def things(named: Sequence[Named]) -> str:
    """What there is of these names."""
    return f"{EVERYTHING_NAMED}{_named(named)}{_THINGS};\n"


def tables(named: Sequence[Named]) -> str:
    """The tables of these triggers as the app would find them, the same ones always in the same order."""
    return (
        f"{AS_THE_APP}{_named(named)}"
        "SELECT jsonb_build_object('table', format('%I.%I', s.nspname, c.relname), 'view', c.relkind = 'v') FROM (SELECT "
        "DISTINCT to_regclass(concat(quote_ident(nullif(table_schema, '')) || '.', quote_ident(\"table\"))) AS oid "
        "FROM named WHERE kind = 'trigger') m JOIN pg_class c ON c.oid = m.oid JOIN pg_namespace s ON s.oid = c.relnamespace "
        "ORDER BY c.oid;\n"
    )


def views(named: Sequence[Named]) -> str:
    """The views of these names as the app would find them; one that reads another is mostly the newer, and comes before it."""
    return (
        f"{AS_THE_APP}{_named(named)}"
        "SELECT jsonb_build_object('view', format('%I.%I', s.nspname, c.relname), 'owner', quote_ident(pg_get_userbyid("
        "c.relowner))) FROM (SELECT DISTINCT to_regclass(concat(quote_ident(nullif(schema, '')) || '.', quote_ident(name))) "
        "AS oid FROM named WHERE kind = 'view') m JOIN pg_class c ON c.oid = m.oid AND c.relkind = 'v' "
        "JOIN pg_namespace s ON s.oid = c.relnamespace ORDER BY c.oid DESC;\n"
    )


#: Whose tables are Django's, where whoever asks may hand something to that role.
OWNER = """\
SELECT jsonb_build_object('owner', quote_ident(pg_get_userbyid(c.relowner))) FROM pg_class c JOIN pg_namespace s
  ON s.oid = c.relnamespace WHERE c.relname = 'django_migrations' AND c.relkind = 'r' AND pg_has_role(c.relowner, 'MEMBER')
  ORDER BY s.nspname <> 'public', s.nspname LIMIT 1;
"""


def strangers(oids: Mapping[str, int], tables_of_triggers: Sequence[str]) -> str:
    """What this transaction has changed beside what it was to change; rows of the catalogue have its number, locks its session.

    :param oids: by key, of what there was and what there is now.
    """
    mine = json.dumps(sorted(set(oids.values())))
    places = json.dumps(sorted(tables_of_triggers))
    return f"""\
{EVERYTHING_NAMED}WITH RECURSIVE me AS (SELECT (txid_current() % 4294967296)::text AS xid),
mine AS (SELECT value::text::oid AS oid FROM jsonb_array_elements({text(mine)}::jsonb)),
places AS (SELECT to_regclass(value)::oid AS oid FROM jsonb_array_elements_text({text(places)}::jsonb)
  UNION SELECT i.inhrelid FROM pg_inherits i JOIN places p ON i.inhparent = p.oid),
ours AS (SELECT oid FROM mine UNION SELECT oid FROM places)
SELECT jsonb_build_object('stranger', w.what) FROM me, LATERAL (
  SELECT 'function ' || p.proname FROM pg_proc p WHERE p.xmin::text = me.xid AND p.oid NOT IN (SELECT oid FROM mine)
  UNION ALL SELECT 'relation ' || c.relname FROM pg_class c WHERE c.xmin::text = me.xid AND c.oid NOT IN (SELECT oid FROM ours)
  UNION ALL SELECT 'column ' || a.attname FROM pg_attribute a WHERE a.xmin::text = me.xid AND a.attrelid NOT IN (SELECT oid FROM mine)
  UNION ALL SELECT 'rule ' || r.rulename FROM pg_rewrite r WHERE r.xmin::text = me.xid AND r.ev_class NOT IN (SELECT oid FROM mine)
  UNION ALL SELECT 'trigger ' || t.tgname FROM pg_trigger t WHERE t.xmin::text = me.xid AND t.oid NOT IN (SELECT oid FROM mine)
    AND t.tgname NOT IN (SELECT g.tgname FROM pg_trigger g WHERE g.oid IN (SELECT oid FROM mine))
  UNION ALL SELECT 'constraint ' || k.conname FROM pg_constraint k WHERE k.xmin::text = me.xid
  UNION ALL SELECT 'schema ' || s.nspname FROM pg_namespace s WHERE s.xmin::text = me.xid
  UNION ALL SELECT 'role ' || r.rolname FROM pg_roles r JOIN pg_auth_members m ON m.member = r.oid WHERE m.xmin::text = me.xid
  UNION ALL SELECT 'type ' || y.typname FROM pg_type y WHERE y.xmin::text = me.xid AND y.typrelid NOT IN (SELECT oid FROM mine)
    AND y.typelem NOT IN (SELECT e.oid FROM pg_type e WHERE e.typrelid IN (SELECT oid FROM mine))
  UNION ALL SELECT 'rows of ' || x.relname FROM pg_stat_xact_user_tables x WHERE x.n_tup_ins + x.n_tup_upd + x.n_tup_del > 0
  UNION ALL SELECT 'table ' || coalesce(c.relname, l.relation::text) FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.relation >= 16384 AND l.mode IN ('ShareUpdateExclusiveLock',
    'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') AND l.relation NOT IN (SELECT oid FROM ours)
) AS w(what) LIMIT 20;
"""


def check(query: str) -> str:
    """Ask a query in a transaction that can write no more; what it says first is told."""
    return (
        "SET LOCAL transaction_read_only = on;\n"
        f"{AS_THE_APP}DO $evenkeel$ DECLARE said text; BEGIN EXECUTE {text(query)} INTO said; "
        "PERFORM pg_catalog.set_config('evenkeel.check', coalesce(said, 'null'), true); END $evenkeel$;\n"
        "SELECT pg_catalog.jsonb_build_object('check', pg_catalog.current_setting('evenkeel.check'));\n"
    )


def in_the_way(named: Sequence[Named]) -> str:
    """Who has a lock on what was to change, the one who has been at it longest first."""
    return f"""\
{_named(named)}SELECT DISTINCT ON (a.xact_start, a.pid) jsonb_build_object('pid', a.pid, 'user', a.usename,
  'application', a.application_name, 'state', a.state, 'relation', c.relname,
  'seconds', extract(epoch FROM clock_timestamp() - a.xact_start)::bigint)
FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation
WHERE l.locktype = 'relation' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND a.pid <> pg_backend_pid() AND EXISTS (SELECT FROM named m WHERE c.relname IN (CASE m.kind WHEN 'view' THEN m.name END, m."table"))
ORDER BY a.xact_start, a.pid LIMIT 3;
"""


#: The migrations that Django has recorded, and a word for the server that they are of.
MIGRATIONS = """\
SELECT format('SELECT jsonb_build_object(''migration'', jsonb_build_array(app, name)) FROM %I.django_migrations ORDER BY id',
  s.nspname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace WHERE c.relkind = 'r'
  AND c.relname = 'django_migrations' ORDER BY s.nspname <> 'public', s.nspname LIMIT 1 \\gexec
"""
