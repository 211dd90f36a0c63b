# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and choice of releases: pure, the store itself is ``host/release_store``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

PREPARING, BUILT, ACTIVE, VERIFIED, BAD = "preparing", "built", "active", "verified", "bad"
STATES = (PREPARING, BUILT, ACTIVE, VERIFIED, BAD)
_ID = re.compile(r"^\d{8}T\d{6}Z-[0-9a-f]{7,40}(\.\d+)?(\.h\d+)?$")


@dataclass(frozen=True)
class Release:
    """One release: its id, the commit it is the tree of, its state."""

    id: str
    revision: str
    state: str


def is_id(text: str) -> bool:
    """Whether a name is one that this collection gives to releases."""
    return bool(_ID.fullmatch(text))


def new_id(moment: str, revision: str, taken: Sequence[str]) -> str:
    """A fresh id: ``<UTC time>-<short commit>``, counted up where two fall into one second.

    :param moment: UTC as ``YYYYMMDDTHHMMSSZ``.
    """
    base = f"{moment}-{revision[:7]}"
    count = 1
    candidate = base
    while candidate in taken:
        count += 1
        candidate = f"{base}.{count}"
    return candidate


def release_for(revision: str, releases: Sequence[Release], current: str) -> str:
    """The release that already is this revision, empty when a new one is needed.

    The current one first, so that the same input changes nothing; then the newest, so that a run that was
    killed goes on in the folder it began.  One that was marked bad is not taken up again.
    """
    same = sorted((r for r in releases if r.revision == revision and r.state != BAD), key=lambda r: r.id)
    if any(r.id == current for r in same):
        return current
    return same[-1].id if same else ""


def problem_with_ref(ref: str) -> str:
    """Why a git ref cannot be asked for, empty when it can: it comes from outside and ends up in an argv."""
    if (
        not ref
        or ref.startswith("-")
        or ".." in ref
        or re.search(r"[\s~^:?*\[\\\x00-\x1f\x7f]", ref)
        or ref.endswith(".lock")
    ):
        return f"{ref!r} is no git branch, tag or commit"
    return ""


def problem_with_shared(path: str) -> str:
    """Why a path cannot be linked from ``shared/`` into a release, empty when it can."""
    parts = path.split("/")
    if not path or path.startswith("/") or {"", ".", ".."} & set(parts) or "\x00" in path:
        return f"shared path {path!r} must be relative and stay inside the release"
    if parts[0] == ".evenkeel":
        return f"shared path {path!r} is where a release keeps its own record"
    return ""
