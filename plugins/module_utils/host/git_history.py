# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies between two commits of the mirror, whether a later one has taken it back, and the commits that take it back."""

from __future__ import annotations

from collections.abc import Sequence

from ..decide.taken_back import Commit, still_brought
from .git import Git, GitFailed

#: Commits made here carry no person's name; no configuration of the owner's is needed or heeded.
IDENTITY = tuple(
    (f"GIT_{role}_{key}", value)
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "evenkeel"), ("EMAIL", "evenkeel@localhost"))
)


def has(git: Git, commit: str) -> bool:
    """Whether the mirror has a commit."""
    try:
        git.inside("cat-file", "-e", f"{commit}^{{commit}}")
    except GitFailed:
        return False
    return True


def history(git: Git, *words: str) -> list[Commit]:
    """Commits as ``git log`` chooses them by ``words``, parents before children."""
    told = git.inside("log", "--reverse", "--topo-order", "--format=%H%x00%P%x00%B%x01", *words)
    found = []
    for entry in told.split("\x01"):
        commit, _nul, rest = entry.strip("\n").partition("\x00")
        parents, _nul, message = rest.partition("\x00")
        if commit:
            found.append(Commit(commit, tuple(parents.split()), message))
    return found


def brought_again(git: Git, good: str, bad: str, new: str, serving: str = "") -> tuple[list[Commit], bool]:
    """The commits of ``good..bad`` that ``new`` still brings, oldest first, and whether contents could be compared.

    What was taken back by hand, or by one commit for all, counts as taken back.

    :param serving: a commit whose own history was accepted, since users have it.
    """
    if not (has(git, bad) and has(git, new)):
        # What the repository has forgotten nobody can bring.
        return [], True
    without = [f"^{c}" for c in (good, serving) if c and has(git, c)]
    # Where what it was left for has been forgotten, nobody knows where the rest of it began.
    only = () if has(git, good) else ("--max-count=1",)
    rolled_back = set(git.inside("rev-list", *only, bad, *without).split())
    contained = rolled_back - set(git.inside("rev-list", bad, *without, f"^{new}").split())
    if not contained:
        return [], True
    left = still_brought(contained, history(git, new, *without))
    if not left:
        return [], True
    taken = _taken_back_by_content(git, good, bad, new)
    return ([], True) if taken else (left, taken is not None)


def _taken_back_by_content(git: Git, good: str, bad: str, new: str) -> bool | None:
    """Whether ``new`` has nothing left of what ``good..bad`` changed; None where it cannot be told."""
    try:
        base = git.inside("merge-base", bad, new).strip()
        before = git.inside("merge-base", good, base).strip()
        unlike_before, unlike_base = _unlike(git, new, before), _unlike(git, new, base)
        left = _unlike(git, base, before) & unlike_before
        if not left or left - unlike_base:
            return not left
        # Files that are neither as before nor as it was: with the change taken out once more, are they still the same?
        backward = git.inside("commit-tree", f"{before}^{{tree}}", "-p", base, "-m", "x", extra=IDENTITY).strip()
        merged = git.inside("merge-tree", "--write-tree", new, backward).split("\n")[0].strip()
        return not _unlike(git, merged, new)
    except GitFailed:
        # A conflict, or a git before 2.38, which has no merge without a work tree.
        return None


def _unlike(git: Git, one: str, other: str) -> set[str]:
    """The paths at which two trees differ."""
    return set(git.inside("diff-tree", "-r", "-z", "--no-renames", "--name-only", one, other).split("\0")) - {""}


def revert(git: Git, good: str, bad: str) -> str:
    """Commits on top of ``bad`` that take back ``good..bad``, as ``git revert`` writes them; returns the last one's id.

    On top of ``bad`` itself nothing can conflict, so no work tree is needed.

    :raises GitFailed: the two have no history in common, or ``bad`` brings nothing.
    """
    base = git.inside("merge-base", good, bad).strip()
    line = history(git, "--first-parent", bad, f"^{base}")
    if not line:
        raise GitFailed(f"{bad[:10]} brings nothing that {good[:10]} has not")
    tip = bad
    if base in line[0].parents[:1]:
        for commit in reversed(line):
            tip = _commit(git, commit.parents[0], tip, f'Revert "{commit.subject}"\n\n{_says(commit)}')
        return tip
    # It came in by a merge's other side: one commit for all.
    all_of_them = history(git, bad, f"^{base}")
    says = "\n".join(f"This reverts commit {c.id}." for c in reversed(all_of_them))
    return _commit(git, base, tip, f"Revert to {base[:10]}\n\n{says}")


def _says(commit: Commit) -> str:
    if len(commit.parents) < 2:
        return f"This reverts commit {commit.id}."
    return f"This reverts commit {commit.id}, reversing\nchanges made to {commit.parents[0]}."


def _commit(git: Git, like: str, parent: str, message: str) -> str:
    """A commit with the tree of ``like`` on top of ``parent``."""
    return git.inside("commit-tree", f"{like}^{{tree}}", "-p", parent, "-m", message, extra=IDENTITY).strip()


def commands_to_revert(commits: Sequence[Commit], branch: str, bad: str) -> list[str]:
    """What a developer types for the same, newest first."""
    words = [f"git revert --no-edit {'-m 1 ' if len(c.parents) > 1 else ''}{c.id[:10]}" for c in reversed(commits)]
    return [f"git switch -c {branch} {bad[:10]}", *words, f"git push origin {branch}"]
