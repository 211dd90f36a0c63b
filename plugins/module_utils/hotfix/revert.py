# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hotfixes of a release are taken back, and why one cannot be: pure, git puts it on what runs in ``hotfix/host/revert``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .lost_hotfixes import applied


class NotBack(ValueError):
    """It cannot be taken back; ``advice`` is what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice


@dataclass(frozen=True)
class Part:
    """What is taken back of one hotfix: these files of it, or all where there are none."""

    name: str
    files: tuple[str, ...] = ()


def taken_back(entries: Any) -> set[str]:
    """Names of those hotfixes of a manifest that take others back."""
    return {
        str(e.get("name"))
        for e in (entries if isinstance(entries, list) else [])
        if isinstance(e, Mapping) and (e.get("back") or e.get("back_part"))
    }


def due(entries: Any, touched: Mapping[str, Sequence[str]], name: str, files: Sequence[str]) -> list[Part]:
    """What is taken back, the newest first.

    :param entries: the hotfixes of the release's manifest, oldest first.
    :param touched: for each hotfix its files.
    :param name: the hotfix; without it each file comes back to what it was before the last one that changed it.
    :raises NotBack: there is no such hotfix, or none of such a file.
    """
    names, backs = [h.name for h in applied(entries)], taken_back(entries)
    if name:
        if name not in names:
            known = ", ".join(names) or "none"
            raise NotBack(f"no hotfix of code that is in production is called {name}", f"there are: {known}")
        foreign = [f for f in files if f not in touched.get(name, ())]
        if foreign:
            has = ", ".join(touched.get(name, ()))
            raise NotBack(f"the hotfix {name} has not changed {', '.join(foreign)}", f"it has changed: {has}")
        return [Part(name, tuple(files))]
    parts: dict[str, list[str]] = {}
    for path in files:
        # What has brought a file back is no change of it: asked again, it would come once more.
        last = next((n for n in reversed(names) if n not in backs and path in touched.get(n, ())), "")
        if not last:
            every = sorted({p for n in names for p in touched.get(n, ())})
            raise NotBack(f"no hotfix in production has changed {path}", f"there are: {', '.join(every) or 'none'}")
        parts.setdefault(last, []).append(path)
    return [Part(n, tuple(parts[n])) for n in reversed(names) if n in parts]


def name_of(parts: Sequence[Part]) -> str:
    """What the hotfix is called that takes these back."""
    files = sorted(f for part in parts for f in part.files)
    end = f"-{hashlib.sha256(' '.join(files).encode()).hexdigest()[:8]}" if files else ""
    return f"back-{parts[0].name[: 64 - len('back-') - len(end)].rstrip('.')}{end}"


def conflict(part: Part, entries: Any, touched: Mapping[str, Sequence[str]]) -> NotBack:
    """Why one cannot be taken back that others were put on."""
    names = [h.name for h in applied(entries)]
    mine = set(part.files or touched.get(part.name, ()))
    later = [n for n in names[names.index(part.name) + 1 :] if mine & set(touched.get(n, ()))]
    if not later:
        return NotBack(
            f"the hotfix {part.name} cannot be taken out of what runs: the same lines are other ones there",
            "bring the file as it is to be: ansible-playbook evenkeel.deploy.hotfix -e hotfix_files=PATH",
        )
    last = later[-1]
    same = sorted(mine & set(touched.get(last, ())))
    return NotBack(
        f"the hotfix {part.name} cannot be taken back before {' and '.join(later)}, put on it later, by which the same lines of "
        f"{', '.join(same)} are other ones",
        f"take the later one back first: ansible-playbook evenkeel.deploy.rollback -e rollback_hotfix={last}",
    )
