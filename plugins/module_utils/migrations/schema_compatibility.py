# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether older code can run on the database as it is now: from what was done since, operation by operation.

The older code is asked for the migrations that it does not know.  What was done with each is in our rows; of a migration
that somebody else has run nothing is known, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .bridges import KEEP_DEFAULT
from .expansion import OPEN, WHOLE

#: From nothing to do to the worst.
CODE_ONLY, ABANDON, REVERSE, RESTORE, UNKNOWN = "code only", "abandon", "reverse", "restore", "unknown"
VERDICTS = (CODE_ONLY, ABANDON, REVERSE, UNKNOWN, RESTORE)
#: With these nobody is led back to that code before something is done about the database, or said of it.
REFUSED = (REVERSE, UNKNOWN, RESTORE)
#: Phases after which code goes on working that does not know of the operation.
SURVIVED = ("before", "either", "between")
_NOT_RUN = ("deferred", "abandoned")


@dataclass(frozen=True)
class Behind:
    """A migration that is recorded and that the older code does not know.

    :ivar verdict: one of :data:`VERDICTS`; ``reason`` names the operation that decides.
    :ivar beware: what goes wrong with rows that the newer code has written, though the older one works; empty for nothing.
    """

    app: str
    name: str
    database: str
    verdict: str
    reason: str
    beware: str = ""


def behind(unknown: Sequence[Sequence[str]], rows: Sequence[Mapping[str, Any]], database: str) -> list[Behind]:
    """The verdict on each migration that the older code does not know.

    :param unknown: app and name of each.
    :param rows: our rows of them, those that are settled included.
    """
    owned = [(app, name, _own(rows, app, name)) for app, name in unknown]
    return [Behind(app, name, database, *_of(own), _beware(own)) for app, name, own in owned]


def _own(rows: Sequence[Mapping[str, Any]], app: str, name: str) -> dict[int, Mapping[str, Any]]:
    return {int(r["index"]): r for r in rows if (r["app"], r["name"]) == (app, name)}


def _of(rows: Mapping[int, Mapping[str, Any]]) -> tuple[str, str]:
    whole = rows.get(WHOLE)
    if whole is None:
        return UNKNOWN, "it was not run by django_migrate, so what it did to older code is not known"
    found, words = (
        (CODE_ONLY, "the older code goes on working with all that was run of it"),
        whole["detail"]["operations"],
    )
    for index, action in enumerate(whole["detail"]["actions"]):
        found = max(found, _operation(action, rows.get(index), words[index]), key=lambda v: VERDICTS.index(v[0]))
    return found


def _beware(rows: Mapping[int, Mapping[str, Any]]) -> str:
    """What was said of the operations that were run, once each."""
    actions = rows[WHOLE]["detail"]["actions"] if WHOLE in rows else ()
    run = (a for i, a in enumerate(actions) if i not in rows or rows[i]["state"] not in _NOT_RUN)
    return "; ".join(dict.fromkeys(str(a["beware"]) for a in run if a.get("beware")))


def _operation(action: Mapping[str, Any], row: Mapping[str, Any] | None, words: str) -> tuple[str, str]:
    if row is not None and row["state"] in _NOT_RUN:
        # Rows that were moved are no harm to older code, whether all of them were or not.
        return ABANDON, f"{words} has not been run and is put aside"
    phase = str(action.get("phase") or "")
    if action.get("bridge") == KEEP_DEFAULT and row is not None and row["state"] not in OPEN:
        way = REVERSE if action.get("reversible", False) else RESTORE
        return way, f"{words} was run, and the database does not keep its default any more"
    if phase in SURVIVED:
        return CODE_ONLY, ""
    if action.get("drops_data"):
        return RESTORE, f"{words} was run, and what it dropped only a backup has"
    if phase and action.get("reversible", False):
        return REVERSE, f"{words} was run, which older code does not survive"
    if phase:
        return RESTORE, f"{words} was run, which older code does not survive and which cannot be reversed"
    return UNKNOWN, f"{words} was run without having been judged"


def overall(found: Sequence[Behind]) -> str:
    """The worst of the verdicts."""
    return max((b.verdict for b in found), key=VERDICTS.index, default=CODE_ONLY)


def sentence(found: Sequence[Behind]) -> str:
    """What it means for somebody who wants to go back to that code."""
    verdict = overall(found)
    deciding = [b for b in found if b.verdict == verdict]
    names = ", ".join(f"{b.app}.{b.name}" for b in deciding)
    reasons = "; ".join(dict.fromkeys(b.reason for b in deciding))
    warned = "; ".join(dict.fromkeys(b.beware for b in found if b.beware))
    beware = f"; beware: {warned}" if warned else ""
    if verdict == CODE_ONLY:
        return f"going back to this code needs nothing of the database{beware}"
    if verdict == ABANDON:
        return f"going back to this code needs nothing of the database; what waits of {names} goes on waiting{beware}"
    if verdict == REVERSE:
        return f"this code needs the reversal of {names} ({reasons}): django_migrate with state reversed, in a window"
    if verdict == RESTORE:
        return f"this code cannot run on the database as it is: {names} ({reasons}); it needs the backup from before"
    return f"whether this code can run on the database cannot be told: {names} ({reasons})"
