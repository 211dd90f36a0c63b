# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: the temporary DDL by which old and new code live on one schema.

What is put up is in the transaction of the step that it belongs to, and the row of that operation keeps what takes it down
(``down``), what puts it up again (``up``, ``steps``) and the columns that it is about (``touches``): whoever wants to be rid
of it by hand runs these statements.
"""

from __future__ import annotations

import re
from typing import Any

from . import column_defaults
from .catalogue import identity_of, index_definitions, short

KEEP_DEFAULT, SET_DEFAULT, MIRROR_COLUMN = "keep_default", "set_default", "mirror_column"
FOREIGN_KEY, SYNONYM = "foreign_key", "synonym"
_NAME = r'"(?:[^"]|"")+"'
_DROP = re.compile(rf"^ALTER TABLE ((?:{_NAME}\.)?{_NAME}) ALTER COLUMN ({_NAME}) DROP DEFAULT$")

Standing = dict[str, Any]
#: What a row keeps of its bridge: beside what is above, what was to be done after it was put up.
_OF_BRIDGES = ("up", "down", "touches", "steps", "again")


def none() -> Standing:
    """What a row keeps of a bridge that is not there."""
    return {"up": [], "down": [], "touches": []}


def name_of(quoted: str) -> str:
    """A name that Django has quoted, as the catalogue has it."""
    return quoted.rpartition('."')[2].strip('"').replace('""', '"')


# -- a default that is kept ---------------------------------------------------------------------------------------


def keep_default(editor: Any, fields: dict[str, Any], named: dict[str, Any]) -> Standing:
    """Let an editor leave the default of a column that it makes, which Django would take away at once.

    :param fields: of the model, by column.  ``named``: see :func:`column_defaults.named_in`.
    :return: what is filled while the editor works.
    """
    plain, standing = editor.execute, none()

    def execute(sql: Any, params: Any = ()) -> None:
        found = _DROP.match(str(sql).strip().rstrip(";"))
        if not found:
            plain(sql, params)
            return
        table, column = found.groups()
        wanted = column_defaults.kept(editor.connection, fields[name_of(column)], named)
        put = f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {wanted.sql}"
        plain(put, None)
        standing["up"].append(put)
        standing["down"].append(str(sql))
        standing["touches"].append([name_of(table), name_of(column)])

    editor.execute = execute
    return standing


# -- a default for what goes later --------------------------------------------------------------------------------


def set_default(editor: Any, model: Any, field: Any) -> Standing:
    """What gives a column a default that the new code does not name any more."""
    quote = editor.connection.ops.quote_name
    where = f"ALTER TABLE {quote(model._meta.db_table)} ALTER COLUMN {quote(field.column)}"
    wanted = column_defaults.stand_in(editor.connection, field)
    return {
        "up": [f"{where} SET DEFAULT {wanted.sql}"],
        "down": [f"{where} DROP DEFAULT"],
        "touches": [[model._meta.db_table, field.column]],
    }


# -- a column under two names -------------------------------------------------------------------------------------

_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $evenkeel$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.{new} IS NOT NULL THEN NEW.{old} := NEW.{new}; ELSE NEW.{new} := NEW.{old}; END IF;
  ELSIF NEW.{new} IS DISTINCT FROM OLD.{new} AND NEW.{old} IS NOT DISTINCT FROM OLD.{old} THEN
    NEW.{old} := NEW.{new};
  ELSE
    NEW.{new} := NEW.{old};
  END IF;
  RETURN NEW;
END $evenkeel$
"""


