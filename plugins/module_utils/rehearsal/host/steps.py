# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done in a rehearsal, in its order: rows are restored, the update's migrations run, and the app is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...build.host import static
from ...django.host.oneoff import OneOff
from ...django.inside import deployment_checks
from ...engine.definition import names_in
from ...engine.host import app_script
from ...engine.options import ProjectOptions
from ...engine.services import Probe
from ...migrations.host import request as migrations_request
from ...migrations.host.migrate import migrate
from ...migrations.host.running_code import code_of
from ...nginx.config import request_headers
from ...operation.host.records import iso
from ...operation.options import LockOptions
from ...postgres.host.server import Server
from ...postgres.host.throwaway_tls import offer_tls
from .. import rehearsal as decide
from .. import summary as words
from ..scratch import out_of_reach
from .app_copy import Rehearsed, Stage, timed
from .request import Request
from .view import View

_ADVICE = (
    "only databases that are restored from a backup can be rehearsed on; an address or a socket has to come to the settings by a "
    "variable of the service, whose name says that it is of the database (DB_HOST, DATABASE_URL)"
)


def play(view: View, stage: Stage, request: Request, report: dict[str, Any], timeline: list[dict[str, Any]]) -> None:
    """Restore, migrate and ask."""
    step = timed(timeline, lambda: iso(time.time()))
    with step("restore", view.database):
        stage.serve([view.database, *view.brokers])
        offer_tls(Server(stage.container(view.database), view.superuser, "template1"))
        for copy in view.copies:
            if copy.backup is not None:
                stage.progress.say(f"rehearsal: {copy.backup.name} is being restored", "rehearse", view.database)
                took = stage.restore(view.database, view.superuser, copy.store.path(copy.backup.name), copy.manifest)
                report["restored_in"] = round(report.get("restored_in", 0.0) + took, 1)
    stage.fence.check()
    with step("look", view.service):
        _reachable(view, stage, request.manage_py)
    migrations = _Migrations(view, stage, request, report)
    with step("migrate", view.service):
        open_ones = migrations.expand()
    # What waits is run when users have met this version already: so it has to answer before and after.
    with step("start", view.service):
        _start(view, stage, request, report)
    if open_ones:
        with step("contract", view.service):
            if migrations.contract():
                _ask(view, stage, report)


def _reachable(view: View, stage: Stage, manage_py: str) -> None:
    """:raises Rehearsed: the app's databases are none that the rehearsal has."""
    oneoff = OneOff(stage.engine, stage.compose(), stage.name, view.service, manage_py, stage.left(), "settings")
    found = oneoff.ask(app_script.as_text((deployment_checks,), [[]]))
    names = names_in(view.project, view.service, view.database)
    problem = out_of_reach(found["databases"], names, ())
    if problem:
        raise Rehearsed(problem, _ADVICE)


class _Migrations:
    """What the update does with the database, in its order, and what waits for later as well."""

    def __init__(self, view: View, stage: Stage, request: Request, report: dict[str, Any]) -> None:
        self._view, self._stage, self._request, self._report = view, stage, request, report
        self._running = code_of(view.engine, view.project, view.service, view.compose.project_src).running
        self._plan: list[dict[str, Any]] = []

    def _call(self, state: str, code: Sequence[Mapping[str, str]], **more: Any) -> dict[str, Any]:
        stage, request = self._stage, self._request
        stage.fence.check()
        stage.progress.say(f"rehearsal: migrations {state}", "rehearse", self._view.service)
        own = migrations_request.Request(
            ProjectOptions(stage.folder), LockOptions(os.path.join(stage.folder, ".evenkeel")), self._view.service, state,
            release=request.release, lock_timeout=2.0, retries=3, wait=30.0, allow_data_loss=request.allow_data_loss,
            declared_phases=request.declared_phases, bridges=request.bridges, manage_py=request.manage_py, timeout=stage.left(),
        )  # fmt: skip
        done = migrate(replace(own, **more), False, code)
        self._report["migrations"] += decide.measured(done, self._plan)
        if done.get("failed") and not done.get("waits"):
            raise Rehearsed(words.cause(str(done["msg"])))
        return done

    def expand(self) -> bool:
        """What is done before the new version is started; returns whether something is left for later.

        :raises Rehearsed: a migration failed.
        """
        request = self._request
        planned = self._call("planned", self._running)
        self._plan = planned["plan"]
        ready = any(not o["waits_for"] for o in planned["open"])
        if self._stage.before and request.contract == "next" and ready:
            # Who comes next finishes first what earlier ones have put off, with the code that serves.
            only = tuple(f"{o['app']}.{o['name']}" for o in planned["open"] if o["known"])
            before = ProjectOptions(self._stage.folder_before)
            self._call("contracted", self._running, project=before, only=only, release="")
            self._plan = self._call("planned", self._running)["plan"]
        state = "migrated" if request.allow_downtime and planned["refused"] else "expanded"
        done = self._call(state, self._running, additive_only=request.additive_only)
        return bool(done["open"])

    def contract(self) -> bool:
        """What waits, as if nobody ran the code from before any more; returns whether anything of it was run.

        :raises Rehearsed: it failed.
        """
        return bool(self._call("contracted", [])["changed"])


def _start(view: View, stage: Stage, request: Request, report: dict[str, Any]) -> None:
    """Start the web service there, and see :func:`_ask`."""
    web = view.web
    if (
        web is None
        or web.folder is not None
        or not web.settings.ready_port
        or (web.route and web.route.how == "uwsgi_pass")
    ):
        why = "no web service" if web is None else f"{web.settings.name} listens at no port that is known"
        report["not_asked"] = f"nothing was asked by HTTP: {why}"
        return
    here, alone = ProjectOptions(stage.folder), LockOptions(os.path.join(stage.folder, ".evenkeel"))
    collected = static.Request(here, alone, view.service, manage_py=request.manage_py, timeout=stage.left())
    static.static_files(collected, False)
    stage.progress.say(f"rehearsal: starts {web.settings.name} and asks it", "rehearse", web.settings.name)
    stage.start(web.settings.name)
    _ask(view, stage, report)


def _ask(view: View, stage: Stage, report: dict[str, Any]) -> None:
    """Ask it what a new container is asked before anyone meets it, where it was started.

    :raises Rehearsed: it does not answer as it should.
    """
    web = view.web
    if web is None or report.get("not_asked"):
        return
    settings = web.settings
    asked = [p for p in (Probe(settings.ready_path or "/", 0), *settings.prove) if p.method == "GET"]
    requests = [{"path": p.path, "method": "GET", "status": p.status, "contains": p.contains} for p in asked]
    headers = request_headers(web.route) if web.route else {"Host": "localhost"}
    answer = stage.ask(
        settings.name, settings.ready_port, requests[0], requests[1:], headers, settings.ready_timeout, 30.0
    )
    if answer["ready"]["problem"]:
        raise Rehearsed(
            f"{settings.name} never became ready: GET {answer['ready']['path']} {answer['ready']['problem']}, for "
            f"{answer['ready']['after']:g} s", "", stage.said(settings.name),
        )  # fmt: skip
    report["requests"] = [answer["ready"], *answer["requests"]]
    wrong = next((r for r in answer["requests"] if r["problem"]), None)
    if wrong:
        raise Rehearsed(f"{settings.name}: GET {wrong['path']} {wrong['problem']}", "", stage.said(settings.name))
