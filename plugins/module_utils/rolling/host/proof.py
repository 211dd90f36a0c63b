# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new web container is asked before users are led to it, and what users are answered through their proxy then.

First answers take long: each process and thread of a server imports, and connects to its database, once it is asked. So it is asked several
questions side by side, as users do, while nobody waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Callable

from ...base.host.side_by_side import all_of
from ...engine.answer import Answer
from ...engine.services import Probe
from ...nginx.host.nginx import Master
from ...traffic.host.probing import ask
from ...traffic.traefik_labels import BY_FILES, BY_LABELS
from .targets import Target
from .usual_answers import UsualAnswers

#: How many questions are asked side by side: of one container, and of all that are proven together.
_OF_ONE, _OF_ALL = 8, 16
#: Seconds that they may take one after the other, as in a server of one process: the next question, which is judged, waits for them.
_LONGEST = 2.0
#: Seconds after which they are asked again: others of its processes may have booted since.
_EVERY = 2.0


def side_by_side(took: float, containers: int) -> int:
    """How often each question is asked at the same time.

    :param took: seconds in which a container answered each of them once.
    :param containers: how many are asked: all of them together may open that many connections more to their database.
    :returns: 0 where one question says as much.
    """
    many = min(_OF_ONE, _OF_ALL // containers, int(_LONGEST / max(took, 0.001)))
    return many if many > 1 else 0


class Proof:
    """Of the web containers of one roll.

    :param ask: asks a container, given as it was inspected; the last word says whether any status below 400 is good.
    """

    def __init__(self, ask: Callable[[Mapping[str, Any], Target, Probe, bool], Answer], usual: UsualAnswers) -> None:
        self._ask = ask
        self._usual = usual
        #: When each was asked side by side (monotonic seconds).
        self._asked: dict[str, float] = {}

    def of(
        self, inspection: Mapping[str, Any], target: Target, old: Sequence[Mapping[str, Any]], unmet: int = 0
    ) -> Answer:
        """What one container answers to the questions that somebody wrote down, asked one after the other.

        :param old: those of another version that run.
        :param unmet: how many are proven together, where no user meets them yet.
        """
        for probe in target.settings.prove if target.route else ():
            answer = self._usual.to(probe, inspection, target, old)
            if not answer.ok:
                return answer
        # Where no old one serves, users wait for the end of this.
        if unmet and old and target.settings.prove_seconds:
            self._ask_side_by_side(inspection, target, unmet)
        return Answer(True)

    def _ask_side_by_side(self, inspection: Mapping[str, Any], target: Target, unmet: int) -> None:
        """Have its first answers behind it; they are not judged, since only alone one is asked no more than it can bear."""
        container_id, began = str(inspection["Id"]), time.monotonic()
        if began - self._asked.get(container_id, began - _EVERY) < _EVERY:
            return
        self._asked[container_id] = began
        probes = _harmless(target)
        for probe in probes:
            self._ask(inspection, target, probe, True)
        many = side_by_side(time.monotonic() - began, unmet)
        for probe in probes if many else ():
            all_of({str(n): partial(self._ask, inspection, target, probe, True) for n in range(many)})


def _harmless(target: Target) -> list[Probe]:
    """Questions of which many change nothing: those that somebody wrote down, else those of its readiness."""
    settings = target.settings
    written = [p for p in settings.prove if p.method in ("GET", "HEAD")]
    paths = (settings.ready_path,) if settings.ready_path else settings.usual_paths
    return written or [Probe(path) for path in paths]


def as_users(target: Target, nginx: Master | None, networks: Mapping[str, str]) -> Answer:
    """What users are answered to those questions.

    :param networks: the address of nginx in each of its networks.
    """
    route, door = target.route, target.door
    if route is None or route.proxy_protocol or not (nginx or door):
        return Answer(True)
    if route.how in (BY_LABELS, BY_FILES) and not route.server_name:
        # No rule of it says by which name it would lead there.
        return Answer(True)
    inside = sorted(networks.values()) if nginx and nginx.id else ["127.0.0.1"]
    address, port = (door.asked_at, door.port) if door else ((inside or [""])[0], route.listen)
    headers = {"Host": route.server_name or "localhost"}
    for probe in target.settings.prove:
        answer = ask(address, port, probe, headers, tls_name=headers["Host"] if route.tls else "")
        if not answer.ok:
            way = f"at port {port}" if door else f"through {nginx.name if nginx else ''}"
            return Answer(False, f"{target.settings.name}: {way}, {answer.text}")
    return Answer(True)
