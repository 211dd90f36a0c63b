# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps a roll is made of: each names what it concerns, none knows how it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Start:
    """Create ``create`` more containers per service beside what runs, or start stopped ones again.

    ``hold`` are services whose rotation is pinned to what it is now first, so that a foreign reload in the
    meantime cannot let an unproven container in.  ``surges`` are those of the services to create for which what is
    created leaves out what only one container can hold.  Those of ``unkept`` have others that serve: until they are
    trusted, the engine is not to start them again by itself.
    """

    create: tuple[tuple[str, int], ...] = ()
    restart: tuple[str, ...] = ()
    hold: tuple[tuple[str, tuple[str, ...]], ...] = ()
    surges: tuple[str, ...] = ()
    unkept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Keep:
    """Have the engine start these again by itself from now on, as their definition says."""

    containers: tuple[str, ...]


@dataclass(frozen=True)
class Spare:
    """Let these, to which nobody is led any more, go on running for a quick way back."""

    containers: tuple[str, ...]


@dataclass(frozen=True)
class AwaitReady:
    """Ask each container once whether it is ready."""

    containers: tuple[str, ...]


@dataclass(frozen=True)
class Prove:
    """Ask for real endpoints once, on the private path or (``proxied``) as users do; ``tried``: what users were answered counts.

    ``awaited`` are others, asked meanwhile whether they are ready.
    """

    containers: tuple[str, ...]
    proxied: bool = False
    tried: bool = False
    awaited: tuple[str, ...] = ()


@dataclass(frozen=True)
class Join:
    """Make the proxy send to exactly ``rotation`` (addresses); ``joining`` are the containers new in it."""

    service: str
    rotation: tuple[str, ...]
    joining: tuple[str, ...]
    leaving: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leave:
    """Make the proxy send to exactly ``rotation``; nothing joins."""

    service: str
    rotation: tuple[str, ...]
    leaving: tuple[str, ...]


@dataclass(frozen=True)
class Quiesce:
    """Tell workers to fetch no more tasks."""

    containers: tuple[str, ...]


@dataclass(frozen=True)
class Resume:
    """Tell workers that were quiesced to fetch tasks again."""

    containers: tuple[str, ...]


@dataclass(frozen=True)
class Drain:
    """Wait a moment: ``containers`` have connections or tasks, or old proxy workers that may open a connection."""

    containers: tuple[str, ...]


@dataclass(frozen=True)
class Stop:
    """Ask the containers' main processes to end, and wait for it."""

    containers: tuple[str, ...]


@dataclass(frozen=True)
class Remove:
    """Remove containers that do not run any more."""

    containers: tuple[str, ...]


@dataclass(frozen=True)
class Undo:
    """From here on the goal is the state before the call, because of ``reason``."""

    reason: str


@dataclass(frozen=True)
class AwaitDns:
    """Wait a moment: the proxy asks for names again by itself, and may not know yet who joined or who is gone."""

    services: tuple[str, ...]


@dataclass(frozen=True)
class Unpin:
    """Take the pin or refusals away: name resolution gives the same answer now."""

    service: str


@dataclass(frozen=True)
class Done:
    """Nothing is left to do; ``failed`` when the goal was undone."""

    failed: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Refuse:
    """Stop here without touching anything more."""

    reason: str


Step = Union[
    Start, Keep, Spare, AwaitReady, Prove, Join, Leave, Quiesce, Resume, Drain, Stop, Remove, Undo, AwaitDns, Unpin, Done, Refuse
]  # fmt: skip


def services_of(step: Step) -> tuple[str, ...]:
    """The services that a step names by themselves; empty where it names containers, or all."""
    return tuple(getattr(step, "services", None) or filter(None, [getattr(step, "service", "")]))
