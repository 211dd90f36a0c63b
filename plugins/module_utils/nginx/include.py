# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of ``server`` lines that a user includes into an upstream block, and that a roll writes.

``upstream travel { include evenkeel/travel-api.conf; }``: the name says whose it is.  What it held before stands in it
as a comment, so that a run that comes after a killed one knows what nginx still follows.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

FOLDER = "evenkeel"
_SERVER = re.compile(r"^\s*server\s+(\S+?)\s*;", re.MULTILINE)
_BEFORE = re.compile(r"^# before:[ \t]*(.*)$", re.MULTILINE)


def is_managed(path: str, project: str, service: str) -> bool:
    """Whether a file that an upstream block includes is the one for this service."""
    return (
        posixpath.basename(path) == f"{project}-{service}.conf"
        and posixpath.basename(posixpath.dirname(path)) == FOLDER
    )


def text_of(project: str, service: str, addresses: Sequence[str], port: int, before: Sequence[str]) -> str:
    """The file that sends to these addresses.

    :param before: what nginx follows until it is loaded again.
    """
    lines = [
        f"# Written by evenkeel: the containers of {service} of {project} that get requests.",
        f"# before: {' '.join(before)}".rstrip(),
        *[f"server {f'[{a}]' if ':' in a else a}:{port};" for a in addresses],
    ]
    return "\n".join(lines) + "\n"


def addresses_in(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Addresses that the file names, and those that it named before."""
    named = tuple(re.sub(r":\d+$", "", s).strip("[]") for s in _SERVER.findall(text))
    before = _BEFORE.search(text)
    return named, tuple(before.group(1).split()) if before else ()