def mirror_column(editor: Any, model: Any, field: Any, renamed: str) -> Standing:
    """What gives a column a second one under its new name, both kept in step; rows that are there are filled after it.

    :param renamed: the new name.
    """
    connection = editor.connection
    quote, table = connection.ops.quote_name, model._meta.db_table
    old, new = quote(field.column), quote(renamed)
    # Triggers fire in the order of their names, and this one has to see what others have made of a row.
    name = quote(f"zz_evenkeel_{short(table, renamed)}")
    parameters = field.db_parameters(connection)
    kind = parameters["type"] + (f" COLLATE {quote(parameters['collation'])}" if parameters.get("collation") else "")
    steps = [
        {"fill": quote(table), "column": new, "value": old, "where": f"{old} IS NOT NULL",
         # Rows that somebody worked on all the time.
         "sql": f"UPDATE {quote(table)} SET {new} = {old} WHERE {new} IS NULL AND {old} IS NOT NULL"},
        *index_definitions(connection, table, field.column, renamed),
    ]  # fmt: skip
    return {
        "up": [
            f"ALTER TABLE {quote(table)} ADD COLUMN {new} {kind}",
            _FUNCTION.format(function=name, old=old, new=new),
            f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {quote(table)} FOR EACH ROW EXECUTE FUNCTION {name}()",
        ],
        "down": [
            f"DROP TRIGGER {name} ON {quote(table)}",
            f"DROP FUNCTION {name}()",
            f"ALTER TABLE {quote(table)} DROP COLUMN {new}",
        ],
        "touches": [[table, field.column], [table, renamed]],
        "steps": steps,
        "again": steps,
    }


# -- what refers to rows that are deleted ---------------------------------------------------------------------------

_ALONG = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $evenkeel$
BEGIN
  {action} WHERE {column} = OLD.{target};
  RETURN NULL;
