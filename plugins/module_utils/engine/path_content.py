# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands at a path of a container, an image or a tree."""

from __future__ import annotations

from dataclasses import dataclass

FILE, LINK, FOLDER, OTHER = "file", "link", "folder", "other"

# What was written so soon after a container's start is an entrypoint's work, not a person's (seconds).
_START = 15.0


@dataclass(frozen=True)
class Held:
    """What stands at a path: ``sum`` is the SHA-256 of a file's content, or of where a link leads.

    An empty ``sum`` is one that could not be made, ``why`` says so. ``at`` is when it was changed (UNIX seconds).
    """

    kind: str
    sum: str = ""
    mode: int = 0
    size: int = 0
    at: float = 0.0
    why: str = ""


def starting(started: float) -> tuple[float, float]:
    """From when to when what is written in a container is taken for its entrypoint's work (UNIX seconds).

    :param started: when the container started.
    """
    # Archives tell whole seconds.
    return int(started), started + _START
