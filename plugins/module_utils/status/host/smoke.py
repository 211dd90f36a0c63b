# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an app serves as its users see it: what it answers, and whether a container of it goes on restarting."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...base.masking import shown_address
from ...engine.host import log_tail
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of
from ...guard.host.info import guard_info
from ...traffic.host import smoke_test
from ...traffic.host.smoke_test import SmokeTestOptions

#: Log lines that a failure shows, and seconds before it was asked from which they are.
_LINES, _SINCE = 20, 60.0
_BROKEN = ("restarting", "dead")


@dataclass(frozen=True)
class Request:
    """What is asked, and of which containers.

    :ivar project_name: Compose project; empty for an app without containers, of which only the site is asked.
    :ivar service: whose log lines a failure shows; empty for all services.
    :ivar tries: how often the site is asked, a second apart, until it answers as it should.
    :ivar brief: ask the site alone.
    :ivar advice: what a failure says to do next.
    """

    site: SmokeTestOptions
    project_name: str = ""
    service: str = ""
    tries: int = 6
    brief: bool = False
    advice: str = ""


def verify(request: Request, check_mode: bool) -> dict[str, Any]:
    """Ask the site, then look at its containers; what is only worth knowing becomes notes.

    :returns: what the module returns, ``failed`` included where it does not serve as it should.
    :raises BadInput: what is to be asked cannot be.
    """
    began, url, shown = time.time(), request.site.health_url, shown_address(request.site.health_url)
    probes = smoke_test.questions(request.site.prove)
    result = {
        "changed": False,
        "asked": shown,
        "notes": [],
        "msg": f"{shown} answers as it should" if url else "nothing to ask",
    }
    if check_mode:
        return {**result, "asked": ""}
    asked = smoke_test.ask_site(url, probes, request.tries, project=request.project_name)
    problem = asked.problem
    if not problem and request.project_name and not request.brief:
        problem = _broken(request.project_name)
    if problem:
        return {**result, "failed": True, "msg": _message(request, problem, began)}
    if request.project_name and not request.brief:
        return {**result, "notes": [*asked.notes, *_notes(request.project_name)]}
    return {**result, "notes": [*asked.notes]}


def _broken(project: str) -> str:
    """Containers that go on restarting or cannot be started, in a sentence.

    :raises BadInput: the engine cannot be asked.
    """
    try:
        seen = Engine().containers({PROJECT_LABEL: project, ONE_OFF_LABEL: "False"})
    except EngineFailed as error:
        raise BadInput(str(error), "docker ps -a shows the containers; then run the same command again") from error
    states = [(i, str((i.get("State") or {}).get("Status") or "")) for i in seen]
    return "; ".join(
        f"{label_of(i, SERVICE_LABEL)}: {str(i['Name']).lstrip('/')} is {state}"
        for i, state in states
        if state in _BROKEN
    )


def _message(request: Request, problem: str, began: float) -> str:
    lines = []
    if request.project_name:
        try:
            lines = log_tail.of_service(Engine(), request.project_name, request.service, began - _SINCE, _LINES)
        except EngineFailed as error:
            lines = [f"(they cannot be read: {error})"]
    shown = "".join(f"\n{line}" for line in ("Last log lines:", *lines)) if lines else ""
    return f"What: it does not serve as it should ({problem}){shown}\nNext: {request.advice}"


def _notes(project: str) -> list[str]:
    try:
        return list(guard_info(project)["notes"])
    except BadInput as error:
        # It serves, and that nobody can tell what comes after a crash is no reason to fail.
        return [f"whether nginx finds a container again that moves could not be seen: {error}"]
