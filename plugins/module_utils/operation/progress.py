# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a long module tells while it works: lines in plain words, and how they are read back on the controller."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

LONGEST = 400

_ID = re.compile(r"^[0-9a-f]{32}\Z")
# What a terminal would obey instead of showing it; names and answers come from strangers.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e]+")


@dataclass(frozen=True)
class Line:
    """One line: what kind of step, whom it concerns, how long it took (seconds), and a sentence."""

    step: str
    service: str
    container: str
    seconds: float
    text: str


def is_id(text: str) -> bool:
    """Whether a text can be the name of a progress file and nothing else."""
    return bool(_ID.match(text))


def as_json(line: Line, number: int) -> str:
    """A line of the file; ``number`` counts them from 1, since what a terminal sends back cannot be counted by bytes."""
    text = _CONTROL.sub(" ", line.text)[:LONGEST]
    return json.dumps({"n": number, **asdict(line), "seconds": round(line.seconds, 3), "text": text})


def read_lines(output: str, shown: int) -> tuple[list[str], int]:
    """The sentences in what was read of the file, after the ``shown`` ones, and how many are shown then.

    Lines may end in CR LF (a terminal in between), the last one may be torn, and others may have mixed in.
    """
    texts = []
    for row in output.splitlines():
        try:
            known = json.loads(row.strip())
        except ValueError:
            continue
        number = known.get("n") if isinstance(known, dict) else None
        if isinstance(number, int) and not isinstance(number, bool) and number == shown + 1:
            shown = number
            texts.append(_CONTROL.sub(" ", str(known.get("text") or ""))[:LONGEST])
    return [t for t in texts if t], shown
