# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that the schema ``public`` has, as one query: two databases are alike when its rows are."""

from __future__ import annotations

SCHEMA = """
WITH t AS (SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
           AND relname NOT LIKE 'django_%' AND relname NOT LIKE 'evenkeel_%')
SELECT 'column', t.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text,
       coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM t JOIN pg_attribute a ON a.attrelid = t.oid LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'index', indexname::text, indexdef, '', '' FROM pg_indexes JOIN t ON t.relname = tablename
UNION ALL SELECT 'constraint', conname::text, pg_get_constraintdef(c.oid), '', '' FROM pg_constraint c JOIN t ON t.oid = conrelid
          WHERE c.contype <> 'n'
UNION ALL SELECT 'trigger', tgname::text, '', '', '' FROM pg_trigger JOIN t ON t.oid = tgrelid WHERE NOT tgisinternal
UNION ALL SELECT 'function', proname::text, '', '', '' FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
          AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
ORDER BY 1, 2
"""
