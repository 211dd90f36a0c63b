# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs of releases: the verdict on the way back, and what the older code then really does: ``pairs.py ADDRESS [--quick] [name …]``.

For each case of the truth table a release is brought in as the module does it, with its own scripts and their ledger, and
the older code is asked by them whether it can come back.  Then all that it does is done.  What the verdict asks for first
(a reversal) is done first; where it forbids, the code runs all the same, to see whether it was right.  One JSON line each.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_FOLDER = tempfile.TemporaryDirectory(prefix="evk-pairs-")
(Path(_FOLDER.name) / "shop").mkdir()
(Path(_FOLDER.name) / "shop/__init__.py").touch()
sys.path[:0] = [_FOLDER.name, str(Path(__file__).resolve().parents[3])]

# It configures Django, with the app that was made above, and makes the rest importable.
measure = importlib.import_module("tests.database.migrations.measure")

from django.conf import settings  # noqa: E402 (the line above makes it importable)
from django.core.management import call_command  # noqa: E402 (likewise)
from django.db import DatabaseError, connection, transaction  # noqa: E402 (likewise)
from module_utils.base.errors import BadInput  # noqa: E402 (likewise)
from module_utils.engine.host import app_script  # noqa: E402 (likewise)
from module_utils.engine.options import ProjectOptions  # noqa: E402 (likewise)
from module_utils.migrations.host import migrate, run  # noqa: E402 (likewise)
from module_utils.migrations.host.request import Request  # noqa: E402 (likewise)
from module_utils.migrations.host.running_code import Code  # noqa: E402 (likewise)
from module_utils.migrations.inside import plan  # noqa: E402 (likewise)
from module_utils.migrations.inside import run as migrations_run  # noqa: E402 (likewise)
from module_utils.operation.options import LockOptions  # noqa: E402 (likewise)

from tests.database.migrations import app_code  # noqa: E402 (likewise)
from tests.database.migrations.cases import CASES, Case  # noqa: E402 (likewise)

#: How a release came in: beside the code that served; then finished; the same with each release between; in a window; by
#: ``migrate``, past the module.
EXPANDED, CONTRACTED, EACH, AT_ONCE, BY_HAND = (
    "contract open",
    "contracted",
    "release by release",
    "in a window",
    "by hand",
)
_STUB = "from tests.database.migrations.pairs import migration_of\ndef Migration(name, app):\n    return migration_of({}, {})\n"


def migration_of(case: int, number: int) -> Any:
    """A migration of a case, made anew: operations keep what they were run with."""
    chosen = CASES[case]
    made = measure.World(chosen)
    one = made.initial() if number == 1 else made.migrations()[number - 2]
    one.dependencies = [("shop", name_of(number - 1))] if number > 1 else []
    return one


def name_of(number: int) -> str:
    return "0001_initial" if number == 1 else f"{number:04}_step"


