# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container (``manage.py shell``): what Django would migrate, as one line ``EVENKEEL {json}``.

Django's own loader and executor say what is pending; each operation is told by the tables before and after it and by
what its class is known to do, never by its SQL.  Nothing is written: databases are read in transactions that are
read-only and rolled back, and SQL is collected, with all values taken out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from .. import expansion
from . import catalogue
from .ledger import Ledger
from .operations import described


class Unusable(Exception):
    """There is no plan, and why: a kind that the module knows, and words for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _own_words(error: BaseException) -> str:
    """What went wrong, in one line, without any password of the settings."""
    from django.conf import settings

    text = " ".join(str(error).split())
    for database in settings.DATABASES.values():
        for secret in (database.get("PASSWORD"), (database.get("OPTIONS") or {}).get("password")):
            if secret:
                text = text.replace(str(secret), "…")
    return text[:600]


def _loaded(connection: Any) -> Any:
    """Django's executor, after the questions that ``migration_plan`` itself does not ask."""
    from django.db import DatabaseError
    from django.db.migrations.exceptions import (
        AmbiguityError,
        BadMigrationError,
        CircularDependencyError,
        InconsistentMigrationHistory,
        NodeNotFoundError,
    )
    from django.db.migrations.executor import MigrationExecutor

    try:
        executor = MigrationExecutor(connection)
        executor.loader.check_consistent_history(connection)
    except InconsistentMigrationHistory as error:
        raise Unusable("history", _own_words(error)) from error
    except (NodeNotFoundError, BadMigrationError, CircularDependencyError, AmbiguityError) as error:
        raise Unusable("graph", _own_words(error)) from error
    except DatabaseError as error:
        raise Unusable("database", f"{connection.alias}: {_own_words(error)}") from error
    conflicts = executor.loader.detect_conflicts()
    if conflicts:
        names = "; ".join(f"{', '.join(sorted(leaves))} in {app}" for app, leaves in sorted(conflicts.items()))
        raise Unusable("conflict", names)
    return executor


def _unrecorded(loader: Any) -> list[list[str]]:
    """Squashed migrations whose parts have all been run: ``migrate`` records them, and does nothing else."""
    recorded = set(loader.recorder_applied)
    found = []
    for key, migration in sorted(loader.replacements.items()):
        if key not in recorded and all(part in recorded for part in migration.replaces):
            found.append(list(key))
    return found


def database(
    connection: Any, collect: bool, targets: list[tuple[str, str | None]], running: list[dict[str, Any]]
) -> dict[str, Any]:
    """What is pending in one database, and what was recorded since the code that serves was begun."""
    from django.db.migrations.recorder import MigrationRecorder

    executor = _loaded(connection)
    loader = executor.loader
    loader.recorder_applied = MigrationRecorder(connection).applied_migrations()
    plan = executor.migration_plan(targets or loader.graph.leaf_nodes())
    backwards = [f"{m.app_label}.{m.name}" for m, reverse in plan if reverse]
    if backwards:
        raise Unusable("backwards", ", ".join(backwards))
    rows = Ledger(connection).rows() if connection.vendor == "postgresql" else []
    ahead = _ahead(executor, expansion.unserved(rows, running))
    nodes = [(m, _ancestors(loader.graph, (m.app_label, m.name))) for m in [*ahead, *(m for m, _reverse in plan)]]
    report = described(connection, _state_without(executor, ahead), nodes, collect)
    for one in report["migrations"]:
        one["recorded"] = (one["app"], one["name"]) in {(m.app_label, m.name) for m in ahead}
    return {
        **report,
        "applied": len(loader.recorder_applied),
        "to_record": _unrecorded(loader),
        "ledger": rows,
        "claim": _claim(connection, loader),
        "known": _known(loader.graph, rows),
        "taken_back": [list(key) for key in expansion.unrecorded(rows, loader.recorder_applied)],
        **_behind(connection, loader),
    }


def _claim(connection: Any, loader: Any) -> dict[str, str]:
    """Which host changes this database; nothing of one in which the app's own router lets nothing be migrated."""
    from django.db import router

    ours = any(router.allow_migrate(connection.alias, app) for app in loader.migrated_apps)
    return Ledger(connection).claim() if ours and connection.vendor == "postgresql" else {}


def _behind(connection: Any, loader: Any) -> dict[str, Any]:
    """What was recorded by other code and is unknown to this one, with our rows of it."""
    known = {*loader.disk_migrations, *(tuple(part) for m in loader.disk_migrations.values() for part in m.replaces)}
    unknown = [key for key in loader.recorder_applied if key not in known]
    rows = Ledger(connection).rows(settled=True) if unknown and connection.vendor == "postgresql" else []
    apps, ours = {app for app, _name in known}, {(r["app"], r["name"]) for r in rows}
    # Of apps that were removed long ago the records stay for ever.
    unknown = [key for key in unknown if key[0] in apps or key in ours]
    return {"unknown": [list(k) for k in unknown], "history": [r for r in rows if (r["app"], r["name"]) in unknown]}


