# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commits that were rolled back a later revision still brings: pure, git itself is asked in ``git/host/history``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..base.truncate_list import some

# What `git revert` writes, of a commit and of a merge; people put more before and after it.
_REVERTS = re.compile(r"\bThis reverts commit ([0-9a-f]{7,64})\b")
# By which a commit is named at least.
_DIGITS = 7


@dataclass(frozen=True)
class Commit:
    """One commit: full id, ids of its parents in their order, its whole message."""

    id: str
    parents: tuple[str, ...]
    message: str

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.strip().partition("\n")[0]

    def named(self) -> str:
        """As people name it."""
        return f"{self.id[:10]} {self.subject[:60]!r}"


def claims(history: Sequence[Commit]) -> dict[str, list[str]]:
    """By commit, the commits of the history before it that its message says it reverts."""
    before: list[str] = []
    found: dict[str, list[str]] = {}
    for commit in history:
        named = _REVERTS.findall(commit.message)
        reverted = [next((c for c in before if c.startswith(n)), "") for n in named]
        if any(reverted):
            found[commit.id] = [c for c in reverted if c]
        before.append(commit.id)
    return found


# Where a change stands in its file, and what Git calls its contents: both differ for the same change elsewhere.
_PLACE = re.compile(r"^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@.*$|^index [0-9a-f]+\.\.[0-9a-f]+.*\n", re.MULTILINE)


def identity_of(diff: str) -> str:
    """What a change is, wherever in its files it stands: as ``git patch-id``, but that whitespace counts; empty for none.

    :param diff: ``git diff --binary``.
    """
    text = _PLACE.sub("", diff).strip()
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def still_brought(
    rolled_back: Collection[str],
    history: Sequence[Commit],
    doubted: Collection[tuple[str, str]] = (),
) -> list[Commit]:
    """The commits of ``rolled_back`` that the history has and nobody reverted, by what its messages say; oldest first.

    A revert of a revert brings back; the revert of a merge takes back all that the merge brought.

    :param history: parents before children, with the commits that were rolled back.
    :param doubted: pairs of a commit and one that it says it reverts, of which that was not seen.
    """
    said = claims(history)
    known = {c.id: c for c in history}
    # By commit: what it adds to what is there, and what it takes away.
    effects: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
    there: set[str] = set()
    for commit in history:
        adds: frozenset[str] = frozenset({commit.id}) & frozenset(rolled_back)
        takes: frozenset[str] = frozenset()
        for reverted in said.get(commit.id, ()):
            brought, taken = _brought_by(known[reverted], known, effects)
            # That it brings something back is believed of whoever says so.
            adds, takes = adds | taken, takes | (frozenset() if (commit.id, reverted) in doubted else brought)
        effects[commit.id] = (adds, takes)
        there = (there | adds) - takes
    return [c for c in history if c.id in there]


def _brought_by(
    commit: Commit,
    known: Mapping[str, Commit],
    effects: Mapping[str, tuple[frozenset[str], frozenset[str]]],
) -> tuple[frozenset[str], frozenset[str]]:
    """What a commit added and took away; of a merge, all that came in by its later parents."""
    adds, takes = effects[commit.id]
    if len(commit.parents) < 2:
        return adds, takes
    before = _ancestors(commit.parents[:1], known)
    for other in _ancestors(commit.parents[1:], known) - before:
        adds, takes = adds | effects[other][0], takes | effects[other][1]
    return adds, takes


def _ancestors(starts: Sequence[str], known: Mapping[str, Commit]) -> set[str]:
    found: set[str] = set()
    waiting = list(starts)
    while waiting:
        one = waiting.pop()
        if one in known and one not in found:
            found.add(one)
            waiting.extend(known[one].parents)
    return found


def is_named(named: str, release: str, revision: str) -> bool:
    """Whether somebody has named this release: by its id, or by seven and more digits of its commit."""
    return bool(named) and (release == named or (len(named) >= _DIGITS and revision.startswith(named)))


def refusal(version: str, release: str, brought: Sequence[Commit], report: bool) -> tuple[str, str]:
    """Why a version cannot be updated to that still brings what was rolled back, and what to do.

    :param release: the release that was rolled back.
    :param report: whether its content could be compared.
    """
    named = some([c.named() for c in brought], 3)
    unsure = (
        "" if report else "; whether their content was taken back cannot be told, other commits changed the same lines"
    )
    advice = (
        "revert them there (git revert), or, where what was wrong is mended by later commits, run the same command "
        f"with -e update_allow_bad={release}"
    )
    return f"{version} still has what was rolled back with release {release}: {named}{unsure}", advice
