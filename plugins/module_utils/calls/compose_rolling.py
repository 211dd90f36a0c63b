# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``compose_rolling`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from ..base.options import read
from ..engine.host.project import compose_of
from ..engine.options import PROJECT_SPEC, project_options
from ..engine.services import CommonSettings
from ..guard.host.standby import standing_by
from ..operation.host import progress
from ..operation.options import LOCK_SPEC, lock_options
from ..rolling.host import roll as rolling
from ..rolling.host.plan import Request
from ..rolling.host.project_look import look_at

_PROVE = {
    "path": {"type": "str", "required": True},
    "status": {"type": "int", "default": 200},
    "contains": {"type": "str"},
    "method": {"type": "str", "default": "GET"},
}
_SCHEMA: dict[str, Any] = {
    "service": {"type": "str", "required": True},
    "manage_py": {"type": "str", "default": "manage.py"},
    "take_over_from": {"type": "str"},
}
_OWN: dict[str, Any] = {
    "services": {"type": "list", "elements": "str", "default": []},
    "service_options": {"type": "dict", "default": {}},
    "only": {"type": "str", "choices": ["workers", "others", "proxies"]},
    "leave_workers": {"type": "bool", "default": False},
    "backward": {"type": "bool", "default": False},
    "log_lines": {"type": "int", "default": 0},
    "proxy_service": {"type": "str"},
    "proxy_mode": {"type": "str", "choices": ["auto", "pin", "none"], "default": "auto"},
    "generation": {"type": "str"},
    "images": {"type": "dict", "default": {}},
    "allow_downtime": {"type": "bool", "default": False},
    "remove_orphans": {"type": "bool", "default": False},
    "strategy": {"type": "str", "choices": ["rolling", "canary", "blue_green"], "default": "rolling"},
    "canary_time": {"type": "str", "default": "5m"},
    "canary_share": {"type": "int", "default": 0},
    "keep_old": {"type": "str", "default": "15m"},
}
_COMMON: dict[str, Any] = {
    "order": {"type": "str", "choices": ["start-first", "stop-first"]},
    "parallelism": {"type": "int"},
    "delay": {"type": "float"},
    "monitor": {"type": "float"},
    "failure_action": {"type": "str", "choices": ["rollback", "pause"]},
    "ready_path": {"type": "str"},
    "health_url": {"type": "str"},
    "ready_port": {"type": "int"},
    "ready_timeout": {"type": "float"},
    "prove": {"type": "list", "elements": "dict", "options": _PROVE},
    "canary": {"type": "list", "elements": "dict", "options": _PROVE},
    "canary_service": {"type": "str"},
    "prove_seconds": {"type": "float"},
    "drain_timeout": {"type": "float"},
    "drain_policy": {"type": "str", "choices": ["cut", "wait"]},
    "stop_timeout": {"type": "float"},
}
SPEC: dict[str, Any] = {
    **PROJECT_SPEC,
    **LOCK_SPEC,
    **progress.PROGRESS_SPEC,
    **_OWN,
    **_COMMON,
    "schema": {"type": "dict", "options": _SCHEMA},
}
#: What it does is done by the engine: those who are served need the processors more.
STEPS_BACK = True


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call, with a guard standing by.

    :raises BadInput: before anything is touched.
    """
    request = read(
        Request,
        _OWN,
        params,
        project=project_options(params),
        lock=lock_options(params),
        progress=progress.progress_options(params),
        # What is not given is told apart from what is empty: the one leaves the word to Compose and x-evenkeel.
        common=CommonSettings(**{name: params.get(name) for name in _COMMON}),
    )
    if not (check_mode and request.backward):
        return rolling.roll(request, check_mode, standing_by)
    # They need nothing of the plan, and most of their time is that of the engine, which starts a container for each.
    with ThreadPoolExecutor(2) as beside_it:
        schema = _schema_question(params, request)
        told = {"schema": beside_it.submit(schema).result} if schema else {}
        look = look_at(compose_of(request.project), request.lock)
        told["backlog"] = beside_it.submit(rolling.backlog, request, look).result
        return rolling.roll(request, check_mode, standing_by, told, look)


def _schema_question(params: Mapping[str, Any], request: Request) -> Callable[[], dict[str, Any]] | None:
    """What tells whether this version's code can use the schema of today, as ``django_migrate`` does; None where nobody asks."""
    asked = params.get("schema")
    if not asked:
        return None

    def told() -> dict[str, Any]:
        # Whoever only rolls does not wait for these to be imported.
        from ..migrations.host.migrate import migrate
        from ..migrations.host.request import PLANNED
        from ..migrations.host.request import Request as Schema

        # In an operation, static files of the same code are published next.
        stays = bool(request.lock.lock_token)
        question = read(Schema, _SCHEMA, asked, project=request.project, lock=request.lock, state=PLANNED, stays=stays)
        return migrate(question, False)

    return told
