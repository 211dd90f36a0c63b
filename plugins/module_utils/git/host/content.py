# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What commits do to contents, whatever they are called: whether a change is there, is gone, or is that of another commit.

Everything is asked of the mirror, which has no work tree: a merge is one of trees (``git merge-tree``, Git 2.38).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..reverted import Commit, claims, identity_of
from .git import Git, GitFailed

#: Commits made here carry no person's name; no configuration of the owner's is needed or heeded.
IDENTITY = tuple(
    (f"GIT_{role}_{key}", value)
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "evenkeel"), ("EMAIL", "evenkeel@localhost"))
)
#: Commits whose changes are looked for one by one.
_MOST = 50
_DIFF = ("--binary", "--full-index", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv", "--unified=3")


def content_of(git: Git, commit: str, path: str) -> bytes | None:
    """A file of a commit, None where it has none; only for looking at it: what is no UTF-8 is replaced."""
    try:
        return git.inside("cat-file", "blob", f"{commit}:{path}").encode("utf-8", "replace")
    except GitFailed:
        return None


def unlike(git: Git, one: str, other: str) -> set[str]:
    """The paths at which two trees differ."""
    return set(git.inside("diff-tree", "-r", "-z", "--no-renames", "--name-only", one, other).split("\0")) - {""}


def _identity(git: Git, before: str, after: str) -> str:
    return identity_of(git.inside("diff-tree", "-r", "-p", *_DIFF, before, after))


def under_other_ids(git: Git, rolled_back: Sequence[Commit], others: Sequence[Commit]) -> set[str]:
    """Of other commits those that make the change of one that was rolled back, or of all of these at once."""
    lines = [c for c in rolled_back if len(c.parents) == 1]
    candidates = [c for c in others if len(c.parents) == 1]
    if not lines or not candidates:
        return set()
    wanted = set(_identities(git, lines).values())
    first, last = rolled_back[0], rolled_back[-1]
    if first.parents:
        wanted.add(_identity(git, first.parents[0], last.id))
    return {c for c, identity in _identities(git, candidates).items() if identity and identity in wanted}


def _identities(git: Git, commits: Sequence[Commit]) -> dict[str, str]:
    """What each of these commits changes; one question for all, since there may be thousands."""
    found: dict[str, str] = {}
    for at in range(0, len(commits), 500):
        ids = [c.id for c in commits[at : at + 500]]
        report = git.inside("log", "--no-walk=unsorted", "--format=%x01%H", "-p", *_DIFF, *ids)
        for entry in report.split("\x01")[1:]:
            commit, _newline, diff = entry.partition("\n")
            # A diff may hold that byte itself: such a change is not recognized, and no other is taken for it.
            if commit.strip() in ids:
                found[commit.strip()] = identity_of(diff)
    return found


def doubted(git: Git, history: Sequence[Commit]) -> set[tuple[str, str]]:
    """Pairs of a commit and one that it says it reverts, of which it is not seen that its change is gone then."""
    known = {c.id: c for c in history}
    found = set()
    for revert, reverted in claims(history).items():
        mine = [known[c] for c in reverted if known[c].parents]
        found |= {(revert, c) for c in reverted if not known[c].parents}
        if _is_as_before(git, revert, sorted(mine, key=list(known.values()).index)):
            continue
        found |= {(revert, c.id) for c in mine if not _takes_back(git, known[revert], c)}
    return found


def _is_as_before(git: Git, revert: str, reverted: Sequence[Commit]) -> bool:
    """Whether every path that these commits (oldest first) changed is as it was before them."""
    before: dict[str, str] = {}
    for commit in reverted:
        for path in unlike(git, commit.parents[0], commit.id):
            before.setdefault(path, commit.parents[0])
    return bool(before) and not any(
        {path for path, at in before.items() if at == parent} & unlike(git, revert, parent)
        for parent in set(before.values())
    )


def _takes_back(git: Git, revert: Commit, reverted: Commit) -> bool:
    """Whether a commit is the inverse of another, or leaves nothing of it."""
    parent = reverted.parents[0]
    if revert.parents and _identity(git, revert.id, revert.parents[0]) == _identity(git, parent, reverted.id):
        return True
    return _merged(git, reverted.id, revert.id, parent) is True


def not_gone(git: Git, commits: Sequence[Commit], new: str) -> list[Commit]:
    """Those of which it is not plain to see that ``new`` has nothing of their change."""
    if len(commits) > _MOST:
        return list(commits)
    return [c for c in commits if len(c.parents) != 1 or _merged(git, c.id, new, c.parents[0]) is not True]


def there(git: Git, line: Sequence[Commit], new: str, known: Collection[str]) -> list[Commit]:
    """Of commits (oldest first) those whose whole change is in ``new``, and was not in what is known to be good.

    Only where it is plain to see: whoever changed the same lines otherwise has not brought it.
    """
    if len(line) > _MOST:
        # All at once then.
        line = [Commit(line[-1].id, line[0].parents[:1], line[-1].message)]
    return [
        c
        for c in line
        if len(c.parents) == 1
        and not _only_takes_back(git, c, new)
        and _merged(git, c.parents[0], new, c.id) is True
        and not any(_merged(git, c.parents[0], one, c.id) is True for one in known)
    ]


def _only_takes_back(git: Git, commit: Commit, new: str) -> bool:
    """Whether a commit leaves all that it changes as ``new`` had it before the two parted: nobody brings that by it."""
    try:
        parted = git.inside("merge-base", commit.id, new).strip()
    except GitFailed:
        return False
    return not unlike(git, commit.parents[0], commit.id) & unlike(git, parted, commit.id)


def _merged(git: Git, base: str, ours: str, theirs: str) -> bool | None:
    """Whether what leads from ``base`` to ``theirs`` changes nothing in ``ours``; None where that cannot be told."""
    try:
        changed = unlike(git, base, theirs)
        if not changed:
            return None
        if not changed & unlike(git, ours, theirs):
            return True
        root = git.inside("commit-tree", f"{base}^{{tree}}", "-m", "x", extra=IDENTITY).strip()
        sides = [
            git.inside("commit-tree", f"{c}^{{tree}}", "-p", root, "-m", "x", extra=IDENTITY).strip()
            for c in (ours, theirs)
        ]
        tree = git.inside("merge-tree", "--write-tree", *sides).split("\n")[0].strip()
        return not unlike(git, tree, ours)
    except GitFailed:
        # A conflict, or a git before 2.38, which has no merge without a work tree.
        return None


def is_reverted(git: Git, good: str, bad: str, new: str) -> bool | None:
    """Whether ``new`` has nothing left of what ``good..bad`` changed; None where it cannot be told."""
    try:
        base = git.inside("merge-base", bad, new).strip()
        before = git.inside("merge-base", good, base).strip()
        unlike_before, unlike_base = unlike(git, new, before), unlike(git, new, base)
    except GitFailed:
        return None
    left = unlike(git, base, before) & unlike_before
    if not left or left - unlike_base:
        return not left
    # Files that are neither as before nor as it was: with the change taken out once more, are they still the same?
    return _merged(git, base, new, before)
