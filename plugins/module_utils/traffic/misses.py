# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of a site that are not as they should be: which of them waiting can heal, and which another name can."""

from __future__ import annotations

from dataclasses import dataclass

from ..engine.services import Probe

#: How often something is asked that waiting can heal: as often as whoever asks has the patience for.
PATIENT = 1_000_000
#: Traefik answers 404 until it has heard of a container, at most two seconds later (``providersThrottleDuration``).
SOON = 3
ONCE = 1
# Timeout, too early, too many requests: the only ones below 500 that say themselves that asking again is the cure.
_PASSING = (408, 425, 429)
# No version of the server that runs will know these later.
_LASTING = (501, 505)


@dataclass(frozen=True)
class Miss:
    """What users do not get as they should.

    :ivar text: in a sentence.
    :ivar tries: how often it is worth to ask, this time included.
    :ivar by_name: whether it is what a server answers that knows its site by a name alone.
    """

    text: str
    tries: int = PATIENT
    by_name: bool = False


def judged(what: str, probe: Probe, status: int, body: bytes) -> Miss | None:
    """Hold an answer against what is expected; None where it is as it should be.

    :param what: the question, as a message has it.
    """
    if status == probe.status:
        # A cache, or a worker that fills data in: the right text may come yet.
        return None if probe.contains.encode() in body else Miss(f"{what} answered without {probe.contains!r}")
    text = f"{what} answered {status}"
    if status in _PASSING or status < 400 or (status >= 500 and status not in _LASTING):
        return Miss(text)
    return Miss(text, SOON if status == 404 else ONCE, 400 <= status < 500)
