# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command line says of a Celery worker: its app, the node it is among several, the queues that it fetches from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..engine.programs import SCHEDULER, WORKER


@dataclass(frozen=True)
class Node:
    """A worker that can be addressed alone: the interpreter it runs on, its ``-A``, its node name, its ``-b``.

    :ivar tells: whether its command has it log as much as that it is ready.
    """

    interpreter: str
    app: str
    name: str
    broker: str = ""
    tells: bool = False


def is_ready_by(node: Node, log: str, started: str) -> bool:
    """Whether a worker has logged that it is ready, which Celery does once it fetches tasks and hears what it is asked.

    :param log: lines, each after its moment as the engine writes it.
    :param started: when its container was started, likewise: what it said in a life before does not count.
    """
    # Only one of the two always has all its nanoseconds.
    begin = started.rstrip("Z")
    return any(line.endswith(f"{node.name} ready.") and line.partition("Z")[0] > begin for line in log.splitlines())


def _option(words: Sequence[str], *names: str) -> str:
    """The value of an option in any of the ways click takes it: ``-n x``, ``-nx``, ``--hostname x``, ``--hostname=x``."""
    for index, word in enumerate(words):
        for name in names:
            if word == name:
                return words[index + 1] if index + 1 < len(words) else ""
            if name.startswith("--") and word.startswith(f"{name}="):
                return word[len(name) + 1 :]
            if not name.startswith("--") and word.startswith(name) and len(word) > len(name):
                return word[len(name) :]
    return ""


@dataclass(frozen=True)
class Consumer:
    """What any worker of a command line does, whichever container it runs in.

    :ivar queues: its ``-Q``; ``everything``: it has none, and fetches all that its app has but ``excluded`` (its ``-X``).
    :ivar includes: the modules that it imports beside those of its app (``-I``).
    """

    interpreter: str
    app: str
    broker: str = ""
    queues: tuple[str, ...] = ()
    everything: bool = True
    excluded: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()


def _worker_in(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """The interpreter and the options of a command line, None where it is no worker."""
    names = [word.rsplit("/", 1)[-1] for word in words]
    at = names.index("celery") if "celery" in names else -1
    if at < 0 or "worker" not in words[at + 1 :]:
        return None
    first = words[0] if re.match(r"(python|pypy)[\d.]*$", names[0]) else "python3"
    return first, [w for w in words[at + 1 :] if w != "worker"]


def fetches_tasks(kind: str, words: Sequence[str]) -> bool:
    """Whether a service of this kind runs tasks: workers do, and schedulers that are one as well (``worker --beat``)."""
    return kind == WORKER or (kind == SCHEDULER and _worker_in(words) is not None)


def consumer_of(words: Sequence[str], environment: Mapping[str, str]) -> Consumer | None:
    """What a worker of this command line fetches, None where it is none, or which app it has cannot be told."""
    found = _worker_in(words)
    if found is None:
        return None
    first, options = found
    app = _option(options, "-A", "--app") or environment.get("CELERY_APP", "")
    if not app or "$" in app:
        return None

    def listed(*names: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in _option(options, *names).split(",") if part.strip())

    queues = listed("-Q", "--queues")
    return Consumer(
        first,
        app,
        _option(options, "-b", "--broker"),
        queues,
        not queues,
        listed("-X", "--exclude-queues"),
        listed("-I", "--include"),
    )


def node_of(words: Sequence[str], hostname: str, environment: Mapping[str, str]) -> Node | None:
    """The node that a command line makes, None where it is no worker or shares its name with others.

    :param words: the command as words; a process's own are exact, those of a Compose file may hold shell variables.
    :param hostname: the container's.
    :param environment: the process's, for ``CELERY_APP``.

    Names are made as ``celery.utils.nodenames`` makes them: ``celery@%h`` without ``-n``, ``celery@`` before a name
    that has no ``@``.
    """
    found = _worker_in(words)
    if found is None:
        return None
    first, options = found
    app = _option(options, "-A", "--app") or environment.get("CELERY_APP", "")
    given = _option(options, "-n", "--hostname") or "%h"
    name = given if "@" in given else f"celery@{given}"
    short, _dot, domain = hostname.partition(".")
    for sign, value in (("%h", hostname), ("%n", short), ("%d", domain)):
        name = name.replace(sign, value)
    # A name that is the same in every container reaches old and new alike.
    if not app or "%" in name or "$" in name + app or short not in name:
        return None
    tells = _option(options, "-l", "--loglevel").lower() in ("info", "debug")
    return Node(first, app, name, _option(options, "-b", "--broker"), tells)
