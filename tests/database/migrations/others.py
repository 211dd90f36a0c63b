# SPDX-License-Identifier: GPL-3.0-or-later
"""What django-migration-linter and django-safemigrate say of the same cases: ``others.py ADDRESS``, one JSON line each.

The linter reads the SQL that ``sqlmigrate`` prints and says whether the old code breaks.  safemigrate judges nothing: it
runs migrations when their author says, and those of which nothing is said at any time.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.database.migrations import measure


def main() -> None:
    from django.db import connection
    from django.db.migrations.state import ProjectState
    from django_migration_linter.sql_analyser import analyse_sql_statements, get_sql_analyser_class
    from django_safemigrate.management.commands.safemigrate import Command

    logging.disable(logging.CRITICAL)
    for case in measure.CASES:
        world = measure.World(case)
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        state = measure.run([world.initial()], ProjectState())
        said, safe = [], []
        for migration in world.migrations():
            safe.append(Command.safe(migration).when.value)
            try:
                with connection.schema_editor(collect_sql=True, atomic=migration.atomic) as editor:
                    state = migration.apply(state, editor, collect_sql=True)
            except Exception as error:  # sqlmigrate could not print it either
                said.append(f"no SQL: {type(error).__name__}")
                break
            statements = [s for s in editor.collected_sql if s and not s.startswith("--")]
            errors, _ignored, warnings = analyse_sql_statements(get_sql_analyser_class("postgresql"), statements)
            said += [f"error {e.code}" for e in errors] or [f"warning {w.code}" for w in warnings]
        print(
            json.dumps({"case": case.name, "linter": ", ".join(said) or "ok", "safemigrate": ", ".join(safe)}),
            flush=True,
        )


if __name__ == "__main__":
    main()
