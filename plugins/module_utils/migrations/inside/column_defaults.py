# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: what PostgreSQL can put into a column where an INSERT does not name it.

Of a field that comes: the field's own default, for code that does not know the field yet.  Of a field that goes: its default,
or a value of its type, for code that does not know it any more.  A function of the app's is never called for it: one value
for all rows is not what it stands for.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from dataclasses import dataclass
from typing import Any

#: Calling one of these gives the same each time.
_CONSTANT = (dict, list, set, tuple, str, bytes, int, float, bool, decimal.Decimal)
_NOW = {"DateTimeField": "now()", "DateField": "CURRENT_DATE", "TimeField": "LOCALTIME"}
#: By PostgreSQL's types without their lengths: what says nothing.
_NOTHING = {
    **dict.fromkeys(("varchar", "character varying", "text", "citext", "char", "bytea", "hstore"), "''"),
    **dict.fromkeys(("smallint", "integer", "bigint", "numeric", "real", "double precision"), "0"),
    "boolean": "false", "date": "CURRENT_DATE", "timestamp with time zone": "now()", "time": "LOCALTIME",
    "interval": "'0'", "uuid": "gen_random_uuid()", "jsonb": "'{}'", "inet": "'0.0.0.0'",
    **dict.fromkeys(("int4range", "int8range", "numrange", "tstzrange", "daterange"), "'empty'"),
}  # fmt: skip


@dataclass(frozen=True)
class Default:
    """An expression for ``SET DEFAULT``.

    :ivar sql: the expression, which may hold a value of the app's; :ivar shown: the same for people, without it.
    :ivar why: why there is none.
    """

    sql: str = ""
    shown: str = ""
    why: str = ""

    def told(self) -> dict[str, str]:
        """What may leave the container."""
        return {"shown": self.shown, "why": self.why}


def _literal(connection: Any, field: Any, value: Any) -> Default:
    prepared = field.get_db_prep_save(value, connection)
    if prepared is None:
        return Default(why=f"the default of {field.name} is nothing")
    return Default(str(connection.ops.compose_sql("%s", [prepared])), "the field's default")


def _known(field: Any) -> Default | None:
    """What a default stands for that is a function, None where it is one whose result is always the same."""
    from django.utils import timezone

    function, kind = field.default, field.get_internal_type()
    moments = (timezone.now, timezone.localdate, datetime.datetime.now, datetime.date.today)
    if any(function == moment for moment in moments) and kind in _NOW:
        return Default(_NOW[kind], _NOW[kind])
    if function in (uuid.uuid1, uuid.uuid4) and kind == "UUIDField":
        return Default("gen_random_uuid()", "gen_random_uuid()")
    if any(function is constant for constant in _CONSTANT):
        return None
    name = getattr(function, "__qualname__", type(function).__name__)
    return Default(why=f"the default of {field.name} is a function ({name}), which the database cannot call")


def _named(connection: Any, field: Any, value: Any) -> Default:
    from django.core.exceptions import ValidationError

    try:
        field.run_validators(field.to_python(value))
        return _literal(connection, field, value)
    except (ValidationError, ValueError, TypeError):
        return Default(why=f"evenkeel_defaults has a value that {field.name} cannot have")


def named_in(migration: Any) -> dict[str, Any]:
    """Values by ``model.field`` that a migration's author names for rows of older code (``evenkeel_defaults``)."""
    return dict(getattr(migration, "evenkeel_defaults", None) or {})


def kept(connection: Any, field: Any, named: dict[str, Any] | None = None) -> Default:
    """What the database gives to rows of code that does not know this field.

    :param named: see :func:`named_in`.
    """
    key = f"{field.model._meta.model_name}.{field.name}"
    if key in (named or {}):
        return _named(connection, field, (named or {})[key])
    if field.has_default():
        known = _known(field) if callable(field.default) else None
        return known or _literal(connection, field, field.get_default())
    kind = field.get_internal_type()
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        return Default(_NOW[kind], _NOW[kind]) if kind in _NOW else Default(why=f"{field.name} has no default")
    if field.blank and field.empty_strings_allowed and not field.null:
        return _literal(connection, field, b"" if kind == "BinaryField" else "")
    return Default(why=f"{field.name} has no default")


def stand_in(connection: Any, field: Any) -> Default:
    """What the database gives to rows of code that does not know this field any more, where older code still reads it."""
    own = kept(connection, field)
    if own.sql:
        return own
    name = str(field.db_type(connection) or "").lower()
    found = "'{}'" if name.endswith("]") else _NOTHING.get(name.partition("(")[0].strip(), "")
    return Default(found, found) if found else Default(why=f"no value of {name} says nothing")
