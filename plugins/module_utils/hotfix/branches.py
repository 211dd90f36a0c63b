# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hotfix's branch is called, and what to type where it cannot be brought along for somebody: pure."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

MERGE, CHERRY_PICK = "merge", "cherry_pick"
HOWS = (MERGE, CHERRY_PICK)
PREFIX = "hotfix/"
_VERSION = re.compile(r"(v?\d+\.\d+\.\d+)([a-z]?)")


def stem_of(tags: Iterable[str], release: str) -> str:
    """The version without its letter that a hotfix of what runs is counted on.

    :param tags: names of tags that the running revision has behind it, the nearest first.
    :param release: id of the running release, whose month counts where no tag is a version.
    """
    for tag in tags:
        found = _VERSION.fullmatch(tag)
        if found:
            return found.group(1)
    moment = re.match(r"\d\d(\d\d)(\d\d)", release)
    return f"{moment.group(1)}.{moment.group(2)}.1" if moment else "0.0.1"


def next_free(stem: str, taken: Collection[str]) -> str:
    """The version with the letter after the last that a tag, a branch or a hotfix has; empty where there is none left."""
    names = {name[len(PREFIX) :] if name.startswith(PREFIX) else name for name in taken}
    used = [string.ascii_lowercase.index(n[-1]) for n in names if n[:-1] == stem and n[-1] in string.ascii_lowercase]
    following = max(used, default=-1) + 1
    return f"{stem}{string.ascii_lowercase[following]}" if following < len(string.ascii_lowercase) else ""


def numbered(stem: str, branches: Iterable[str]) -> list[str]:
    """The branches that are hotfixes of that version, the last one first."""
    found = [b for b in branches if re.fullmatch(re.escape(PREFIX + stem) + "[a-z]", b)]
    return sorted(found, reverse=True)


def targets_of(into: Sequence[str], default: str, heads: Collection[str]) -> list[str]:
    """The branches that get a hotfix; none where nobody can tell.

    :param default: what the repository calls its branch, empty where it does not say.
    """
    if into:
        return list(dict.fromkeys(into))
    main = default if default in heads else next((b for b in ("main", "master") if b in heads), "")
    return list(dict.fromkeys([main, *(["develop"] if "develop" in heads else [])])) if main else []


@dataclass(frozen=True)
class Known:
    """How a developer's clone, whose remote is ``origin``, gets a commit.

    :ivar tag: a tag that has it, where no branch does.
    :ivar server: ``host:path`` of the mirror, where the repository does not have it at all.
    """

    commit: str
    tag: str = ""
    server: str = ""

    @property
    def short(self) -> str:
        return self.commit[:12]

    def fetch(self) -> list[str]:
        """What to type first."""
        if self.server:
            return ["git fetch origin", f"git fetch {shlex.quote(self.server)} {self.commit}"]
        return ["git fetch origin", *([f"git fetch origin tag {shlex.quote(self.tag)}"] if self.tag else [])]


def to_begin(branch: str, base: Known, there: bool, picks: Sequence[str], conflict: bool = False) -> list[str]:
    """What makes a hotfix's branch and pushes it, line by line.

    :param there: whether the repository has it already.
    :param picks: commits that are still to be put on it.
    :param conflict: git will stop in the middle.
    """
    lines = base.fetch()
    lines += (
        [f"git switch {branch}", f"git merge --ff-only origin/{branch}"]
        if there
        else [f"git switch -c {branch} {base.short}"]
    )
    if picks:
        lines.append(f"git cherry-pick -x {' '.join(c[:12] for c in picks)}")
    if conflict:
        lines += ["# solve what conflicts, git add it", "git cherry-pick --continue"]
    return [*lines, f"git push origin {branch}"]


def to_work_on(branch: str) -> list[str]:
    """What follows on a branch that was begun."""
    return [
        "git fetch origin",
        f"git switch {branch}",
        "# change it, and commit",
        f"git push origin {branch}",
        to_apply(branch),
    ]


def to_apply(branch: str) -> str:
    """What brings a branch to production."""
    return f"ansible-playbook evenkeel.deploy.hotfix -e hotfix_ref={branch}"


def to_bring(
    target: str, name: str, base: str, commit: Known, picks: Sequence[str], how: str, conflict: bool = False
) -> list[str]:
    """What brings a hotfix into a branch, line by line, for who can solve conflicts or has the right to push.

    :param picks: its own commits; none where they cannot be picked one by one.
    """
    quoted = shlex.quote(target)
    lines = [*commit.fetch(), f"git switch {quoted}", f"git merge --ff-only {shlex.quote(f'origin/{target}')}"]
    end = "git commit --no-edit"
    if how == MERGE:
        lines.append(f"git merge --no-ff -m 'Merge hotfix {name}' {commit.short}")
    elif picks:
        lines.append(f"git cherry-pick -x {' '.join(c[:12] for c in picks)}")
        end = "git cherry-pick --continue"
    else:
        lines.append(f"git diff --binary {base[:12]} {commit.short} | git apply --index --3way")
        end = f"git commit -m 'Hotfix {name}'"
    if conflict:
        lines.append("# solve what conflicts, git add it")
    if conflict or (how == CHERRY_PICK and not picks):
        lines.append(end)
    return [*lines, f"git push origin {quoted}"]
