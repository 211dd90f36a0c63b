# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commits that were rolled back a later revision still brings: pure, git itself is asked in ``host/git_history``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

# What `git revert` writes, of a commit and of a merge; people put more before and after it.
_REVERTS = re.compile(r"\bThis reverts commit ([0-9a-f]{7,64})\b")


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


def still_brought(rolled_back: Collection[str], history: Sequence[Commit]) -> list[Commit]:
    """The commits of ``rolled_back`` that the history has and nobody reverted, by what its messages say; oldest first.

    A revert of a revert brings back; the revert of a merge takes back all that the merge brought.

    :param history: parents before children, with the commits that were rolled back.
    """
    known = {c.id: c for c in history}
    # By commit: what it adds to what is there, and what it takes away.
    effects: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
    there: set[str] = set()
    for commit in history:
        adds: frozenset[str] = frozenset({commit.id}) & frozenset(rolled_back)
        takes: frozenset[str] = frozenset()
        for named in _REVERTS.findall(commit.message):
            reverted = next((c for c in effects if c.startswith(named)), "")
            brought, taken = _brought_by(known[reverted], known, effects) if reverted else (frozenset(), frozenset())
            adds, takes = adds | taken, takes | brought
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


def refusal(version: str, release: str, brought: Sequence[Commit], told: bool) -> tuple[str, str]:
    """Why a version cannot be updated to that still brings what was rolled back, and what to do.

    :param release: the release that was rolled back.
    :param told: whether its content could be compared.
    """
    some = ", ".join(c.named() for c in brought[:3]) + (f" and {len(brought) - 3} more" if len(brought) > 3 else "")
    unsure = (
        ""
        if told
        else "; whether their content was taken back otherwise cannot be told, later commits changed the same lines"
    )
    advice = (
        "revert them there (git revert), or, where what was wrong is mended by later commits, run the same command "
        f"with -e update_accept_bad={release}"
    )
    return f"{version} still has what was rolled back with release {release}: {some}{unsure}", advice