END $evenkeel$
"""


def foreign_keys(editor: Any, fields: list[Any], keeps_rows: bool) -> Standing:
    """What takes along, or empties, what refers to a row that code deletes which does not know of it.

    Django's constraints are looked at when a transaction ends, after these triggers.

    :param keeps_rows: rows that refer to it stay, without it.
    """
    quote, standing = editor.connection.ops.quote_name, none()
    for field in fields:
        table, column = quote(field.model._meta.db_table), quote(field.column)
        name = quote(f"zz_evenkeel_{short(field.model._meta.db_table, field.column)}")
        parent, target = quote(field.remote_field.model._meta.db_table), quote(field.target_field.column)
        action = f"UPDATE {table} SET {column} = NULL" if keeps_rows else f"DELETE FROM {table}"
        standing["up"] += [
            _ALONG.format(function=name, action=action, column=column, target=target),
            f"CREATE TRIGGER {name} AFTER DELETE ON {parent} FOR EACH ROW EXECUTE FUNCTION {name}()",
        ]
        standing["down"] += [f"DROP TRIGGER {name} ON {parent}", f"DROP FUNCTION {name}()"]
        standing["touches"].append([field.model._meta.db_table, field.column])
    return standing


def _referring(model: Any) -> list[Any]:
    """The fields of a model, and of what joins it to others, by which the database holds rows to each other."""
    joined = [f.remote_field.through for f in model._meta.local_many_to_many]
    tables = [model, *(through for through in joined if through._meta.auto_created)]
    return [f for table in tables for f in table._meta.local_concrete_fields if _is_held(f)]


def _is_held(field: Any) -> bool:
    remote = field.remote_field
    return bool(
        remote is not None and getattr(field, "db_constraint", False) and not getattr(remote.on_delete, "operation", "")
    )


# -- a table under two names --------------------------------------------------------------------------------------


def synonym(editor: Any, model: Any, new: str) -> Standing:
    """What gives a table a second name: a partitioned table of which the old one is the only part.

    A view would do but for ``GROUP BY`` its key, which Django relies on.  From PostgreSQL 17 on no part may number its
    rows by an identity, so a sequence does until then.

    :param new: the second name.
    """
    quote, old = editor.connection.ops.quote_name, model._meta.db_table
    table, other, key = quote(old), quote(new), quote(model._meta.pk.column)
    standing: Standing = {"up": [], "down": [], "touches": [[old, "*"], [new, "*"]]}
    numbered = identity_of(editor.connection, old, model._meta.pk.column)
    if numbered:
        kind, sequence = numbered
        own = quote(f"evenkeel_{short(old, 'seq')}")
        takes_over = "SELECT setval('{}', last_value, is_called) FROM {}"
        standing["up"] += [
            f"CREATE SEQUENCE {own} AS {kind} OWNED BY {table}.{key}",
            takes_over.format(own, sequence),
            f"ALTER TABLE {table} ALTER COLUMN {key} DROP IDENTITY",
            f"ALTER TABLE {table} ALTER COLUMN {key} SET DEFAULT nextval('{own}')",
        ]
    standing["up"] += [
        f"CREATE TABLE {other} (LIKE {table} INCLUDING DEFAULTS INCLUDING GENERATED) PARTITION BY RANGE ({key})",
        f"ALTER TABLE {other} ADD PRIMARY KEY ({key})",
        f"ALTER TABLE {other} ATTACH PARTITION {table} DEFAULT",
    ]
    standing["down"] += [f"ALTER TABLE {other} DETACH PARTITION {table}", f"DROP TABLE {other}"]
    if numbered:
        standing["down"] += [
            f"ALTER TABLE {table} ALTER COLUMN {key} DROP DEFAULT",
            f"ALTER TABLE {table} ALTER COLUMN {key} ADD GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME {sequence})",
            takes_over.format(sequence, own),
            f"DROP SEQUENCE {own}",
        ]
    return standing


# -- all of them --------------------------------------------------------------------------------------------------


def kind_of(operation: Any, difference: dict[str, Any]) -> str:
    """Which bridge an operation could have if it is put off, by the tables before and after it."""
    name = type(operation).__name__
    names = dict(difference.get("models") or [])
    changed = [(before, difference["after"].get(names.get(key, key))) for key, before in difference["before"].items()]
    moved = any(after is not None and before["table"] != after["table"] for before, after in changed)
    if name in ("RenameModel", "AlterModelTable") or (name == "RenameField" and moved):
        return SYNONYM
    if name == "DeleteModel" or (name == "RemoveField" and any(after is None for _before, after in changed)):
        return FOREIGN_KEY
    if len(changed) != 1 or changed[0][1] is None:
        return ""
    before, after = ({c["column"]: c for c in table["columns"].values()} for table in changed[0])
    gone = [column for name_of_it, column in before.items() if name_of_it not in after]
    if len(gone) == 1 and len(before) == len(after) and name in ("RenameField", "AlterField"):
        return MIRROR_COLUMN
    if len(gone) == 1 and name in ("RemoveField", "AlterOrderWithRespectTo"):
        return FOREIGN_KEY if gone[0]["reference"] else SET_DEFAULT
    return ""


def _renamed(operation: Any, app: str, state: Any, name: str | None) -> Any:
    """The model whose table gets another name, in one of the states: of a ``ManyToManyField`` the one that joins."""
    if hasattr(operation, "model_name"):
        return state.apps.get_model(app, operation.model_name)._meta.get_field(name).remote_field.through
    return state.apps.get_model(app, name or operation.name)


def of_deferred(editor: Any, kind: str, operation: Any, app: str, states: tuple[Any, Any]) -> Standing:
    """The bridge of an operation that is put off; nothing of it is put up yet.

    :param kind: as it was decided, empty for none.
    """
    if not kind:
        return {}
    if kind == SYNONYM:
        names = getattr(operation, "old_name", None), getattr(operation, "new_name", None)
        before, after = (_renamed(operation, app, s, name) for s, name in zip(states, names))
        return synonym(editor, before, after._meta.db_table)
    before = states[0].apps.get_model(app, getattr(operation, "model_name", None) or operation.name)
    if kind == FOREIGN_KEY:
        if not hasattr(operation, "model_name"):
            return foreign_keys(editor, _referring(before), keeps_rows=False)
        field = before._meta.get_field(operation.name)
        joins = list(field.remote_field.through._meta.local_concrete_fields) if field.many_to_many else []
        fields = [f for f in joins or [field] if _is_held(f)]
        return foreign_keys(editor, fields, keeps_rows=not field.many_to_many)
    if kind == SET_DEFAULT:
        name = operation.name if hasattr(operation, "model_name") else "_order"
        return set_default(editor, before, before._meta.get_field(name))
    old, new = (operation.old_name, operation.new_name) if hasattr(operation, "old_name") else [operation.name] * 2
    after = states[1].apps.get_model(app, operation.model_name)
    return mirror_column(editor, before, before._meta.get_field(old), after._meta.get_field(new).column)


def put_up(connection: Any, standing: Standing) -> None:
    """Run what puts a bridge up, in the transaction that is open."""
    _run(connection, standing.get("up") or [])


def take_down(connection: Any, standing: Standing) -> None:
    """Run what takes a bridge down, in the transaction that is open."""
    _run(connection, standing.get("down") or [])


def _run(connection: Any, statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def without(detail: dict[str, Any]) -> dict[str, Any]:
    """What a row keeps when its bridge is down."""
    return {key: value for key, value in detail.items() if key not in _OF_BRIDGES}
