# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx that lead to other nginx of a project: one that was started since may have another address than they know."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ...engine.host.engine import Engine
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of, moment_of, pid_of
from ...nginx.host.nginx import Nginx, NginxFailed, loaded_at
from ...operation.host.timeline import entry
from .proxy_routes import routes_of, routes_to


def outdated(engine: Engine, project: Mapping[str, Any]) -> list[tuple[str, Nginx]]:
    """Service and nginx of those that were loaded before another one to which they lead was started.

    nginx looks a name up when it loads its configuration, unless it has a resolver, which makes a reload needless and harmless.

    :raises BadInput: the configuration of one cannot be read.
    """
    name, services = str(project["name"]), project.get("services") or {}
    found = [i for i in engine.containers({PROJECT_LABEL: name, ONE_OFF_LABEL: "False"}) if pid_of(i)]
    known = [(label_of(i, SERVICE_LABEL), i, Nginx(engine, i)) for i in found]
    running = [(service, i, nginx) for service, i, nginx in known if service in services and nginx.workers()]
    due: list[tuple[str, Nginx]] = []
    for service, _inspection, nginx in running:
        loaded = loaded_at(nginx.workers())
        later = {
            s for s, i, n in running if n is not nginx and moment_of((i.get("State") or {}).get("StartedAt")) > loaded
        }
        if later:
            every = routes_of(nginx, service)
            due += [(service, nginx)] if any(routes_to(name, s, services[s], every, {}) for s in later) else []
    return due


def reload_each(due: Sequence[tuple[str, Nginx]], fence: Any) -> tuple[list[dict[str, Any]], str]:
    """Reload one after the other.

    :returns: their timeline, and what went wrong with the last one, empty where nothing did.
    """
    timeline: list[dict[str, Any]] = []
    for service, nginx in due:
        began, problem = time.time(), ""
        try:
            with fence.act(f"reload {nginx.name}"):
                nginx.reload()
        except NginxFailed as error:
            problem = str(error)
        ended = "failed" if problem else "ok"
        timeline.append(entry("reload", service, nginx.name, began, time.time() - began, ended))
        if problem:
            fence.details["result"] = f"failed: {problem}"
            return timeline, problem
    return timeline, ""


def why_not(problem: str) -> str:
    """What a call says that could not reload one."""
    return f"What: {problem}\nNow: its old workers go on, no request is lost\nNext: correct it, then run the same command again"
