# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commits put on others in the mirror, without a work tree, and whether a branch has a hotfix in whatever way it came there."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...git.host import history
from ...git.host.content import IDENTITY
from ...git.host.git import Git, GitFailed
from ..branches import MERGE, Known
from ..lost_hotfixes import LACKS, UNSURE, Applied
from . import git_hotfixes

#: What a branch is to a hotfix beside what :mod:`..decide.lost_hotfixes` says: merged or picked with other lines, or reverted.
SOLVED, REVERTED_THERE = "solved", "taken back"


class Conflict(GitFailed):
    """Two sides change the same lines, or what was asked for is nothing that can be picked."""


def is_ancestor(git: Git, older: str, newer: str) -> bool:
    """Whether one commit has another behind it; not where the mirror lacks one of them."""
    if not (history.has(git, older) and history.has(git, newer)):
        return False
    return git.inside("rev-list", "--count", older, f"^{newer}").strip() == "0"


def known(git: Git, commit: str) -> Known:
    """How a developer gets a commit: from a branch, a tag, or this host."""
    if git.inside("for-each-ref", "--count=1", "--contains", commit, "--format=x", "refs/heads").strip():
        return Known(commit)
    tag = git.inside(
        "for-each-ref", "--count=1", "--contains", commit, "--format=%(refname:strip=2)", "refs/tags"
    ).strip()
    return Known(commit, tag) if tag else Known(commit, server=f"{os.uname().nodename}:{git.mirror}")


def own(git: Git, hotfix: Applied) -> list[str]:
    """A hotfix's commits, oldest first; none where there are merges among them, which say not what they change."""
    span = (hotfix.commit, f"^{hotfix.base}")
    if git.inside("rev-list", "--merges", "--max-count=1", *span).strip():
        return []
    return git.inside("rev-list", "--reverse", "--topo-order", *span).split()


def _said_to_be_picked(git: Git, commits: Sequence[str], *span: str) -> set[str]:
    """Of commits those that one in a span says it was picked from, as ``git cherry-pick -x`` writes it."""
    if not commits:
        return set()
    report = git.inside("log", "--fixed-strings", "--grep=(cherry picked from commit", "--format=%B", *span)
    return {c for c in commits if f"(cherry picked from commit {c})" in report}


def standing(git: Git, hotfix: Applied, commits: Sequence[str], head: str) -> str:
    """What a branch is to a hotfix: one of HAS, LACKS, UNSURE, SOLVED and TAKEN_BACK.

    Contents decide. Only where they are other ones, histories say whether somebody has brought it and solved a conflict, or has
    reverted it.
    """
    verdict = git_hotfixes.verdict_on(git, hotfix, head)
    if verdict not in (LACKS, UNSURE):
        return verdict
    picked = bool(commits) and _said_to_be_picked(git, commits, head, f"^{hotfix.base}") == set(commits)
    if not picked and not is_ancestor(git, hotfix.commit, head):
        return verdict
    return SOLVED if verdict == UNSURE else REVERTED_THERE


def left_to_pick(git: Git, base: str, head: str, commits: Sequence[str]) -> list[str]:
    """Of commits, in their order, those that a branch which began at ``base`` does not say it has."""
    there = _said_to_be_picked(git, commits, head, f"^{base}")
    return [c for c in dict.fromkeys(commits) if c not in there]


def picked(git: Git, head: str, commit: str) -> str:
    """A commit on another; ``head`` itself where that has what it changes.

    :raises Conflict: it is a merge, or conflicts.
    """
    parents = git.inside("rev-list", "--parents", "--max-count=1", commit).split()[1:]
    if len(parents) != 1:
        raise Conflict(f"{commit[:12]} is a merge or a first commit, of which nobody can say what it changes")
    tree = _merged(git, parents[0], head, commit)
    if tree == _tree(git, head):
        return head
    who, mail, when, moment, text = git.inside(
        "show", "--no-patch", "--format=%an%x00%ae%x00%aI%x00%ct%x00%B", commit
    ).split("\0", 4)
    # The same commit again on a second run.
    extra = (*IDENTITY, ("GIT_AUTHOR_NAME", who.strip() or "unknown"), ("GIT_AUTHOR_EMAIL", mail), ("GIT_AUTHOR_DATE", when),
             ("GIT_COMMITTER_DATE", f"{moment} +0000"))  # fmt: skip
    message = f"{text.rstrip()}\n\n(cherry picked from commit {commit})"
    return git.inside("commit-tree", tree, "-p", head, "-m", message, extra=extra).strip()


def brought(git: Git, hotfix: Applied, commits: Sequence[str], head: str, how: str) -> str:
    """A commit on ``head`` that has the hotfix.

    :param commits: :func:`own` commits of it.
    :raises Conflict: that needs somebody who decides.
    """
    if how != MERGE and commits:
        after = head
        for commit in commits:
            after = picked(git, after, commit)
    else:
        merge = how == MERGE
        common = git.inside("merge-base", head, hotfix.commit).strip() if merge else hotfix.base
        tree = _merged(git, common, head, hotfix.commit)
        moment = git.inside("show", "--no-patch", "--format=%ct", hotfix.commit).strip()
        dates = tuple((f"GIT_{role}_DATE", f"{moment} +0000") for role in ("AUTHOR", "COMMITTER"))
        message = (
            f"Merge hotfix {hotfix.name}"
            if merge
            else f"Hotfix {hotfix.name}\n\nIts commits {hotfix.base}..{hotfix.commit}"
        )
        parents = ("-p", head, *(("-p", hotfix.commit) if merge else ()))
        after = git.inside("commit-tree", tree, *parents, "-m", message, extra=(*IDENTITY, *dates)).strip()
    # A clean merge is one, whatever else happened to these lines.
    if git_hotfixes.verdict_on(git, hotfix, after) in ((LACKS,) if how == MERGE else (LACKS, UNSURE)):
        raise Conflict("brought there it would not be whole")
    return after


def _merged(git: Git, base: str, ours: str, theirs: str) -> str:
    try:
        return git_hotfixes.merged(git, base, ours, theirs)
    except GitFailed as error:
        raise Conflict(f"{theirs[:12]} conflicts with what is there ({ours[:12]})") from error


def _tree(git: Git, commit: str) -> str:
    return git.inside("rev-parse", f"{commit}^{{tree}}").strip()
