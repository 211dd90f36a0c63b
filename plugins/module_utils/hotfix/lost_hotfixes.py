# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hotfixes a later revision would lose: pure, git itself is asked in ``hotfix/host/git_hotfixes``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..base.truncate_list import some

#: What a revision is to a hotfix.
HAS, LACKS, UNSURE = "has", "lacks", "cannot tell"
_SHOWN = 30
# By which a commit is named at least.
_DIGITS = 7


@dataclass(frozen=True)
class Applied:
    """One hotfix that the running release has: its name, the commit it was put on, its own commit."""

    name: str
    base: str
    commit: str


def applied(entries: Any) -> tuple[Applied, ...]:
    """The hotfixes of a release's manifest, oldest first; what is torn is passed over."""
    found = []
    for entry in entries if isinstance(entries, list) else []:
        values = [str(entry.get(k) or "") for k in ("name", "base", "commit")] if isinstance(entry, Mapping) else [""]
        if all(values):
            found.append(Applied(*values))
    return tuple(found)


def in_force(entries: Any) -> tuple[Applied, ...]:
    """Those of a manifest that no later one has taken back as a whole, oldest first."""
    gone: set[str] = set()
    for entry in reversed(entries if isinstance(entries, list) else []):
        if isinstance(entry, Mapping) and str(entry.get("name")) not in gone:
            gone.update(str(entry.get("back") or "").split(","))
    return tuple(h for h in applied(entries) if h.name not in gone)


def names_of(dropped: Sequence[str], there: Sequence[Applied], built: Collection[str]) -> tuple[list[str], list[str]]:
    """The names of hotfixes that were asked to be dropped, and what names none of this host.

    :param dropped: names, or seven and more digits of a hotfix's commit.
    :param built: names of those of built files, which have no commit.
    """
    names, unknown = [], []
    for word in dropped:
        found = [h.name for h in there if h.name == word or (len(word) >= _DIGITS and h.commit.startswith(word))]
        found += [word] if word in built else []
        names += found
        unknown += [] if found else [word]
    return list(dict.fromkeys(names)), unknown


def updated_to(manifest: Mapping[str, Any]) -> str:
    """The revision of the last update, on which a release has its hotfixes; its own where it has none."""
    there = applied(manifest.get("hotfixes"))
    return there[0].base if there else str(manifest.get("revision") or "")


def refusal_of_built(version: str, name: str, paths: Sequence[str]) -> tuple[str, str]:
    """Why a version cannot be updated to whose front end is built anew, and what to do."""
    what = (
        f"{version} builds its front end anew, over the hotfix {name} of built files that is in production "
        f"({some(paths, _SHOWN)}); whether its source has the same change nobody can tell"
    )
    advice = (
        "put the change into the source of the front end, or let it go; then run the same command with "
        f'-e \'{{"update_allow_lost_hotfixes": ["{name}"]}}\''
    )
    return what, advice


def refusal(version: str, hotfix: Applied, verdict: str, diff: str) -> tuple[str, str]:
    """Why a version cannot be updated to that would lose a hotfix, and what to do.

    :param diff: what the hotfix changed.
    """
    lines = diff.strip().splitlines()
    shown = "\n".join(f"  {line}" for line in lines[:_SHOWN])
    more = f"\n  … {len(lines) - _SHOWN} lines more" if len(lines) > _SHOWN else ""
    what = (
        f"{version} lacks the hotfix {hotfix.name} ({hotfix.commit[:10]}), which is in production"
        if verdict == LACKS
        else f"whether {version} has the hotfix {hotfix.name} ({hotfix.commit[:10]}), which is in production, cannot be told: "
        "the same lines are other ones there"
    )
    advice = (
        f"merge or cherry-pick it there ({hotfix.commit[:10]}, branch hotfix/{hotfix.name}), or, where it is not wanted any "
        f'more, run the same command with -e \'{{"update_allow_lost_hotfixes": ["{hotfix.name}"]}}\''
    )
    return f"{what}:\n{shown}{more}", advice
