# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a web service is ready of which nobody said how that is seen: it answers as the version from before does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from .roller import Answer
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


class UsualAnswers:
    """What containers answer at the usual paths of their service.

    :param ask: asks a container, given as it was inspected, for a path; a status below 400 is good.
    """

    def __init__(self, ask: Callable[[Mapping[str, Any], Target, str], Answer]) -> None:
        self._ask = ask
        self._before: dict[tuple[str, str], Answer] = {}

    def of(self, inspection: Mapping[str, Any], target: Target, old: Sequence[Mapping[str, Any]]) -> Answer:
        """The answer of one container, held against those of the ``old`` ones that run; each is asked once, while it serves."""
        return as_usual(
            target.settings.usual_paths, partial(self._ask, inspection, target), partial(self._of_old, target, old)
        )

    def _of_old(self, target: Target, old: Sequence[Mapping[str, Any]], path: str) -> list[Answer]:
        for inspection in (i for i in old if (i["Id"], path) not in self._before):
            self._before[inspection["Id"], path] = self._ask(inspection, target, path)
        return [self._before[i["Id"], path] for i in old]
