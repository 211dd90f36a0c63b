# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The safe way to write each kind of migration, in the words that a person reads when the other way is refused."""

from __future__ import annotations

ADD_NOT_NULL = (
    "give the field null=True, or db_default (Django 5.0 and newer), which the database keeps; make it NOT NULL by a "
    "migration of the next release, when no code is left that does not know it"
)
REMOVE_COLUMN = "it is taken out of the state before the code is replaced and dropped when the old code is gone"
REMOVE_NOT_NULL = (
    "first AlterField to null=True (or a db_default) and then RemoveField; both may be in one migration, since the first "
    "runs before and the second after the code is replaced"
)
REMOVE_REFERENCE = (
    "first AlterField to null=True and db_constraint=False and then RemoveField; both may be in one migration"
)
REMOVE_TABLE = "it is taken out of the state before the code is replaced and dropped when the old code is gone"
REMOVE_TABLE_REFERRING = (
    "first AlterField of its foreign keys to db_constraint=False and then DeleteModel; both may be in one migration"
)
RENAME_TABLE = (
    "keep the table's name (Meta.db_table), or make a new table, write both, move the rows, and drop the old one"
)
RENAME_COLUMN = (
    "keep the column's name (db_column=…), which makes renaming the field harmless; or add the new field, write both, move "
    "the values, and remove the old one two releases later"
)
KEY = "make a new table with the other key and move to it over several releases"
OTHER_TYPE = (
    "add a field of the new type beside it, write both, move the values, read the new one, and remove the old one"
)
NARROW = "let a release forbid longer values first, then narrow the field"
REWRITE = "every row is written anew under a lock: on a big table add a field beside it and move the values in batches"
PREPARED = (
    "switch prepared statements off for the update (OPTIONS prepare_threshold: None), or add a field of the new type "
    "beside it"
)
UNIQUE_FIRST = (
    "on a big table first AddConstraint, in a migration of its own, and what takes the other one away in the next"
)
COLLATION = "add a field with the new collation beside it, or say by evenkeel_phase that the code does not rely on it"
NOT_NULL = (
    "it waits until the old code is gone; on a big table first a CheckConstraint that the field is not null by "
    "AddConstraintNotValid, then ValidateConstraint, then AlterField"
)
NULLS = "give the field a default, or fill in the NULLs by a data migration first"
OTHER_DB_DEFAULT = (
    "set the value in the code (default=…), or say by evenkeel_phase which default may be met for a while"
)
REMOVE_DB_DEFAULT = "it waits until the old code is gone, which relies on the default"
GENERATED = (
    "every row is written anew under a lock: on a big table add an ordinary field, let the code set it and fill it in "
    "batches; where the expression fails for no value, say so by evenkeel_phase"
)
GENERATED_ALTERED = "RemoveField and AddField under another name"
VOLATILE_DEFAULT = "add the field with null=True first, fill it in batches, then give it the default"
UNIQUE = (
    'it waits until the old code is gone; say evenkeel_phase = "after" where the new code does not upsert by it '
    '(bulk_create with unique_fields), or "before" where the old code writes no two rows alike'
)
DUPLICATES = "find and settle the rows that are alike first, by a data migration of an earlier release"
REMOVE_UNIQUE = (
    'say evenkeel_phase = "before" where the old code does not upsert by it, "after" where the new writes none alike'
)
CHECK = "it waits until the old code is gone; on a big table AddConstraintNotValid and in a later migration ValidateConstraint"
EXCLUSION = "it waits until the old code is gone; it reads the whole table under a lock"
INDEX = "AddIndexConcurrently in a migration of its own with atomic = False; on long text an index of a hash or of its start"
CONTRACT_FIRST = "django_migrate with state contracted when all containers run the newer code; or let a release without it come between"
NOT_ATOMIC = "write atomic = False into the migration, and nothing else into it"
INVALID_INDEX = "DROP INDEX CONCURRENTLY of that name, then the same again"
REFERENCE = "it waits until the old code is gone; on a big table NOT VALID first and VALIDATE CONSTRAINT in a transaction of its own"
REMOVE_ACTING_REFERENCE = (
    "first AlterField to an on_delete that Django carries out, such as CASCADE; take the constraint away by a migration of "
    "the next release"
)
OTHER_TARGET = "add a second field that refers to the other table, write both, move the values, and remove the old one"
TABLE_EXISTS = "migrate --fake for that migration if the table is what it would make, else drop or rename the table"
COLUMN_EXISTS = "migrate --fake for that migration if the column is what it would make, else drop the column"
NO_TABLE = "compare the database with the migrations that are recorded in it: showmigrations"
EXTENSION = "install its package on the database server, then the same again"
OPAQUE = (
    'say in the migration\'s file evenkeel_phase = "before" where the old code goes on working with what it does, '
    '"after" where only the new code does, "between" where it moves rows in batches; or declared_phases: {app.name: before}'
)
BATCHES = (
    "write it in batches: fill.evenkeel_batches = a function (apps, schema_editor, after) that yields after each, and "
    'evenkeel_phase = "between" (docs/migrations.md, data moves); where one transaction is short enough say '
    "evenkeel_one_transaction = True in the migration's file, or name the operation by its number in declared_phases"
)
NOT_ATOMIC = (
    "give the migration atomic = False, so that its batches can be committed one by one before the code is replaced, or "
    'evenkeel_phase = "between"'
)
SEPARATE = "put what changes the database into database_operations too, or take the field out of the code in two steps"
SPLIT = "put this and what follows into a release of its own: it is begun when the one before is settled"
TWO_OPERATIONS = (
    "write it as two operations: the part that the new code needs, and the part that the old code must not meet"
)
OTHER_DATABASE = "run its migrations by hand in a window; only PostgreSQL is judged"
