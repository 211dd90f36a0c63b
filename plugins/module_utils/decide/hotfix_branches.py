# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hotfix's branch is called, and what to type where it cannot be brought along for somebody: pure."""

from __future__ import annotations

import re
import string
from collections.abc import Collection, Iterable, Sequence

MERGE, CHERRY_PICK = "merge", "cherry_pick"
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
    """The version with the letter after the last that a tag or a branch has; empty where there is none left."""
    names = {name[len(PREFIX) :] if name.startswith(PREFIX) else name for name in taken}
    used = [string.ascii_lowercase.index(n[-1]) for n in names if n[:-1] == stem and n[-1] in string.ascii_lowercase]
    following = max(used, default=-1) + 1
    return f"{stem}{string.ascii_lowercase[following]}" if following < len(string.ascii_lowercase) else ""


def numbered(stem: str, branches: Iterable[str]) -> list[str]:
    """The branches that are hotfixes of that version, the last one first."""
    found = [b for b in branches if re.fullmatch(re.escape(PREFIX + stem) + "[a-z]", b)]
    return sorted(found, reverse=True)


def by_hand(target: str, branch: str, commits: Sequence[str], how: str) -> str:
    """What brings a hotfix into a branch, typed by somebody who can solve conflicts or has the right to push."""
    what = (
        f"git merge --no-ff origin/{branch}"
        if how == MERGE
        else f"git cherry-pick -x {' '.join(c[:12] for c in commits)}"
    )
    return f"git fetch origin; git switch {target}; git pull --ff-only; {what}; git push origin {target}"
