# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is held against the answers of the version from before: where a web service is ready of which nobody said how that is
seen, and what nginx shows users by itself, so that the service never had it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...engine.answer import Answer
from ...engine.services import Probe
from .targets import Target


def as_usual(
    paths: Sequence[str], question: Callable[[str], Answer], before: Callable[[str], Sequence[Answer]]
) -> Answer:
    """Answers to questions that nobody wrote down, held against what the version from before answers to them.

    An API may have nothing at ``/``, or ask who one is: it answers all the same, as it always did. One good answer is
    enough, where none before it is a new fault of the server's; all else has to be as it is usual at each path, and at
    the last of them a fault never is good.

    :param before: asks the old ones, where that decides; where none of them answers, nobody can say what is usual.
    """
    answers = []
    for path in paths:
        answer = question(path)
        if not answer.status or answer.status < 400:
            return answer
        fault = answer.status >= 500
        usual = {a.status for a in before(path) if a.status and (a.status >= 500) == fault}
        good = answer.status in usual if fault else not usual or answer.status in usual
        if fault and not good:
            return answer
        answers.append(Answer(good and not (fault and path == paths[-1]), answer.text, answer.status))
    return next((a for a in answers if not a.ok), answers[-1])


def without_new_faults(
    paths: Sequence[str], question: Callable[[str], Answer], before: Callable[[str], Sequence[Answer]]
) -> Answer:
    """Answers of one that its own health check calls healthy: many a check only looks whether a port is open.

    What speaks against it is a fault of the server's alone, where those from before answer without one.
    """
    for path in paths:
        answer = question(path)
        if answer.status >= 500:
            usual = [a.status for a in before(path) if a.status]
            if usual and max(usual) < 500:
                return Answer(False, f"{answer.text}, which the version from before does not", answer.status)
    return Answer(True)


class UsualAnswers:
    """What containers answer, held against those of the version from before; each is asked once, while it serves.

    :param ask: asks a container, given as it was inspected; the last word says whether any status below 400 is good.
    """

    def __init__(self, ask: Callable[[Mapping[str, Any], Target, Probe, bool], Answer]) -> None:
        self._ask = ask
        self._before: dict[tuple[str, Probe], Answer] = {}

    def of(
        self, inspection: Mapping[str, Any], target: Target, old: Sequence[Mapping[str, Any]], healthy: bool = False
    ) -> Answer:
        """What one container answers at the usual paths of its service; ``healthy`` where its own check says so."""

        def question(path: str) -> Answer:
            return self._ask(inspection, target, Probe(path), True)

        judged = without_new_faults if healthy else as_usual
        return judged(target.settings.usual_paths, question, lambda path: self._of_old(target, old, Probe(path)))

    def to(
        self, probe: Probe, inspection: Mapping[str, Any], target: Target, old: Sequence[Mapping[str, Any]]
    ) -> Answer:
        """What one container answers to a question that somebody wrote down.

        Where the old ones answer with the same 4xx, nginx shows users something of its own there, or asks for it by another
        path: then only users are asked for, through nginx.
        """
        answer = self._ask(inspection, target, probe, False)
        if answer.ok or not 400 <= answer.status < 500:
            return answer
        usual = {a.status for a in self._of_old(target, old, probe) if 0 < a.status < 500}
        return Answer(not usual or answer.status in usual, answer.text, answer.status)

    def _of_old(self, target: Target, old: Sequence[Mapping[str, Any]], probe: Probe) -> list[Answer]:
        for inspection in (i for i in old if (i["Id"], probe) not in self._before):
            self._before[inspection["Id"], probe] = self._ask(inspection, target, probe, True)
        return [self._before[i["Id"], probe] for i in old]
