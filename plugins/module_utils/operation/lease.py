# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may change an app now: a lease with a fencing number.  Pure; ``journal.py`` keeps it on the target.

Safety never rests on time: whoever takes the lock gets a higher number, and an act is done only while its number
is the one in the record.  Time only says how long others are polite to a holder of whom nothing lives, since between
two Ansible tasks nothing does.  It is measured by the clock that counts since boot, so that a corrected wall
clock neither shortens nor lengthens it; after a reboot, what is left ends by whichever clock says so first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Union

from ..base.clock import Moment, Process

LEASE = 1800.0
_RUN = r"\d{8}T\d{6}Z-[a-z0-9_-]{1,40}-[0-9a-f]{6,16}"
_TOKEN = re.compile(rf"^([1-9]\d{{0,17}})\.({_RUN})$")


@dataclass(frozen=True)
class Operation:
    """What is to be done; the same one begun again may take over from a dead run of itself at once."""

    playbook: str
    app: str
    target: str

    def __str__(self) -> str:
        return f"{self.playbook} of {self.app}" + (f" to {self.target}" if self.target else "")


@dataclass(frozen=True)
class Lock:
    """The record.

    :param number: the fencing number, of the last holder where there is none now.
    :param run: the holder's run id, empty when nobody holds it.
    :param lease: seconds that it is valid after ``renewed``.
    :param process: the module that works for the holder just now, None between modules.
    :param alone: held by a module that was called alone: it is free as soon as that process is dead.
    :param unwritten: why not all of what the holder did is in its record, empty where all of it is.
    :param pending_undo: the run whose undo began and has not ended; it outlives holders until somebody has finished it.
    """

    number: int = 0
    run: str = ""
    operation: Operation = field(default=Operation("", "", ""))
    who: str = ""
    since: float = 0.0
    lease: float = LEASE
    renewed: Moment = field(default=Moment())
    process: Process | None = None
    alone: bool = False
    pending_undo: str = ""
    unwritten: str = ""

    @property
    def held(self) -> bool:
        """Whether somebody has it; whether that one still lives is another question."""
        return bool(self.run)

    @property
    def token(self) -> str:
        """What the holder shows at each act; it identifies and protects nothing secret."""
        return f"{self.number}.{self.run}" if self.held else ""


@dataclass(frozen=True)
class Take:
    """It may be taken, under ``number``; ``over`` says from whom and why, empty when it was free."""

    number: int
    over: str = ""


@dataclass(frozen=True)
class Wait:
    """Somebody has it, for ``seconds`` at most if nothing of that one lives.

    :param attach: it is the same operation, and its module works on: wait for as long as that takes.
    """

    seconds: float
    attach: bool = False


Verdict = Union[Take, Wait]


def remaining(lock: Lock, now: Moment) -> float:
    """Seconds that the lease still has, 0 when it ran out."""
    if lock.renewed.boot == now.boot:
        return max(0.0, lock.lease - (now.uptime - lock.renewed.uptime))
    # After a reboot at least the time since then has passed; a wall clock that was set back cannot prolong it.
    by_wall = lock.lease - max(0.0, now.wall - lock.renewed.wall)
    return max(0.0, min(by_wall, lock.lease - now.uptime))


def may_take(lock: Lock, now: Moment, alive: bool, wanted: Operation, over: bool = False) -> Verdict:
    """Whether an operation may take the lock.

    :param alive: whether the process in the record lives.
    :param over: the user asked to take it from whoever has it; the number keeps even that safe.
    """
    number = lock.number + 1
    left = remaining(lock, now)
    if not lock.held:
        return Take(number)
    if over:
        return Take(number, f"{lock.operation} of {lock.who}, as was asked for")
    if left <= 0:
        return Take(number, f"{lock.operation} of {lock.who}, whose lease ran out")
    if not alive and lock.alone:
        return Take(number, f"{lock.operation} of {lock.who}, whose process is dead")
    same = wanted == lock.operation and not lock.alone
    if same and not alive:
        return Take(number, f"the same operation of {lock.who}, of which no process lives")
    return Wait(left, attach=same)


