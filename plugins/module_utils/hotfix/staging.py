# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a hotfix was tried on staging: pure, by contents, since names, messages and so commits may be other ones there."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..releases.choice import BACKEND, BAD, VERIFIED
from .hotfix import STATIC

ENV, MEDIA = "env", "media"
# Folders and ends of names of what runs no code of its own.
_FOLDERS = {"templates", "locale"}
_TEXTS = (".html", ".htm", ".txt", ".md", ".rst", ".po", ".mo")


@dataclass(frozen=True)
class Content:
    """What a hotfix is, whatever it is called.

    :ivar before: git's tree that it was put on, ``after`` with it; empty for what no release holds.
    :ivar sums: of what no release holds path → SHA-256 of what was given.
    :ivar env: names of variables; their values are other ones on each server.
    """

    before: str = ""
    after: str = ""
    sums: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tried:
    """One hotfix that a staging host knows.

    :ivar state: what has become of it there, as of releases; empty where its release is gone.
    :ivar verified: UNIX time at which it was found good there, 0 for never.
    """

    name: str
    content: Content
    state: str = ""
    verified: float = 0.0


@dataclass(frozen=True)
class Host:
    """A staging host and what it knows, or why it could not be asked."""

    name: str
    tried: tuple[Tried, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Verdict:
    """The host that has it, found good ``age`` seconds ago; otherwise for each host why not."""

    host: str = ""
    age: float = 0.0
    reasons: tuple[str, ...] = ()


def is_trivial(kinds: Mapping[str, Sequence[str]]) -> bool:
    """Whether it runs no code of its own: texts, templates, translations, static files, uploads."""
    every = [p for kind, paths in kinds.items() if kind not in (STATIC, MEDIA) for p in paths]
    return bool(kinds) and set(kinds) <= {BACKEND, STATIC, MEDIA} and all(map(_is_text, every))


def _is_text(path: str) -> bool:
    folders = set(posixpath.dirname(path).split("/"))
    return not path.endswith((".py", ".so")) and (path.endswith(_TEXTS) or bool(folders & _FOLDERS))


def hosts(answers: Any) -> tuple[Host, ...]:
    """What was asked of each staging host; what is torn counts as not there."""
    found = []
    for answer in answers if isinstance(answers, list) else []:
        if isinstance(answer, Mapping):
            tried = answer.get("tried")
            entries = [_tried(e) for e in tried if isinstance(e, Mapping)] if isinstance(tried, list) else []
            found.append(Host(str(answer.get("host")), tuple(entries), str(answer.get("problem") or "")))
    return tuple(found)


def _tried(entry: Mapping[str, Any]) -> Tried:
    trees, sums, env = (entry.get(key) or {} for key in ("trees", "given_sums", "env"))
    content = Content(
        str(trees.get("before") or "") if isinstance(trees, Mapping) else "",
        str(trees.get("after") or "") if isinstance(trees, Mapping) else "",
        {str(p): str(s) for p, s in sums.items()} if isinstance(sums, Mapping) else {},
        tuple(str(n) for n in env) if isinstance(env, list) else (),
    )
    moment = entry.get("verified")
    verified = float(moment) if isinstance(moment, (int, float)) else 0.0
    return Tried(str(entry.get("name") or ""), content, str(entry.get("state") or ""), verified)


def judge(wanted: Content, name: str, asked: Sequence[Host], now: float, max_age: float) -> Verdict:
    """Say which host has tried it, or for each why it does not count.

    :param now: UNIX time.
    :param max_age: seconds since it was found good there, 0 for any.
    """
    reasons = []
    for host in asked:
        if host.problem:
            reasons.append(f"{host.name} could not be asked: {host.problem}")
            continue
        same = [t for t in host.tried if _is_same(t.content, wanted)]
        good = [t for t in same if t.state == VERIFIED and t.verified > 0]
        last = max((t.verified for t in good), default=0.0)
        if good and (max_age <= 0 or now - last <= max_age):
            return Verdict(host.name, max(0.0, now - last))
        reasons.append(f"{host.name} {_why(wanted, name, host.tried, same, bool(good), now - last)}")
    return Verdict(reasons=tuple(reasons))


def _is_same(there: Content, wanted: Content) -> bool:
    if wanted.sums:
        return there.sums == wanted.sums
    return (
        bool(wanted.before)
        and (there.before, there.after) == (wanted.before, wanted.after)
        and set(wanted.env) <= set(there.env)
    )


def _why(wanted: Content, name: str, tried: Sequence[Tried], same: Sequence[Tried], good: bool, age: float) -> str:
    if good:
        return f"found it good {_hours(age)} ago, which is too long"
    if same:
        return "has taken it back" if any(t.state == BAD for t in same) else "has not found it good"
    if wanted.after and any(t.content.after == wanted.after for t in tried):
        return "has it on another revision than the one that runs here"
    if any(t.name == name for t in tried):
        return f"knows another change, or one of another revision, by the name {name}"
    return "does not know it"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(0.0, seconds) / 60:.0f} min"


def text(verdict: Verdict) -> str:
    """A note on who has tried it."""
    return f"{verdict.host} found it good {_hours(verdict.age)} ago"


def refusal(verdict: Verdict, name: str, asked: Sequence[Host]) -> tuple[str, str]:
    """Why it may not go to production yet, and what to do."""
    what = f"the hotfix {name} was not tried on staging: {'; '.join(verdict.reasons)}"
    known = ",".join(host.name for host in asked if not host.problem)
    advice = (
        f"run the same command for the staging hosts first (-e app_hosts={shlex.quote(known or 'STAGING')}), and then again; where that "
        "cannot wait, with -e 'hotfix_allow_untried=\"WHY\"', which is recorded"
    )
    return what, advice
