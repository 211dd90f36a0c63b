# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a simulated machine consists of, and what may befall it."""

from __future__ import annotations

from dataclasses import dataclass, field


class Killed(BaseException):
    """The process that rolls was killed: not an Exception, so that nothing on the way can swallow it."""


@dataclass
class Version:
    """How containers of a version behave: seconds until ready (None: never), seconds until they end, answers.

    ``port_taken`` and ``deaf_at_port`` befall only those that hold a port: they cannot start, or never get ready.
    ``fails_users`` shows in what users are answered alone. One that is ``silent`` is at work until it ends, and says nothing of it.
    """

    boot: float | None = 0.5
    ends_after: float | None = None
    answers: bool = True
    starts: bool = True
    dies_when_joined: bool = False
    port_taken: bool = False
    deaf_at_port: bool = False
    fails_users: bool = False
    silent: bool = False


@dataclass
class Box:
    """A simulated container."""

    id: str
    service: str
    number: int
    identity: tuple[str, str]
    address: str
    state: str = "running"
    started: float = 0.0
    restarts: int = 0
    joined: bool = False
    inflight: list[float] = field(default_factory=list)
    consuming: bool = True
    unkept: bool = False
    proved: bool = False
    spare: bool = False
    ends_at: float | None = None


@dataclass
class Worker:
    """A generation of proxy workers: which addresses it knows per service; when it is gone (None: serving)."""

    addresses: dict[str, set[str]]
    born: float
    quits_at: float | None = None


@dataclass
class Misfortune:
    """Chances per act, and how many of each at most; ``late`` is per container that is removed."""

    kill_process: float = 0.0
    reboot: float = 0.0
    kill_old: float = 0.0
    kill_new: float = 0.0
    restart_proxy: float = 0.0
    foreign_reload: float = 0.0
    fail_act: float = 0.0
    late: float = 0.0
    left: int = 3