class Server:
    """The database of one case, and the code that runs: versions are numbers of migrations."""

    def __init__(self, case: Case) -> None:
        self.case, self.index = case, CASES.index(case)
        self.serving: tuple[str, ...] = ()
        self.versions = 1 + len(case.steps())

    def be(self, version: int) -> None:
        """From now on this process is the code of a version."""
        package = f"pair_{self.index}_{version}"
        folder = Path(_FOLDER.name) / package
        if not folder.exists():
            folder.mkdir()
            (folder / "__init__.py").touch()
            for number in range(1, version + 1):
                (folder / f"{name_of(number)}.py").write_text(_STUB.format(self.index, number), encoding="utf-8")
            importlib.invalidate_caches()
        settings.MIGRATION_MODULES = {"shop": package}

    def code(self, version: int) -> Any:
        """The models of a version."""
        return measure.code_of(*(migration_of(self.index, n) for n in range(1, version + 1)))

    def begin(self, version: int) -> None:
        """The schema of a version, with rows, migrated by a first release that nobody has to go back behind."""
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        self.be(version)
        self.serving = ()
        self.call("migrated", f"r{version}")
        self.serving = (f"r{version}",)
        with connection.cursor() as cursor:
            # What an app has left that was removed long ago, and that no code knows any more.
            cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('gone', '0001_initial', now())")
        app_code.seed(self.code(version), rows=self.case.seeds)

    def look(self, release: str, **params: Any) -> tuple[dict[str, Any], dict[str, Any], Code]:
        """What the module would return for a look."""
        running = [{"container": f"api-{r}", "revision": r, "image": f"sha256:{r}"} for r in self.serving]
        code = Code(running, release, f"sha256:{release}", "")
        told = json.loads(json.dumps(plan.plan([], True, 3000, "", running), default=str))
        for one in told["databases"]:
            one["upserts"] = "all that can be done is done" if self.case.upserts else ""
        return told, migrate.judged(told, {}, code, params.get("allow_data_loss") or ()), code

    def call(self, state: str, release: str, **params: Any) -> dict[str, Any]:
        """What the module would return.

        :raises BadInput: it refuses.
        """
        told, result, code = self.look(release, **params)
        result["timeline"] = []
        limits = {"lock_timeout": 3.0, "retries": 1, "wait": 20.0}
        request = Request(ProjectOptions(""), LockOptions(), "api", state, **{**limits, **params})
        run.check_request(request, code, told, result)
        order = run.order_of(request, code, told, result)
        stdin, printed = sys.stdin, io.StringIO()
        sys.stdin = io.StringIO(json.dumps(order))
        try:
            with contextlib.redirect_stdout(printed):
                migrations_run.main()
        finally:
            sys.stdin = stdin
            connection.close()
        answer = app_script.answer_in(printed.getvalue())
        assert answer is not None, printed.getvalue()
        return run.ended(request, answer, told, code, result)

    def everything(self) -> list[str]:
        return [f"shop.{name_of(n)}" for n in range(2, self.versions + 1)]

    # -- what the older code does -------------------------------------------------------------------------------

    def outcomes(self, version: int, others: int = 0, home: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What a version's code does on the database as it is; with rows of ``others``' code beside those of before."""
        if not others:
            return self._legal(app_code.outcomes(self.code(version), home))
        with transaction.atomic():
            app_code.seed(self.code(others), first=11, rows=2)
            found = app_code.outcomes(self.code(version), home)
            transaction.set_rollback(True)
        return self._legal(found)

    def _legal(self, found: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in found.items() if self.case.upserts or " upsert " not in k}

    def home(self, version: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """What it does on its own schema, among its own rows; then among more of them."""
        self.begin(version)
        more = self.outcomes(version, version) if self.case.seeds else {}
        return self.outcomes(version), more


def bring(server: Server, old: int, new: int, how: str) -> str:
    """Bring a release in; returns why that cannot be, empty where it is there."""
    server.begin(old)
    if how == EACH and new - old < 2:
        return "there is none between"
    try:
        for between in range(old + 1, new) if how == EACH else ():
            server.be(between)
            done = server.call("expanded", f"r{between}")
            server.serving = (f"r{between}",)
            if done["open"]:
                done = server.call("contracted", f"r{between}", allow_data_loss=server.everything())
            if done.get("failed"):
                return "it cannot be made"
        server.be(new)
        if how == BY_HAND:
            try:
                call_command("migrate", verbosity=0, interactive=False)
            except DatabaseError:
                return "it cannot be made"
        elif how == AT_ONCE:
            server.serving = ()
            done = server.call("migrated", f"r{new}")
            if done.get("failed"):
                return "it cannot be made"
        else:
            done = server.call("expanded", f"r{new}")
            if done.get("failed"):
                return "it cannot be made"
    except BadInput:
        return "refused"
    server.serving = (f"r{new}",)
    if how == CONTRACTED:
        if not done["open"]:
            return "nothing was put off"
        done = server.call("contracted", f"r{new}", allow_data_loss=server.everything())
        if done.get("failed"):
            return "it cannot be contracted"
    return ""


def cannot_be(error: Exception) -> dict[str, str]:
    return {"rows of the new code": f"{type(error).__name__}: {error}"[:200]}


def among_rows_of_both(server: Server, old: int, new: int, home: Mapping[str, Any]) -> dict[str, str]:
    """What the older code cannot do among rows that the newer one has written."""
    if not home:
        return {}
    try:
        found = server.outcomes(old, new, home)
    except Exception as error:  # the newer code cannot even write its rows: the truth table is about that
        return cannot_be(error) if "IntegrityError" not in type(error).__name__ else {}
    return app_code.broken(dict(home), found)


def measured(
    server: Server, old: int, new: int, how: str, homes: tuple[dict[str, Any], dict[str, Any]]
) -> dict[str, Any]:
    """One pair: what was said of the way back, and what the older code did."""
    home, more = homes
    told: dict[str, Any] = {"case": server.case.name, "old": old, "new": new, "how": how}
    why = bring(server, old, new, how)
    if why:
        return {**told, "not": why}
    server.be(old)
    _told, verdict, _code = server.look(f"r{old}")
    reasons = list(dict.fromkeys(b["reason"] for b in verdict["behind"]))
    told.update(
        verdict=verdict["schema_compatibility"],
        reasons=reasons,
        said=verdict["msg"],
        legal=sum(w for w, _g in home.values()),
    )
    told["now"] = app_code.broken(home, server.outcomes(old, home=home))
    told["both"] = among_rows_of_both(server, old, new, more)
    told["beware"] = [b["beware"] for b in verdict["behind"] if b["beware"]]
    server.serving = (f"r{old}",)
    if verdict["schema_compatibility"] == "abandon":
        done = server.call("abandoned", f"r{old}")
        told["after"] = (
            {"abandon": done["msg"]} if done.get("failed") else app_code.broken(home, server.outcomes(old, home=home))
        )
    elif verdict["schema_compatibility"] == "reverse":
        server.be(new)
        server.serving = ()
        done = server.call("reversed", f"r{new}", target=f"shop.{name_of(old)}", allow_data_loss=server.everything())
        server.be(old)
        told["after"] = (
            {"reverse": done["msg"]} if done.get("failed") else app_code.broken(home, server.outcomes(old, home=home))
        )
        told["verdict after"] = server.look(f"r{old}")[1]["schema_compatibility"]
    return told


def pairs_of(server: Server, hows: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Every older version with every newer one, brought in in every way."""
    for old in range(1, server.versions):
        for new in range(old + 1, server.versions + 1):
            for how in hows:
                yield old, new, how


def main() -> None:
    names = [a for a in sys.argv[2:] if not a.startswith("--")]
    for case in CASES:
        if (names or "--quick" in sys.argv) and case.name not in names and not ("--quick" in sys.argv and case.quick):
            continue
        server, homes = Server(case), {}
        for old, new, how in pairs_of(server, (EXPANDED, CONTRACTED, EACH, AT_ONCE, BY_HAND)):
            try:
                if old not in homes:
                    homes[old] = server.home(old)
                told = measured(server, old, new, how, homes[old])
            except Exception as error:  # the harness's own: told as such, and the test fails on it
                told = {"case": case.name, "how": how, "harness": traceback.format_exc()[-1800:] + str(error)[:300]}
            print(json.dumps(told, default=str), flush=True)


if __name__ == "__main__":
    # The migrations import this file by its name.
    importlib.import_module("tests.database.migrations.pairs").main()