def taken(lock: Lock, verdict: Take, run: str, wanted: Operation, who: str, lease: float, now: Moment) -> Lock:
    """The record once ``verdict`` is carried out."""
    return Lock(verdict.number, run, wanted, who, now.wall, lease, now, pending_undo=lock.pending_undo)


def objection(lock: Lock, token: str) -> str:
    """Why the holder of a token may not act, renew or release any more; empty when it may."""
    if token and token == lock.token:
        return ""
    if not split_token(token):
        return f"{token!r} is no lock token"
    if lock.held:
        return f"{lock.operation} of {lock.who} has taken the lock over (number {lock.number})"
    return f"the lock was given back, by this run or whoever took it over (its number is {lock.number})"


def renewed(lock: Lock, now: Moment, process: Process | None) -> Lock:
    """The record with its lease begun anew, and who works for the holder now."""
    return replace(lock, renewed=now, process=process)


def released(lock: Lock, now: Moment) -> Lock:
    """The record with no holder: only the number stays, for ever, and an undo that is still owed."""
    return Lock(number=lock.number, renewed=now, pending_undo=lock.pending_undo)


def whom_to_ask(lock: Lock, left: float, since: str, until: str, alive: bool, acting: bool) -> tuple[str, str]:
    """What a user reads who has to wait, and what to do about it.

    :param left: seconds that the lease still has; ``since`` and ``until`` as texts.
    :param acting: it could be taken, but one of its processes is in the middle of a single act.
    """
    process = f"process {lock.process.pid}" if lock.process else "one of its processes"
    if acting:
        busy = process if alive else "what a killed process had started"
        return (
            f"{busy} of {lock.operation} by {lock.who} is in the middle of a single act",
            "wait for it; if it hangs, end it with kill -9 on this host, then run this again",
        )
    works = f"{process} works on it" if alive else "no process works on it now"
    what = f"another change of this project is running: {lock.operation}, begun {since} by {lock.who}; {works}"
    if lock.alone:
        return what, "wait for it and run this again"
    advice = (
        f"ask {lock.who or 'your team'}. If that run is dead: the same operation ({lock.operation}) takes over at once, any "
        f"other with -e app_lock_take_over=true (take_over: true of deploy_lock); or wait for it with "
        f"-e app_lock_wait={left + 1:.0f} (wait)"
    )
    return f"{what}; its lock is valid until {until} ({left:.0f} s) if nothing renews it", advice


def split_token(token: str) -> tuple[int, str] | None:
    """Number and run id of a token, None when it is none: it becomes a file's name."""
    match = _TOKEN.fullmatch(token)
    return (int(match[1]), match[2]) if match else None


def is_run(text: str) -> bool:
    """Whether a text is a run id, which becomes a file's name."""
    return bool(re.fullmatch(_RUN, text))


def run_id(moment: str, playbook: str, random_hex: str) -> str:
    """A fresh run id, ``<UTC time>-<playbook>-<random>``.

    :param moment: UTC as ``YYYYMMDDTHHMMSSZ``.
    """
    word = re.sub(r"[^a-z0-9_-]", "-", playbook.lower())[:40] or "run"
    return f"{moment}-{word}-{random_hex}"


def to_json(lock: Lock) -> dict[str, Any]:
    """The record as it is written."""
    return asdict(lock)


def from_json(value: Mapping[str, Any]) -> Lock | None:
    """The record as it was written, None when it is not whole."""
    try:
        process = value["process"]
        return Lock(
            int(value["number"]),
            str(value["run"]),
            Operation(**value["operation"]),
            str(value["who"]),
            float(value["since"]),
            float(value["lease"]),
            Moment(**value["renewed"]),
            Process(**process) if process else None,
            bool(value["alone"]),
            # Its name in state written by earlier versions.
            str(value["pending_undo"] if "pending_undo" in value else value["owed"]),
            str(value.get("unwritten") or ""),
        )
    except (KeyError, TypeError, ValueError):
        return None
