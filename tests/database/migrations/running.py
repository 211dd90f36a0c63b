# SPDX-License-Identifier: GPL-3.0-or-later
"""A project on the disk whose migrations are run as the module runs them, with containers that are only told of."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.django.inside import deployment_checks
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import app_script
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.options import ProjectOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.database_host import Host
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.host import migrate
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.host import run as migrations_run
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.host.database_host import refuse_other_host
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.host.request import Request
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.host.running_code import Code
from ansible_collections.evenkeel.deploy.plugins.module_utils.migrations.inside import checks_and_plan
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions
from tests.database.migrations.forked import Forked
from tests.database.migrations.project import Project


class Projects:
    """The part of an engine that tells which projects have containers."""

    def __init__(self, *there: str) -> None:
        self.there = there

    def info(self) -> dict[str, str]:
        return {"ID": "engine-2", "Name": "web-2"}

    def listed(self, labels: dict[str, str]) -> list[tuple[str, str]]:
        return [(project, "api") for project in self.there if project in labels.values()]


class Running(Project):
    """:ivar releases: what runs, by release; the image of each is named after it."""

    #: Where it runs; without it no host claims the database.
    host: Host | None = None
    engine = Projects()

    serving: tuple[str, ...] = ()
    #: Milliseconds and attempts, short enough for tests.
    limits = (300, 1)

    def code(self, release: str) -> Code:
        running = [{"container": f"api-{r}", "revision": r, "image": f"sha256:{r}"} for r in self.serving]
        return Code(running, release, f"sha256:{release}", "", self.host)

    def request(self, state: str, /, **options: Any) -> Request:
        """What the module would be asked."""
        limits = {"lock_timeout": self.limits[0] / 1000, "retries": self.limits[1], "wait": 20.0}
        return Request(ProjectOptions(str(self.folder)), LockOptions(), "api", state, **{**limits, **options})

    def order(
        self, state: str, release: str, /, **params: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], Code]:
        """What the module would send: the plan's verdict as an order."""
        code = self.code(release)
        script = app_script.as_text(migrate.MODULES, [[], True, 3000, "", code.running])
        return self._decided(
            app_script.answer_in(self.manage("shell", "-c", script)), code, self.request(state, **params)
        )

    def _decided(
        self, told: dict[str, Any] | None, code: Code, request: Request
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], Code]:
        assert told is not None and "error" not in told, told
        refuse_other_host(self.engine, code.host, migrate.claims_in(told), request.take_over_from)  # type: ignore[arg-type]
        declared = migrate.declared_in(request.declared_phases)
        result = migrate.judged(
            told, declared, code, request.allow_data_loss, request.only, request.bridges, request.state == "planned"
        )
        migrations_run.check_request(request, code, told, result)
        return migrations_run.order_of(request, code, told, result), told, {**result, "timeline": []}, code

    def begin(self, order: dict[str, Any]) -> Forked:
        """Start carrying out an order."""
        process = self.process("shell", "-c", app_script.as_text(migrations_run.MODULES, []))
        process.give(json.dumps(order))
        return process

    def run(self, state: str, release: str, /, **params: Any) -> dict[str, Any]:
        """What the module would return, which has one process plan and then carry out what is decided of that."""
        code, request = self.code(release), self.request(state, **params)
        script = app_script.as_text(migrate.TALK, [[], True, 3000, "", code.running])
        process = self.process("shell", "-c", script)
        try:
            asked = None
            for line in iter(process.stdout.readline, ""):
                asked = app_script.answer_in(line)
                if asked:
                    break
            else:
                raise AssertionError(process.stderr.read())
            order, told, result, code = self._decided(asked, code, request)
            printed, errors = process.communicate(json.dumps(order))
        finally:
            process.kill()
            process.wait()
        answer = app_script.answer_in(printed)
        assert answer is not None, printed + errors
        return {**migrations_run.ended(request, answer, told, code, result), "printed": printed}

    def checked(self, release: str) -> dict[str, Any]:
        """The plan that comes with the checks of an update, in the one process that they have."""
        code = self.code(release)
        modules = (*migrate.TALK, deployment_checks, checks_and_plan)
        script = app_script.as_text(modules, [[], [[], True, 3000, "", code.running], True])
        process = self.process("shell", "-c", script)
        found = (app_script.answer_in(line) for line in iter(process.stdout.readline, ""))
        told = next(filter(None, found))["plan"]

        class Listening:
            """The host's side of it."""

            def ordered(self, order: dict[str, Any], act: Any, _on_line: Any) -> dict[str, Any]:
                with act():
                    printed, errors = process.communicate(json.dumps(order))
                answer = app_script.answer_in(printed)
                assert answer is not None, printed + errors
                return answer

        try:
            planned = migrate.judged(told, {}, code)
            request, talk = self.request("planned"), cast(Any, Listening())
            return migrations_run.noted(request, talk, code, told, planned, contextlib.nullcontext)
        finally:
            process.kill()
            process.wait()

    def refused(self, state: str, release: str, /, **params: Any) -> str:
        """Why the module would not even begin."""
        try:
            self.order(state, release, **params)
        except BadInput as error:
            return error.message()
        raise AssertionError("it was not refused")

    def plan_of(self, release: str) -> dict[str, Any]:
        """What the module would return for a look alone."""
        _order, _told, result, _code = self.order("planned", release)
        return result

    def expand(self, release: str, **params: Any) -> dict[str, Any]:
        return self.run("expanded", release, **params)

    def contract(self, release: str, **params: Any) -> dict[str, Any]:
        return self.run("contracted", release, **params)

    # -- what is there --------------------------------------------------------------------------------------------

    def columns(self, table: str = "shop_item") -> list[str]:
        sql = f"SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass('{table}') AND attnum > 0 AND NOT attisdropped"
        return sorted(name for (name,) in self.rows(sql))

    def indexes(self, table: str = "shop_item") -> dict[str, bool]:
        sql = f"SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = '{table}'::regclass"
        return dict(self.rows(sql))

    def recorded(self, app: str = "shop") -> list[str]:
        return [n for (n,) in self.rows(f"SELECT name FROM django_migrations WHERE app = '{app}' ORDER BY name")]

    def ledger(self) -> list[tuple[str, int, str]]:
        return self.rows(
            "SELECT name, op_index, state FROM evenkeel_migrations WHERE app <> '' ORDER BY app, name, op_index"
        )

    @contextmanager
    def session(self, *statements: str) -> Iterator[psycopg.Connection[Any]]:
        """A session of somebody else's that has run something and keeps its transaction open until it is closed."""
        with contextlib.closing(self.postgres.connect("planned", application_name="reports")) as connection:
            for statement in statements:
                connection.execute(statement.encode())
            yield connection
