# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: the tables that a state of Django's migrations stands for, as plain data.

What is in a default, a condition or an expression is never told: two of them are compared by digests under a key
that is made anew for each run and forgotten with it.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

_KEY = os.urandom(16)
# Of these no value that a column can hold makes PostgreSQL raise an error.
_TOTAL = {"F", "Col", "Value", "Lower", "Upper", "Coalesce", "Trim", "LTrim", "RTrim", "OrderBy", "IndexExpression"}
_TOTAL_LOOKUPS = {"exact", "iexact", "isnull", "in", "gt", "gte", "lt", "lte", "startswith", "contains", "range"}


def digest(value: Any) -> str:
    """A name by which two equal values are known as equal within this run."""
    return hashlib.blake2b(repr(value).encode(), key=_KEY, digest_size=8).hexdigest()


def never_fails(expression: Any) -> bool:
    """Whether no row can make this expression an error."""
    if isinstance(expression, (str, int, bool, type(None))):
        return True
    kind = type(expression)
    if kind.__name__ == "Q":
        return all(_lookup_never_fails(child) for child in expression.children)
    if not kind.__module__.startswith("django.") or kind.__name__ not in _TOTAL:
        return False
    parts = expression.get_source_expressions() if hasattr(expression, "get_source_expressions") else []
    return all(never_fails(part) for part in parts if part is not None)


def _lookup_never_fails(child: Any) -> bool:
    if not isinstance(child, tuple):
        return never_fails(child)
    name, value = child
    words = name.split("__")[1:]
    plain = isinstance(value, (list, tuple, set)) or not hasattr(value, "resolve_expression")
    return plain and all(word in _TOTAL_LOOKUPS for word in words)


def _db_default(field: Any) -> dict[str, str] | None:
    from django.db.models import NOT_PROVIDED

    value = getattr(field, "db_default", NOT_PROVIDED)
    if value is NOT_PROVIDED:
        return None
    kind = "constant"
    if hasattr(value, "resolve_expression") and type(value).__name__ != "Value":
        # Now() is the same for all rows of a statement; anything else may be another value for each.
        own = type(value).__module__.startswith("django.") and type(value).__name__ in ("Now", "Cast")
        kind = "stable" if own and type(value).__name__ == "Now" else "volatile"
    if hasattr(value, "deconstruct"):
        value = value.deconstruct()
    return {"kind": kind, "digest": digest(value)}


def _generated(field: Any) -> dict[str, Any] | None:
    if not getattr(field, "generated", False):
        return None
    limited = getattr(field.output_field, "max_length", None) is not None
    expression = field.expression
    return {"stored": bool(field.db_persist), "digest": digest(repr(expression)),
            "never_fails": never_fails(expression) and not limited}  # fmt: skip


def fills(field: Any) -> bool:
    """Whether Django gives existing rows a value when it makes the column; the app's function is not called."""
    automatic = getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
    empty = field.blank and field.empty_strings_allowed and not field.null
    return bool(field.has_default() or automatic or empty)


def _reference(field: Any) -> dict[str, Any] | None:
    remote = field.remote_field
    if remote is None or not getattr(field, "db_constraint", False) or not hasattr(field, "target_field"):
        return None
    in_database = getattr(remote.on_delete, "operation", "") or "NO ACTION"
    return {"table": remote.model._meta.db_table, "column": field.target_field.column, "on_delete": in_database,
            "by_django": getattr(remote.on_delete, "__name__", "") or str(in_database)}  # fmt: skip


def _column(field: Any, connection: Any) -> dict[str, Any]:
    parameters = field.db_parameters(connection)
    target = field
    while getattr(target, "remote_field", None) is not None and hasattr(target, "target_field"):
        target = target.target_field
    check = parameters.get("check")
    return {
        "column": field.column,
        "type": parameters["type"],
        "null": bool(field.null),
        "primary_key": bool(field.primary_key),
        "automatic": target is field and field.get_internal_type().endswith("AutoField"),
        "default": fills(field),
        "db_default": _db_default(field),
        "generated": _generated(field),
        "collation": parameters.get("collation") or "",
        # Under another name of its column it is the same rule.
        "check": digest(check.replace(connection.ops.quote_name(field.column), "")) if check else "",
        "reference": _reference(field),
        "comment": digest(getattr(field, "db_comment", None) or ""),
    }


def _columns_of(model: Any, names: Any) -> list[str]:
    return [model._meta.get_field(name).column for name in names]


def _unique(model: Any, columns: list[str], **more: Any) -> dict[str, Any]:
    plain = {"columns": columns, "condition": "", "expressions": "", "deferrable": False, "nulls_distinct": True,
             "never_fails": True, "name": ""}  # fmt: skip
    return {**plain, **more}


def _is_djangos(thing: Any) -> bool:
    """Whether what a class does is known, and not the app's own."""
    return type(thing).__module__.startswith("django.")


