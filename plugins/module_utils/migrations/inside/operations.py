# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: what each pending operation does, told by the tables before and after it.

What an operation does beside that is known of Django's own classes, by where their code is defined: a subclass with a
``database_forwards`` of its own may do anything.  Its SQL is collected, never run, and told without values.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterator
from typing import Any

from .. import column_types
from . import bridges, catalogue, column_defaults, schema, upserts

# Of these Django's own code is known: they change the tables as their states differ, and nothing else.
_AS_STATED = {
    "CreateModel", "DeleteModel", "RenameModel", "AlterModelTable", "AlterModelTableComment", "AddField", "RemoveField",
    "AlterField", "RenameField", "AlterUniqueTogether", "AlterIndexTogether", "AlterTogetherOptionOperation",
    "AlterOrderWithRespectTo", "AddIndex", "RemoveIndex", "RenameIndex", "AddConstraint", "RemoveConstraint",
    "AddIndexConcurrently", "RemoveIndexConcurrently", "AddConstraintNotValid",
}  # fmt: skip
_NOTHING = {"AlterModelOptions", "AlterModelManagers", "AlterConstraint", "ModelOptionOperation"}
_STRING = re.compile(r"E'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'", re.DOTALL)
# A number that is a type's own, or part of a name, is nobody's data.
_NUMBER = re.compile(r"((?:varchar|char|numeric|bit|timestamp|time)\([\d, ]+\))|(?<![\w\"])-?\d[\d.]*(?![\w\"])")


def without_values(sql: str) -> str:
    """A statement without its literals: they may be anybody's data."""
    return _NUMBER.sub(lambda found: found.group(1) or "…", _STRING.sub("'…'", sql))


def _defined_as(operation: Any) -> tuple[str, bool]:
    """The class whose code changes the database, and whether it is Django's own."""
    for kind in type(operation).__mro__:
        if "database_forwards" in vars(kind):
            return kind.__name__, kind.__module__.startswith("django.")
    return type(operation).__name__, False


def _nature(operation: Any) -> dict[str, Any]:
    """What running this operation does beside what its states say."""
    name, own = _defined_as(operation)
    if not own:
        return {"opaque": "custom"}
    if name == "RunPython":
        noop = getattr(operation.code, "__name__", "") == "noop" and operation.code.__module__.startswith("django.")
        return (
            {} if noop else {"opaque": "python", "batches": callable(getattr(operation.code, "evenkeel_batches", None))}
        )
    if name == "RunSQL":
        statements = operation.sql if isinstance(operation.sql, (list, tuple)) else [operation.sql]
        return {"opaque": "sql"} if any(statements) else {}
    if name == "CreateExtension":
        return {"extension": operation.name}
    if name in ("CreateCollation", "RemoveCollation"):
        return {"collation": operation.name, "removes": name == "RemoveCollation"}
    if name == "ValidateConstraint":
        return {"validates": [operation.model_name, operation.name]}
    if name in _AS_STATED:
        return {"concurrently": name.endswith("Concurrently"), "not_valid": name == "AddConstraintNotValid"}
    return {} if name in _NOTHING else {"opaque": "custom"}


def _changes_tables(operation: Any) -> bool:
    name, own = _defined_as(operation)
    return own and name in _AS_STATED


def _renames(operation: Any, app: str) -> dict[str, Any]:
    """Which model or field goes on under another name, from the operation's own attributes."""
    if hasattr(operation, "old_name_lower") and hasattr(operation, "new_name_lower"):
        if hasattr(operation, "model_name_lower"):
            model = f"{app}.{operation.model_name_lower}"
            return {"fields": [model, operation.old_name, operation.new_name]}
        return {"models": [f"{app}.{operation.old_name_lower}", f"{app}.{operation.new_name_lower}"]}
    return {}


def _filled(operation: Any) -> bool | None:
    """Whether rows that are there get a value, by the default that only the operation has."""
    field = getattr(operation, "field", None)
    return None if field is None else schema.fills(field)


def _ordered(operation: Any) -> dict[str, bool]:
    """The column of ``order_with_respect_to``, which Django itself fills with 0."""
    return {"_order": True} if type(operation).__name__ == "AlterOrderWithRespectTo" else {}


def _calls_the_app(operation: Any) -> bool:
    """Whether collecting its SQL would call a function of the app's for a default."""
    fields = [getattr(operation, "field", None), *[f for _n, f in getattr(operation, "fields", []) or []]]
    for field in fields:
        default = getattr(field, "default", None)
        if callable(default) and not isinstance(default, type):
            module = getattr(default, "__module__", "") or ""
            if module.split(".")[0] not in ("django", "uuid", "datetime", "builtins", "decimal"):
                return True
    return False


