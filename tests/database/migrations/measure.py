# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures cases on a real PostgreSQL, in a process that has Django: ``measure.py ADDRESS [--quick] [name …]``.

Old and new code are the models of the states before and after.  Each case: the new code at home on the migrated
schema and abroad on the one before, the old code the other way round; then what the module's decision makes of it:
only the operations that are NOW, both codes on that, and then those that were put off.  One JSON line per case.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]
if str(Path(__file__).parent) in sys.path:
    sys.path.remove(str(Path(__file__).parent))

# others.py is run where these are installed; pairs.py has made the app that its migrations are of.
FURTHER_APPS = {"others.py": ["django_safemigrate"], "pairs.py": ["shop"]}.get(Path(sys.argv[0]).name, [])

import django  # noqa: E402 (the lines above make the rest importable)
from django.conf import settings  # noqa: E402 (likewise)

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "PASSWORD": "measured",
            "HOST": sys.argv[1],
        }
    },
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.postgres", *FURTHER_APPS],
    USE_TZ=True,
    SECRET_KEY="measured",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.db import connection, transaction  # noqa: E402 (likewise)
from django.db.migrations.migration import Migration  # noqa: E402 (likewise)
from django.db.migrations.state import ProjectState  # noqa: E402 (likewise)
from module_utils.migrations import phases as decide  # noqa: E402 (likewise)
from module_utils.migrations.bridges import KINDS  # noqa: E402 (likewise)
from module_utils.migrations.inside import bridges, catalogue, online  # noqa: E402 (likewise)
from module_utils.migrations.inside import operations as script  # noqa: E402 (likewise)
from module_utils.migrations.inside.expand import Run  # noqa: E402 (likewise)
from module_utils.migrations.inside.session import Session  # noqa: E402 (likewise)
from module_utils.migrations.schema import database_of  # noqa: E402 (likewise)

from tests.database.migrations import app_code  # noqa: E402 (likewise)
from tests.database.migrations.cases import CASES, Case  # noqa: E402 (likewise)
from tests.database.migrations.schema_dump import SCHEMA  # noqa: E402 (likewise)

for cases in ("cases_fields", "cases_tables"):
    # They add to the list as they are imported.
    importlib.import_module(f"tests.database.migrations.{cases}")


def migration(name: str, operations: Any, declared: str) -> Any:
    """A migration as a file of the app would make it."""
    made = type("Migration", (Migration,), {"operations": list(operations)})(name, "shop")
    # CREATE INDEX CONCURRENTLY and its like.
    made.atomic = not any("Concurrently" in type(o).__name__ for o in _flat(operations))
    if declared:
        made.evenkeel_phase = declared
    return made


def _flat(operations: Any) -> list[Any]:
    found: list[Any] = []
    for one in operations:
        found += [one, *_flat(getattr(one, "database_operations", []))]
    return found


def code_of(*migrations: Any) -> Any:
    """The models of a version, made from nothing: what other states have rendered knows relations that are no more."""
    state = ProjectState()
    for one in migrations:
        for operation in one.operations:
            operation.state_forwards("shop", state)
    return state.apps


def run(migrations: list[Any], state: ProjectState, wanted: set[tuple[str, int]] | None = None) -> ProjectState:
    """Run operations as Django's executor does; of the others only the state goes on."""
    for one in migrations:
        for index, operation in enumerate(one.operations):
            before = state.clone()
            operation.state_forwards("shop", state)
            if wanted is None or (one.name, index) in wanted:
                with connection.schema_editor(atomic=one.atomic) as editor:
                    operation.database_forwards("shop", editor, before, state)
    return state


STANDING: dict[tuple[str, int], dict[str, Any]] = {}