def _uniques(model: Any) -> dict[str, dict[str, Any]]:
    from django.db.models import UniqueConstraint

    found = {}
    for field in model._meta.local_concrete_fields:
        if field.column and field.unique and not field.primary_key:
            found[f"field:{field.name}"] = _unique(model, [field.column])
    for names in model._meta.unique_together:
        found["together:" + ",".join(names)] = _unique(model, _columns_of(model, names))
    for constraint in model._meta.constraints:
        if isinstance(constraint, UniqueConstraint) and _is_djangos(constraint):
            expressions = constraint.expressions
            found[constraint.name] = _unique(
                model,
                _columns_of(model, constraint.fields),
                name=constraint.name,
                condition=digest(constraint.condition) if constraint.condition else "",
                expressions=digest(expressions) if expressions else "",
                deferrable=bool(constraint.deferrable),
                nulls_distinct=getattr(constraint, "nulls_distinct", None) is not False,
                never_fails=all(never_fails(e) for e in (*expressions, constraint.condition)),
            )
    return found


def _checks(model: Any) -> dict[str, dict[str, Any]]:
    from django.db.models import UniqueConstraint

    found = {}
    for constraint in model._meta.constraints:
        if not (isinstance(constraint, UniqueConstraint) and _is_djangos(constraint)):
            rule = getattr(constraint, "condition", None) or getattr(constraint, "check", None)
            kind = {"CheckConstraint": "check", "ExclusionConstraint": "exclusion"}.get(type(constraint).__name__)
            kind = kind if _is_djangos(constraint) else None
            found[constraint.name] = {
                "kind": kind or "other",
                # The messages for users are no part of the database.
                "digest": digest((type(constraint), rule, getattr(constraint, "expressions", None))),
                "columns": sorted(_named_in(rule, model)),
                "null_passes": kind == "check" and _null_passes(rule),
            }
    return found


def _null_passes(rule: Any) -> bool:
    """Whether a row with NULL in all the columns that it names satisfies a condition."""
    if isinstance(rule, tuple):
        return "isnull" not in rule[0].split("__") and rule[1] is not None and _lookup_never_fails(rule)
    return type(rule).__name__ == "Q" and all(_null_passes(child) for child in rule.children)


def _named_in(rule: Any, model: Any) -> set[str]:
    """The columns that a condition names, as far as they can be seen."""
    found: set[str] = set()
    for child in getattr(rule, "children", []) or []:
        if isinstance(child, tuple):
            names = {f.name: f.column for f in model._meta.local_concrete_fields}
            found.update({names[word] for word in child[0].split("__")[:1] if word in names})
        else:
            found |= _named_in(child, model)
    return found


def _indexes(model: Any) -> dict[str, dict[str, Any]]:
    found = {}
    for field in model._meta.local_concrete_fields:
        if field.column and field.db_index and not field.unique:
            found[f"field:{field.name}"] = {"name": "", "columns": [field.column], "method": "btree", "plain": True}
    for names in getattr(model._meta, "index_together", ()):
        columns = _columns_of(model, names)
        found["together:" + ",".join(names)] = {"name": "", "columns": columns, "method": "btree", "plain": True}
    for index in model._meta.indexes:
        columns = _columns_of(model, [name for name, _order in index.fields_orders])
        method = {"idx": "btree"}.get(index.suffix, index.suffix)
        found[index.name] = {
            "name": index.name,
            "columns": columns + _columns_of(model, index.include or ()),
            "method": method,
            "plain": _is_djangos(index) and all(never_fails(e) for e in (*index.expressions, index.condition)),
            "digest": digest(index.deconstruct()[1:]),
        }
        if index.expressions:
            found[index.name]["columns"] = columns or [f.column for f in model._meta.local_concrete_fields if f.column]
    return found


def table_of(model: Any, connection: Any, managed: bool) -> dict[str, Any]:
    """One model's table."""
    meta = model._meta
    fields = [f for f in meta.local_concrete_fields if f.column and f.db_type(connection)]
    return {
        "table": meta.db_table,
        "managed": managed,
        "primary_key": [f.column for f in getattr(meta, "pk_fields", [meta.pk]) if f is not None],
        "columns": {field.name: _column(field, connection) for field in fields},
        "uniques": _uniques(model),
        "checks": _checks(model),
        "indexes": _indexes(model),
        "comment": digest(getattr(meta, "db_table_comment", "")),
    }


def tables_of(apps: Any, connection: Any) -> dict[str, dict[str, Any]]:
    """Every table of a state, those that only join two models included, by the model that it belongs to."""
    from django.db import router

    found = {}
    for model in apps.get_models():
        meta = model._meta
        if meta.proxy or meta.swapped:
            continue
        managed = bool(meta.can_migrate(connection) and router.allow_migrate_model(connection.alias, model))
        found[meta.label_lower] = table_of(model, connection, managed)
        for field in meta.local_many_to_many:
            through = field.remote_field.through
            if through is not None and through._meta.auto_created and not through._meta.swapped:
                found[f"{meta.label_lower}.{field.name}"] = table_of(through, connection, managed)
    return found