class Walk:
    """The operations of one database, in the order in which ``migrate`` would run them."""

    def __init__(self, connection: Any, state: Any, collect: bool) -> None:
        self.connection, self.state, self.collect = connection, state, collect
        self.tables = schema.tables_of(state.apps, connection)
        self.first = self.tables
        self.named: set[str] = set()
        self.sought: list[tuple[str, str, list[str]]] = []
        self.named_defaults: dict[str, Any] = {}

    def migration(self, migration: Any) -> list[dict[str, Any]]:
        app = migration.app_label
        self.named_defaults = column_defaults.named_in(migration)
        return [self._operation(app, o, i, migration.atomic) for i, o in enumerate(migration.operations)]

    def _operation(self, app: str, operation: Any, index: int, atomic: bool) -> dict[str, Any]:
        from django.db import router

        report: dict[str, Any] = {
            "index": index,
            "operation": operation.describe(),
            "kind": type(operation).__name__,
            "reversible": bool(operation.reversible),
            "atomic": atomic if getattr(operation, "atomic", None) is None else bool(operation.atomic),
        }
        before, tables = self.state.clone(), self.tables
        operation.state_forwards(app, self.state)
        if _defined_as(operation) == ("SeparateDatabaseAndState", True):
            report["stated"] = self._difference(tables, self._look(), operation, app, before)
            beside, after = Walk.__new__(Walk), self.tables
            vars(beside).update(vars(self), state=before, tables=tables)
            report["separate"] = [
                beside._operation(app, o, i, atomic) for i, o in enumerate(operation.database_operations)
            ]
            self.tables = after
            return report
        nature = _nature(operation)
        hints = getattr(operation, "hints", {})
        if not _changes_tables(operation) and not router.allow_migrate(self.connection.alias, app, **hints):
            nature = {}
        report.update(nature)
        difference = self._difference(tables, self._look(), operation, app, before)
        if _changes_tables(operation):
            report.update(difference)
            if not nature.get("opaque"):
                report["sql"] = self._sql(operation, app, before, atomic)
                report["bridge_sql"] = self._bridge_sql(operation, app, before, difference)
        elif nature.get("opaque") and difference["before"] != difference["after"]:
            report["stated"] = difference
        if nature.get("extension"):
            report["available"] = catalogue.extension_available(self.connection, str(nature["extension"]))
        return report

    def _look(self) -> dict[str, Any]:
        self.tables = schema.tables_of(self.state.apps, self.connection)
        return self.tables

    def _difference(
        self, before: dict[str, Any], after: dict[str, Any], operation: Any, app: str, state: Any
    ) -> dict[str, Any]:
        """The tables that an operation makes different, and which go on under another name."""
        touched = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        renames = _renames(operation, app)
        if "models" in renames:
            # Tables that only join two models go with the model that they belong to.
            old, new = renames["models"]
            pairs = [[old, new], *[[k, new + k[len(old) :]] for k in before if k.startswith(f"{old}.")]]
            renames["models"] = [pair for pair in pairs if pair[0] in before and pair[1] in after]
        elif "fields" in renames:
            model, old, new = renames["fields"]
            if f"{model}.{old}" in before:
                renames["models"] = [[f"{model}.{old}", f"{model}.{new}"]]
        for side in (before, after):
            for table in (side[key] for key in touched if key in side):
                self.named.add(table["table"])
                # What it refers to is about these tables too: their rows are deleted.
                self.named.update(c["reference"]["table"] for c in table["columns"].values() if c["reference"])
        for key in touched:
            if key in before and key in after:
                self._seek(before[key], after[key])
        field = getattr(operation, "name", None) if _filled(operation) is not None else None
        return {
            "before": {k: before[k] for k in touched if k in before},
            "after": {k: after[k] for k in touched if k in after},
            "renames": renames,
            "fills": {**({str(field): bool(_filled(operation))} if field else {}), **_ordered(operation)},
            "stand_ins": [
                told
                for key in touched
                if key in before and key in after
                for told in self._stand_ins(key, before[key], after[key], operation, state, renames)
            ],
        }

    def _stand_ins(
        self, key: str, before: dict[str, Any], after: dict[str, Any], operation: Any, state: Any, renames: Any
    ) -> Iterator[tuple[str, str, dict[str, str]]]:
        """What the database can put into columns that come and go, for code that does not know them."""
        if key.count(".") != 1 or self.connection.vendor != "postgresql":
            return
        renamed = set((renames.get("fields") or [])[1:])
        for name in sorted((set(before["columns"]) ^ set(after["columns"])) - renamed):
            comes = name in after["columns"]
            field = copy.copy((self.state if comes else state).apps.get_model(key)._meta.get_field(name))
            if not comes:
                told = column_defaults.stand_in(self.connection, field)
                yield before["table"], before["columns"][name]["column"], told.told()
                continue
            if _filled(operation) is not None and operation.name == name:
                # What only the operation has: a default that is not kept in the state.
                field.default = operation.field.default
            elif name in _ordered(operation):
                field.default = 0
            told = column_defaults.kept(self.connection, field, self.named_defaults)
            yield after["table"], after["columns"][name]["column"], told.told()

    def _seek(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        """Note which rows would be in the way of a change of one table."""
        for name, column in new["columns"].items():
            was = old["columns"].get(name)
            if was and was["null"] and not column["null"]:
                self.sought.append(("nulls", old["table"], [was["column"]]))
            if was and column_types.may_lose(str(was["type"]), str(column["type"])):
                self.sought.append(("losses", old["table"], [was["column"], str(column["type"])]))
        for key, unique in new["uniques"].items():
            if unique != old["uniques"].get(key) and not unique["condition"] and not unique["expressions"]:
                self.sought.append(("duplicates", old["table"], unique["columns"]))

    def _sql(self, operation: Any, app: str, before: Any, atomic: bool) -> list[str] | None:
        """The statements without their values, None where they cannot be known beforehand."""
        if not self.collect or self.connection.vendor != "postgresql" or _calls_the_app(operation):
            return None
        from django.db import transaction

        try:
            with transaction.atomic(using=self.connection.alias):
                with self.connection.schema_editor(collect_sql=True, atomic=False) as editor:
                    operation.database_forwards(app, editor, before, self.state)
                return [without_values(str(statement)) for statement in editor.collected_sql]
        except Exception:  # names of constraints may depend on migrations that were not run
            return None

    def _bridge_sql(self, operation: Any, app: str, before: Any, difference: dict[str, Any]) -> list[str]:
        """What would put up a bridge for an operation that is put off, without values; nothing where there is none."""
        kind = bridges.kind_of(operation, difference)
        if not kind or self.connection.vendor != "postgresql":
            return []
        from django.db import DatabaseError

        try:
            with self.connection.schema_editor(collect_sql=True, atomic=False) as editor:
                standing = bridges.of_deferred(editor, kind, operation, app, (before, self.state))
        except (DatabaseError, LookupError):  # of what earlier migrations have not made yet
            return []
        steps = [step["sql"] for step in standing.get("steps") or []]
        return [without_values(statement) for statement in [*standing["up"], *steps]]


def _declared(migration: Any, name: str = "evenkeel_phase") -> Any:
    """What the migration's own file declares, in the module or the class."""
    module = sys.modules.get(type(migration).__module__)
    return getattr(migration, name, None) or getattr(module, name, None)


def _prepares(settings: dict[str, Any]) -> bool:
    """Whether long-lived connections keep statements that the server has prepared."""
    options = settings.get("OPTIONS") or {}
    return bool(options.get("prepare_threshold") is not None or options.get("server_side_binding"))


def described(
    connection: Any, state: Any, nodes: list[tuple[Any, list[tuple[str, str]]]], collect: bool
) -> dict[str, Any]:
    """What is to be run onto a state, with what the old and the new code know of the tables, and the catalogue."""
    walk = Walk(connection, state, collect)
    report: dict[str, Any] = {
        "alias": connection.alias,
        "vendor": connection.vendor,
        "editor": connection.SchemaEditorClass.__module__,
        "prepared_statements": _prepares(connection.settings_dict),
        "migrations": [
            {
                "app": migration.app_label,
                "name": migration.name,
                "atomic": bool(migration.atomic),
                "initial": bool(migration.initial),
                "replaces": [list(key) for key in migration.replaces],
                "dependencies": [list(key) for key in migration.dependencies],
                "run_before": [list(key) for key in migration.run_before],
                "ancestors": [list(key) for key in ancestors],
                "declared": _declared(migration),
                "one_transaction": bool(_declared(migration, "evenkeel_one_transaction")),
                "operations": walk.migration(migration),
            }
            for migration, ancestors in nodes
        ],
    }
    report["old"] = [t for t in walk.first.values() if t["table"] in walk.named]
    report["new"] = [t for t in walk.tables.values() if t["table"] in walk.named]
    report["catalogue"] = _catalogue(connection, walk) if connection.vendor == "postgresql" else {}
    moving = {m["app"] for m in report["migrations"] if any(o.get("opaque") == "python" for o in m["operations"])}
    if connection.vendor == "postgresql":
        concerned = [*report["old"], *report["new"]]
        # Hundreds of files are read for it, and a catalogue asked.
        if any(table["uniques"] for table in concerned):
            report["upserts"] = upserts.found()
        if any(column["collation"] for table in concerned for column in table["columns"].values()):
            report["own_collations"] = catalogue.own_collations(connection)
        report["sizes"] = {app: _sizes(connection, walk.first, app) for app in sorted(moving)}
    return report


def _sizes(connection: Any, tables: dict[str, Any], app: str) -> list[tuple[str, int]]:
    """The tables of an app that are there, with their bytes."""
    names = sorted({t["table"] for key, t in tables.items() if key.partition(".")[0] == app})
    return [(n, size) for n, size in ((n, catalogue.size(connection, n)) for n in names) if size is not None]


def _catalogue(connection: Any, walk: Walk) -> dict[str, Any]:
    known = {name: catalogue.table(connection, name) for name in sorted(walk.named)}
    for kind, name, columns in walk.sought:
        table = known.get(name)
        if table is None:
            continue
        if kind == "nulls":
            catalogue.look_for_nulls(connection, name, table, columns[0])
        elif kind == "losses":
            catalogue.look_for_losses(connection, name, table, *columns)
        else:
            catalogue.look_for_duplicates(connection, name, table, columns)
    return known
