# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies between two commits of the mirror, whether a later one has taken it back, and the commits that take it back."""

from __future__ import annotations

from collections.abc import Sequence

from ..changes import Change
from ..reverted import Commit, still_brought
from . import content
from .content import IDENTITY
from .git import Git, GitFailed


def has(git: Git, commit: str) -> bool:
    """Whether the mirror has a commit."""
    try:
        git.inside("cat-file", "-e", f"{commit}^{{commit}}")
    except GitFailed:
        return False
    return True


def between(git: Git, before: str, after: str) -> str:
    """How many commits lie between two, in words: ``14 commits``, ``3 commits back``, ``14 commits, and 1 is left out``.

    :returns: empty where the mirror does not have both, or they are one.
    """
    if before == after or not (has(git, before) and has(git, after)):
        return ""
    left, more = map(int, git.inside("rev-list", "--left-right", "--count", f"{before}...{after}").split())
    if not more:
        return f"{_commits(left)} back"
    return f"{_commits(more)}, and {left} {'is' if left == 1 else 'are'} left out" if left else _commits(more)


def changes_between(git: Git, base: str, commit: str) -> list[Change]:
    """What a commit changes, file by file; a renamed one is gone and new."""
    words = ("diff-tree", "-r", "-z", "--no-renames", "--no-ext-diff", "--raw", "--numstat", "--no-abbrev")
    parts = git.inside(*words, base, commit).split("\0")
    raw: list[tuple[str, str]] = []
    while parts and parts[0].startswith(":"):
        # :100644 100644 <blob> <blob> M, then its path; the numbers of all come after.
        raw.append((parts.pop(0), parts.pop(0)))
    numbers: dict[str, tuple[int, ...]] = {}
    for entry in parts:
        if entry.count("\t") >= 2:
            *counts, name = entry.split("\t", 2)
            numbers[name] = tuple(int(n) if n.isdecimal() else -1 for n in counts)
    found = []
    for about, path in raw:
        before, after, _old, _new, letter = about.lstrip(":").split(" ")
        added, removed = numbers.get(path, (0, 0))
        found.append(Change(path, letter[:1], after, before, added, removed))
    return found


def _commits(number: int) -> str:
    return f"{number} commit{'' if number == 1 else 's'}"


def history(git: Git, *words: str) -> list[Commit]:
    """Commits as ``git log`` chooses them by ``words``, parents before children."""
    report = git.inside("log", "--reverse", "--topo-order", "--format=%H%x00%P%x00%B%x01", *words)
    found = []
    for entry in report.split("\x01"):
        commit, _nul, rest = entry.strip("\n").partition("\x00")
        parents, _nul, message = rest.partition("\x00")
        if commit:
            found.append(Commit(commit, tuple(parents.split()), message))
    return found


def brought_again(git: Git, good: str, bad: str, new: str, serving: str = "") -> tuple[list[Commit], bool]:
    """The commits of ``good..bad`` that ``new`` still brings, oldest first, and whether contents could be compared.

    Contents decide: what was taken back by hand, or by one commit for all, counts as taken back, a commit that says it
    reverts another counts only where that is seen, and what is there under another id is there.

    :param serving: a commit whose own history was accepted, since users have it.
    """
    if not (has(git, bad) and has(git, new)):
        # What the repository has forgotten nobody can bring; what it has not told yet, whoever calls has to say.
        return [], True
    known = [c for c in (good, serving) if c and has(git, c)]
    without = [f"^{c}" for c in known]
    # Where what it was left for has been forgotten, nobody knows where the rest of it began.
    only = () if has(git, good) else ("--max-count=1",)
    line = history(git, *only, bad, *without)
    rolled_back = {c.id for c in line}
    contained = rolled_back - set(git.inside("rev-list", bad, *without, f"^{new}").split())
    came = history(git, new, *without)
    again = content.under_other_ids(git, line, [c for c in came if c.id not in rolled_back])
    doubted = content.doubted(git, came) if contained or again else set()
    left = content.not_gone(git, still_brought(contained | again, came, doubted), new)
    if left:
        taken = content.is_reverted(git, good, bad, new)
        # Of what came under another id the line to ``bad`` says nothing.
        return ([], True) if taken and not again else (left, taken is not None)
    # All of it that was there was seen to be taken back; else it may have come with others, in one commit.
    return ([] if contained or again else content.there(git, line, new, known)), True


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
