# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How running containers get changed files, one after the other: pure, files and processes are seen in ``host/``."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.programs import OTHER, WEB, WORKER
from ..releases.choice import BACKEND
from .hotfix import IMAGE, Home, Verdict

#: What makes a container's processes load the files: nothing has to, a signal to their master, or a new start.
NOTHING, SIGNAL, RESTART = "nothing", "signal", "restart"
#: What becomes of its users meanwhile: none notices, others of the service have them, they wait, its tasks end first, or they fail.
FREE, ROTATED, HELD, QUIET, CUT = "free", "rotated", "held", "quiet", "cut"
SEALED = "the same command without hotfix_mode=in_place makes it a release, by which no request fails"


@dataclass(frozen=True)
class Copy:
    """One container that has the files.

    :ivar written: whether all of them are in it as they are wanted.
    :ivar keeps: whether a process of it goes on with what it has loaded before; while not ``written``, whether one would.
    :ivar by_signal: whether its master loads nothing of it, and starts those that do anew when it is told to.
    :ivar unholdable: why requests to it cannot be made to wait, empty where they can.
    :ivar steered: whether nginx can be led away from it.
    """

    id: str
    name: str
    service: str
    kind: str
    running: bool = True
    written: bool = False
    keeps: bool = True
    by_signal: bool = False
    unholdable: str = ""
    steered: bool = False
    in_rotation: bool = False

    @property
    def due(self) -> bool:
        """Whether anything has to be done to it."""
        return not (self.running and self.written) or self.keeps


@dataclass(frozen=True)
class Turn:
    """What is done to one container, and what its users have of it meanwhile."""

    copy: Copy
    reload: str
    users: str


@dataclass(frozen=True)
class Plan:
    """``first`` are started anew together, before ``then`` have their turns one by one.

    :ivar notes: what users will notice, before it begins.
    :ivar refusal: why it is not begun, empty where it is.
    """

    first: tuple[Turn, ...] = ()
    then: tuple[Turn, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def turns(self) -> tuple[Turn, ...]:
        return self.first + self.then

    @property
    def quiesce(self) -> tuple[str, ...]:
        """Workers that fetch no more tasks from the beginning: whoever has the change may send what they do not know."""
        return tuple(t.copy.id for t in self.turns if t.users == QUIET)


def plan(copies: Sequence[Copy], consent: bool = False) -> Plan:
    """Say what is done to which container, in which order.

    :param consent: whether requests may fail where they cannot be kept from it.
    """
    turns = [_turn(copy, copies) for copy in copies if copy.due]
    cut = [t for t in turns if t.users == CUT]
    names = sorted({t.copy.service for t in cut})
    refusal = ""
    if cut and not consent:
        held_back = cut[0].reload == SIGNAL and cut[0].copy.unholdable
        why = held_back or "it loads code only as a whole (--preload, or no gunicorn), so requests cannot wait for it"
        refusal = (
            f"requests to {' and '.join(names)} would fail for as long as it starts: nginx cannot be led to another container of "
            f"it, and {why}"
        )
    held = sorted({t.copy.service for t in turns if t.users == HELD})
    notes = [f"{name}: its requests wait while its processes load the change, usually 1 to 3 seconds" for name in held]
    notes += [f"{name}: its requests fail for as long as it starts" for name in names]
    # One that a killed run has stopped or led users away from comes back before another is taken from them.
    web = sorted((t for t in turns if t.copy.kind == WEB), key=lambda t: (t.copy.running, t.copy.in_rotation))
    return Plan(tuple(t for t in turns if t.copy.kind != WEB), tuple(web), tuple(notes), refusal)


def _turn(copy: Copy, copies: Sequence[Copy]) -> Turn:
    reload = NOTHING if not copy.keeps else SIGNAL if copy.by_signal else RESTART
    if not copy.running:
        return Turn(copy, RESTART, FREE)
    if reload == NOTHING:
        return Turn(copy, reload, FREE)
    if copy.kind == WORKER:
        return Turn(copy, RESTART, QUIET)
    others = [c for c in copies if c.service == copy.service and c.id != copy.id]
    if copy.kind == WEB:
        if copy.steered and others:
            return Turn(copy, reload, ROTATED)
        return Turn(copy, reload, HELD if reload == SIGNAL and not copy.unholdable else CUT)
    return Turn(copy, RESTART, CUT if copy.kind == OTHER and not any(c.running for c in others) else FREE)


def objections(verdict: Verdict, homes: Iterable[Home]) -> list[str]:
    """Why what was judged to be a hotfix is none for running containers."""
    found = []
    for kind, paths in verdict.kinds.items():
        if kind != BACKEND:
            found.append(f"{', '.join(paths)} is of kind {kind}: in place only code and templates are changed")
    mounted = sorted({f"{h.path} of {h.service}" for h in homes if h.where != IMAGE})
    if mounted:
        found.append(f"{', '.join(mounted)} is mounted: in place only what an image has is changed")
    return found


def unsealed(hotfixes: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Of the hotfixes in production those that no release has: what to say of each, and what to run next."""
    found = []
    for one in hotfixes:
        if not one.get("seal"):
            continue
        what = f"{one['name']} is in running containers only ({', '.join(one['files'])}): one that is created anew comes without it"
        back = f"ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix={one['name']}"
        if one.get("goes_back"):
            found.append((f"{one['name']} is on its way back out of running containers", back))
        elif one.get("lacking"):
            found.append(
                (
                    f"{what}, as {', '.join(one['lacking'])} did",
                    f"run the same hotfix again; then seal it: {one['seal']}",
                )
            )
        else:
            found.append((what, str(one["seal"])))
    return found


def traces(path: str, new: bool) -> tuple[str, ...]:
    """What is in the memory of each process that has loaded a file, or could know already that it is not there.

    :param path: in the container. Code and templates carry it with them, perhaps from a folder on the way to it on.
    """
    if new:
        folder = posixpath.dirname(path)
        above = posixpath.dirname(folder)
        # A package that has begun to be loaded has listed its folder.
        return tuple(f"{one}/" for one in (folder, above) if one.count("/") > 1) or (f"{folder.rstrip('/')}/",)
    return ("/".join(path.split("/")[-2:]),)
