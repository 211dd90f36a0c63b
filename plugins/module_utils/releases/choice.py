# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and choice of releases: pure, the store itself is ``releases/host/store``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PREPARING, BUILT, ACTIVE, VERIFIED, BAD = "preparing", "built", "active", "verified", "bad"
STATES = (PREPARING, BUILT, ACTIVE, VERIFIED, BAD)
_ID = re.compile(r"^\d{8}T\d{6}Z-[0-9a-f]{7,40}(\.\d+)?(\.h\d+)?$")

#: Kind of a hotfix: code that runs from an image.
BACKEND = "backend"


@dataclass(frozen=True)
class Release:
    """One release: its id, the commit it is the tree of, its state.

    ``verified`` is when it was last found good (UNIX seconds, 0 for never), ``pinned`` whether somebody wants it kept,
    ``inputs`` a keyed hash of what else it is made from, such as the server's environment file, ``version`` what it was
    asked for by, ``came_back`` whether it is the current one by a rollback, ``left_for`` the commit of the release that it
    was left for by one.
    """

    id: str
    revision: str
    state: str
    verified: float = 0.0
    pinned: bool = False
    inputs: str = ""
    version: str = ""
    came_back: bool = False
    left_for: str = ""


def is_id(text: str) -> bool:
    """Whether a name is one that this collection gives to releases."""
    return bool(_ID.fullmatch(text))


def new_id(moment: str, revision: str, taken: Sequence[str], hotfix: int = 0) -> str:
    """A fresh id: ``<UTC time>-<short commit>``, counted up where two fall into one second.

    :param moment: UTC as ``YYYYMMDDTHHMMSSZ``.
    :param hotfix: how many hotfixes it has on that commit, which follows as ``.hN``.
    """
    base, end = f"{moment}-{revision[:7]}", f".h{hotfix}" if hotfix else ""
    count = 1
    candidate = f"{base}{end}"
    while candidate in taken:
        count += 1
        candidate = f"{base}.{count}{end}"
    return candidate


def release_for(revision: str, inputs: str, releases: Sequence[Release], current: str) -> str:
    """The release that already is this revision with these inputs, empty when a new one is needed.

    The current one first, so that the same input changes nothing; then the newest, so that a run that was
    killed goes on in the folder it began.  One that was marked bad is not taken up again.
    """
    alike = (r for r in releases if (r.revision, r.inputs) == (revision, inputs) and r.state != BAD)
    same = sorted(alike, key=lambda r: r.id)
    if any(r.id == current for r in same):
        return current
    return same[-1].id if same else ""


def problem_with_switch(release: Release, current: str) -> str:
    """Why a release cannot become the current one, empty when it can."""
    if release.state == PREPARING and release.id != current:
        return f"release {release.id} was never built: it may lack what it needs to run"
    return ""


def problem_with_removal(release: str, all_of_them: Sequence[Release], current: str, used: Collection[str]) -> str:
    """Why a release cannot be taken away, empty when it can."""
    if release == current:
        return f"release {release} is the current one"
    if release == rollback_target(all_of_them, current):
        return f"release {release} is the one to go back to"
    if release in used:
        return f"release {release} is used by a container"
    return ""


def rollback_target(releases: Sequence[Release], current: str) -> str:
    """The release to go back to: the one that was found good last before the current one, empty when there is none."""
    good = sorted((r.verified, r.id) for r in releases if _was_good(r) and r.id != current)
    return good[-1][1] if good else ""


def find(named: str, releases: Sequence[Release], current: str, used: Collection[str] = ()) -> tuple[str, str]:
    """The release to go back to and an empty text, or an empty one and why there is none.

    :param named: an id, the beginning of a commit, or what a release was asked for by; empty for the one found good last
        before the current one, or the current one where a rollback has led to it, or an update away from it has ended
        in the middle.
    :param used: releases that containers were made from.
    """
    known = ", ".join(r.id + (f" ({r.state})" if r.state != VERIFIED else "") for r in releases) or "none"
    if not named:
        # Asked twice, by two people or after a connection was lost, it does not go back twice.
        if any(r.id == current and r.came_back for r in releases):
            return current, ""
        # What was found good last is then the current one: the newer one was never made current, and runs in part.
        begun = any(r.id in used and r.id > current and r.state in (BUILT, ACTIVE) for r in releases)
        if begun and any(r.id == current and _was_good(r) for r in releases):
            return current, ""
        found = rollback_target(releases, current)
        return found, "" if found else f"no earlier release was ever found good; there are: {known}"
    alike = [
        r
        for r in releases
        if named in (r.id, r.version) or (re.fullmatch("[0-9a-f]{7,40}", named) and r.revision.startswith(named))
    ]
    if not alike:
        return "", f"no release is {named}; there are: {known}"
    # Of several the one that was found good last; one that is named may be bad.
    best = max(alike, key=lambda r: (r.state != BAD, r.verified, r.id))
    if best.state == PREPARING:
        return "", f"release {best.id} was never built"
    return best.id, ""


def code_alone(hotfixes: Mapping[str, Mapping[str, Any]], current: str, target: str) -> bool:
    """Whether hotfixes of code and templates are all that lies between two releases: nothing else has to go back with them.

    A hotfix has no migrations and no models that need one, unless somebody forced it.

    :param hotfixes: by the id of a release what was put on its ``base_release``, and of which ``kinds``.
    :param target: the release to go back to.
    """
    passed: set[str] = set()
    while current != target:
        about = hotfixes.get(current) or {}
        kinds = set(about.get("kinds") or ())
        if kinds != {BACKEND} or about.get("forced") is not False or current in passed:
            return False
        passed.add(current)
        current = str(about.get("base_release") or "")
    return bool(passed)


def _was_good(release: Release) -> bool:
    """A run may have been killed between switching back to it and looking at it again."""
    return release.state == VERIFIED or (release.state == ACTIVE and release.verified > 0)


def rollback_target_from(wanted: str, releases: Sequence[Release], current: str) -> str:
    """Where to go back to should ``wanted`` fail, empty when nothing was ever found good.

    The current one, unless nobody has found it good: a run that was killed after its switch leaves such a one.
    """
    others = [r for r in releases if r.id != wanted]
    if any(r.id == current and _was_good(r) for r in others):
        return current
    return rollback_target(others, current)


def surplus(releases: Sequence[Release], keep: int, current: str, used: Collection[str]) -> list[str]:
    """The releases that may go, oldest first, so that ``keep`` are left.

    Never the current one, the one to go back to, a pinned one, or one that a container runs or mounts (``used``).
    Nothing goes while there is no current one: what a killed first deployment has begun is taken up again.

    :param keep: how many are to be left, at least.
    """
    if not current:
        return []
    spared = {current, rollback_target(releases, current), *used} | {r.id for r in releases if r.pinned}
    newest_first = sorted((r.id for r in releases), reverse=True)
    others = [r for r in newest_first if r not in spared]
    room = max(0, keep - (len(newest_first) - len(others)))
    return sorted(others[room:])


def problem_with_ref(ref: str) -> str:
    """Why a git ref cannot be asked for, empty when it can: it comes from outside and ends up in an argv."""
    if not ref:
        return "it was not said which version is wanted"
    if ref.startswith("-") or ".." in ref or re.search(r"[\s~^:?*\[\\\x00-\x1f\x7f]", ref) or ref.endswith(".lock"):
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
