# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How one Celery worker among several is spoken to: its app and its node name, read from its command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A worker that can be addressed alone: the interpreter it runs on, its ``-A``, its node name, its ``-b``."""

    interpreter: str
    app: str
    name: str
    broker: str = ""


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


def node_of(words: Sequence[str], hostname: str, environment: Mapping[str, str]) -> Node | None:
    """The node that a command line makes, None where it is no worker or shares its name with others.

    :param words: the command as words; a process's own are exact, those of a Compose file may hold shell variables.
    :param hostname: the container's.
    :param environment: the process's, for ``CELERY_APP``.

    Names are made as ``celery.utils.nodenames`` makes them: ``celery@%h`` without ``-n``, ``celery@`` before a name
    that has no ``@``.
    """
    names = [word.rsplit("/", 1)[-1] for word in words]
    at = names.index("celery") if "celery" in names else -1
    if at < 0 or "worker" not in words[at + 1 :]:
        return None
    options = [w for w in words[at + 1 :] if w != "worker"]
    app = _option(options, "-A", "--app") or environment.get("CELERY_APP", "")
    given = _option(options, "-n", "--hostname") or "%h"
    name = given if "@" in given else f"celery@{given}"
    short, _dot, domain = hostname.partition(".")
    for sign, value in (("%h", hostname), ("%n", short), ("%d", domain)):
        name = name.replace(sign, value)
    # A name that is the same in every container reaches old and new alike.
    if not app or "%" in name or "$" in name + app or short not in name:
        return None
    first = words[0] if re.match(r"(python|pypy)[\d.]*$", names[0]) else "python3"
    return Node(first, app, name, _option(options, "-b", "--broker"))