def _operations(migrations: list[Any], state: ProjectState, decided: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Each operation with its migration, what was decided of it, and the states before and after it."""
    verdicts = {(o.name, o.index): o for o in decided.operations}
    for one in migrations:
        for index, operation in enumerate(one.operations):
            before = state.clone()
            operation.state_forwards("shop", state)
            yield one, operation, verdicts[one.name, index], (before, state.clone())


def _forwards(one: Any, operation: Any, verdict: Any, states: Any) -> dict[str, Any]:
    runner = Run(Session(connection, 400, 3), None, [], {}, [f"shop.{one.name}"])
    action = {"bridge": verdict.bridge, "method": ""}
    with connection.schema_editor(atomic=one.atomic) as editor:
        return runner.forwards(editor, one, verdict.index, operation, states, action)


def expanded(migrations: list[Any], state: ProjectState, decided: Any) -> None:
    """Run what is NOW as the module does, and put up every bridge."""
    STANDING.clear()
    for one, operation, verdict, states in _operations(migrations, state, decided):
        place = (one.name, verdict.index)
        if verdict.action == "now":
            STANDING[place] = _forwards(one, operation, verdict, states)
        elif verdict.bridge:
            with connection.schema_editor(atomic=True) as editor:
                STANDING[place] = bridges.of_deferred(editor, verdict.bridge, operation, "shop", states)
                bridges.put_up(connection, STANDING[place])
            steps = list(STANDING[place].get("steps") or [])
            with contextlib.redirect_stdout(io.StringIO()):  # it tells whoever watches
                online.finish(Session(connection, 400, 3), operation.describe(), steps, lambda _left: None)


def contracted(migrations: list[Any], state: ProjectState, decided: Any) -> None:
    """Take down every bridge, and run what was put off."""
    for one, operation, verdict, states in _operations(migrations, state, decided):
        with transaction.atomic():
            bridges.take_down(connection, STANDING.get((one.name, verdict.index), {}))
        if verdict.action == "defer":
            _forwards(one, operation, verdict, states)


def out_of_step() -> int:
    """Rows that have another value in a column than in its mirror."""
    count = 0
    for standing in STANDING.values():
        columns = standing["touches"] if standing.get("again") else []
        if columns:
            with connection.cursor() as cursor:
                cursor.execute(
                    f'SELECT count(*) FROM "{columns[0][0]}" WHERE "{columns[0][1]}" IS DISTINCT FROM "{columns[1][1]}"'
                )
                count += cursor.fetchone()[0]
    return count


def dumped() -> list[tuple[Any, ...]]:
    """The schema as it is."""
    with connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


#: Outcomes of the old code on its own schema, by how that begins and its rows.
AT_HOME: dict[tuple[Any, int], dict[str, Any]] = {}


class World:
    """One case: its two versions and the database."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def migrations(self) -> list[Any]:
        return [migration(f"{n:04}_step", ops, self.case.declared) for n, ops in enumerate(self.case.steps(), 2)]

    def begin(self) -> ProjectState:
        """The schema of the old code, with its rows."""
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        state = run([self.initial()], ProjectState())
        app_code.seed(code_of(self.initial()), rows=self.case.seeds)
        return state

    def initial(self) -> Any:
        return migration("0001_initial", self.case.start(), "")

    def described(self, state: ProjectState) -> dict[str, Any]:
        """What the module's script tells of the pending migrations."""
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        nodes = [(one, [("shop", "0001_initial")]) for one in self.migrations()]
        with catalogue.reading_only(connection, 3000):
            return script.described(connection, state.clone(), nodes, True)

    def measure(self) -> dict[str, Any]:
        state = self.begin()
        old, new = code_of(self.initial()), code_of(self.initial(), *self.migrations())
        told = self.described(state)
        told["applied"] = 1
        home_old = self.legal(self.at_home(old))
        told["upserts"] = "all that can be done is done" if self.case.upserts else ""
        decided = decide.judge(database_of(told), {}, old_code_upserts=self.case.upserts, bridges=KINDS)
        result: dict[str, Any] = {
            "case": self.case.name,
            "declared": self.case.declared,
            "told": told,
            "decided": decide.as_dicts(decided),
        }
        try:
            run(self.migrations(), state.clone())
        except Exception as error:
            return {**result, "fails": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        self.plain = dumped()
        result["legal"] = [sum(worked for worked, _given in home_old.values())]
        result["old"] = app_code.broken(home_old, app_code.outcomes(old, home_old))
        found = app_code.outcomes(new)
        result["at home"] = self.fails_at_home(found)
        home_new = self.legal(found)
        result["legal"].append(sum(worked for worked, _given in home_new.values()))
        self.begin()
        result["new"] = app_code.broken(home_new, app_code.outcomes(new, home_new))
        if not decided.refused:
            result.update(self.expand(old, new, home_old, home_new, decided))
        return result

    def fails_at_home(self, found: dict[str, Any]) -> dict[str, str]:
        """What the new code cannot do on the very schema that it is for: the migration does not make what it needs."""
        plain = {k: str(got) for k, (works, got) in found.items() if not works and k.split()[1] in ("read", "insert")}
        signs = ("does not exist", "null value in column") if self.case.seeds else ("does not exist",)
        named = {k: v for k, v in plain.items() if len(k.split()) == 3 and any(sign in v for sign in signs)}
        return named

    def at_home(self, old: Any) -> dict[str, Any]:
        """The outcomes of the old code on its own schema, which most cases have in common."""
        known = (self.case.start, self.case.seeds)
        if known not in AT_HOME:
            AT_HOME[known] = app_code.outcomes(old)
        return AT_HOME[known]

    def legal(self, found: dict[str, Any]) -> dict[str, Any]:
        """Without the upserts, where the case is that nobody does these."""
        return {k: v for k, v in found.items() if self.case.upserts or " upsert " not in k}

    def expand(self, old: Any, new: Any, home_old: Any, home_new: Any, decided: Any) -> dict[str, Any]:
        """Only NOW, with bridges; both codes; rows of both; then what was put off, and the schema that comes of it."""
        later = any(o.action == "defer" or o.bridge for o in decided.operations)
        state = self.begin()
        expanded(self.migrations(), state.clone(), decided)
        found: dict[str, Any] = {
            "expanded old": app_code.broken(home_old, app_code.outcomes(old, home_old)),
            "expanded new": app_code.broken(home_new, app_code.outcomes(new, home_new)),
        }
        if self.case.seeds:
            # Rows that the new code has written are there, and the old code goes on.
            try:
                app_code.seed(new, first=11, rows=2)
                if any(o.bridge for o in decided.operations):
                    app_code.seed(old, first=31, rows=2)
                    found["out of step"] = out_of_step()
                found["mixed old"] = {
                    k: v for k, v in app_code.broken(home_old, app_code.outcomes(old, home_old)).items()
                    if " delete" in k and k not in found["expanded old"]
                }  # fmt: skip
            except Exception as error:
                found["mixed old"] = {"rows of the new code": str(error)[:200]}
            state = self.begin()
            expanded(self.migrations(), state.clone(), decided)
        if later:
            try:
                contracted(self.migrations(), state.clone(), decided)
                found["other schema"] = sorted(set(dumped()) ^ set(self.plain))
                found["contracted new"] = app_code.broken(home_new, app_code.outcomes(new, home_new))
            except Exception as error:
                found["contracted new"] = {"contract": f"{type(error).__name__}: {error}"[:200]}
        return found


def main() -> None:
    names = [a for a in sys.argv[2:] if not a.startswith("--")]
    for case in CASES:
        if (names and case.name not in names) or ("--quick" in sys.argv and not case.quick):
            continue
        try:
            told = World(case).measure()
        except Exception as error:  # the harness's own: told as such, and the test fails on it
            import traceback

            told = {"case": case.name, "harness": traceback.format_exc()[-1500:] + str(error)[:300]}
        print(json.dumps(told, default=str), flush=True)


if __name__ == "__main__":
    main()