def _ahead(executor: Any, keys: list[tuple[str, str]]) -> list[Any]:
    """Migrations that the code that serves does not know, and what is recorded on top of them, in Django's order."""
    graph, recorded = executor.loader.graph, set(executor.loader.applied_migrations)
    found = {k for key in keys if key in graph.nodes for k in graph.backwards_plan(key) if k in recorded}
    full = executor.migration_plan(graph.leaf_nodes(), clean_start=True) if found else []
    return [m for m, _reverse in full if (m.app_label, m.name) in found]


def _state_without(executor: Any, ahead: list[Any]) -> Any:
    """What the code that serves was made for."""
    known = executor.loader.applied_migrations
    taken = {(m.app_label, m.name) for m in ahead}
    executor.loader.applied_migrations = {k: v for k, v in known.items() if k not in taken}
    try:
        return executor._create_project_state(with_applied_migrations=True)
    finally:
        executor.loader.applied_migrations = known


def _known(graph: Any, rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The operations, in words, of what this image knows of our rows."""
    nodes = {(r["app"], r["name"]): graph.nodes.get((r["app"], r["name"])) for r in rows}
    return {".".join(k): [o.describe() for o in m.operations] for k, m in nodes.items() if m is not None}


def _ancestors(graph: Any, key: tuple[str, str]) -> list[tuple[str, str]]:
    return [k for k in graph.forwards_plan(key) if k != key]


# -- all databases ------------------------------------------------------------------------------------------------


def _chosen(wanted: list[str]) -> Iterator[tuple[Any, str]]:
    """Connections with the reason why one is left out, empty where it is not."""
    from django.db import connections

    seen: dict[tuple[str, ...], str] = {}
    for alias in wanted or list(connections):
        if alias not in connections:
            raise Unusable("alias", f"{alias}; there are {', '.join(connections)}")
        connection = connections[alias]
        where = tuple(str(connection.settings_dict.get(k) or "") for k in ("ENGINE", "HOST", "PORT", "NAME"))
        mirror = (connection.settings_dict.get("TEST") or {}).get("MIRROR")
        if not wanted and connection.vendor not in ("postgresql", "sqlite", "mysql", "oracle"):
            yield connection, "its settings name no engine"
        elif not wanted and mirror:
            yield connection, f"a copy of {mirror}"
        elif where in seen:
            yield connection, f"the same database as {seen[where]}"
        else:
            seen[where] = alias
            yield connection, ""


def _is_replica(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        return bool(cursor.fetchone()[0])


def plan(
    wanted: list[str], collect: bool, statement_timeout: int, target: str, running: list[dict[str, Any]]
) -> dict[str, Any]:
    """Everything that is pending, in each database."""
    import django
    from django.db import DatabaseError

    app, _dot, name = target.partition(".")
    targets = [(app, name or None)] if target else []
    report: dict[str, Any] = {"django": django.get_version(), "databases": []}
    for connection, left_out in _chosen(wanted):
        try:
            if not left_out:
                connection.ensure_connection()
                if connection.vendor == "postgresql" and _is_replica(connection):
                    left_out = "a replica, which follows its own primary"
            if left_out:
                report["databases"].append({"alias": connection.alias, "left_out": left_out})
                continue
            with catalogue.reading_only(connection, statement_timeout):
                found = _resolved(connection, targets)
                report["databases"].append(database(connection, collect, found, running))
        except DatabaseError as error:
            raise Unusable("database", f"{connection.alias}: {_own_words(error)}") from error
    return report


def _resolved(connection: Any, targets: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """Targets as the graph knows them: an app alone means its last migration."""
    if not targets:
        return []
    from django.db.migrations.loader import MigrationLoader

    loader = MigrationLoader(connection)
    found: list[tuple[str, str | None]] = []
    for app, name in targets:
        if app not in loader.migrated_apps:
            raise Unusable("target", f"{app} has no migrations")
        keys = [k for k in loader.graph.nodes if k[0] == app and k[1].startswith(name or "")]
        exact = [k for k in keys if k[1] == name] or keys
        if name and len(exact) != 1:
            raise Unusable("target", f"{app}.{name} names {len(exact)} migrations")
        found += exact if name else loader.graph.leaf_nodes(app)
    return found


def answered(
    wanted: list[str], collect: bool, statement_timeout: int, target: str, running: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The plan, or why there is none."""
    try:
        return plan(wanted, collect, statement_timeout, target, running or [])
    except Unusable as error:
        return {"error": {"kind": error.kind, "message": str(error)}}
    except Exception as error:  # a migration of the app's that cannot even be read: its own words, not ours
        return {"error": {"kind": "failed", "message": f"{type(error).__name__}: {_own_words(error)}"}}


def main(*asked: Any) -> None:
    """Print it; for ``asked`` see :func:`answered`."""
    sys.stdout.write("\nEVENKEEL " + json.dumps(answered(*asked), default=str) + "\n")
    sys.stdout.flush()
