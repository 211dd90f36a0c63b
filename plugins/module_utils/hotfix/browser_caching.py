# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For how long an nginx lets browsers keep a file that changes without another name, and in which lines it says so: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..build.asset_names import hash_in, is_page
from ..nginx.config import seconds_of
from ..nginx.syntax import Directive, UnreadableConfig

#: Seconds that are worth a note: of a page, which leads to all else, and of anything.
LONG_FOR_A_PAGE, LONG = 60.0, 3600.0
# What `expires max` says: ten years.
_MAX = 315360000.0
_AGE = re.compile(r"\b(?:s-maxage|max-age)=(\d+)", re.I)
_NOT_KEPT = re.compile(r"\b(?:no-store|no-cache)\b", re.I)


@dataclass(frozen=True)
class Kept:
    """A directive by which what is at a path is kept for seconds; ``text`` is the directive, ``at`` its file and line."""

    path: str
    seconds: float
    at: str
    text: str

    def note(self) -> str:
        """A note for people."""
        days = self.seconds / 86400
        long = (
            f"{days:,.0f} days"
            if days >= 2
            else f"{self.seconds / 3600:.1f} h"
            if days >= 1 / 24
            else f"{self.seconds:.0f} s"
        )
        only = "" if is_page(self.path) or self.path.endswith("/") else " unless its name gets a hash"
        return f"{self.at} ({self.text}) lets browsers keep {self.path} for {long}{only}: who has it sees the change only then"


def kept_long(tree: Sequence[Directive], main: str, paths: Sequence[str]) -> list[Kept]:
    """What keeps files that change for long, each directive once with the first of its paths.

    :param main: the main file's path.
    :param paths: paths of the site; one with a hash in its name is another one for each content.
    """
    found: dict[tuple[str, str], Kept] = {}
    for http in (d for d in tree if d.name == "http"):
        values = _values(http.block or ())
        for server in (d for d in http.block or () if d.name == "server"):
            blocks = [_Block(http, http.file or main), _Block(server, server.file or http.file or main)]
            for path in paths:
                least = LONG_FOR_A_PAGE if is_page(path) or path.endswith("/") else LONG
                for one in _kept(path, [*blocks, *_locations(blocks[-1], path)], values):
                    if one.seconds >= least and not hash_in(path):
                        found.setdefault((one.at, one.text), one)
    return list(found.values())


@dataclass(frozen=True)
class _Block:
    """A block, and the file that it is in."""

    directive: Directive
    file: str

    def inside(self) -> Iterator[tuple[Directive, str]]:
        """Its directives with their files; those below an ``if`` may count as well."""
        for one in self.directive.block or ():
            if one.name == "if":
                yield from _Block(one, one.file or self.file).inside()
            else:
                yield one, one.file or self.file


def _values(http: Sequence[Directive]) -> Mapping[str, tuple[str, ...]]:
    """What each ``map`` may make of a variable."""
    maps = [d for d in http if d.name == "map" and len(d.words) == 3]
    return {d.words[2].lstrip("$"): tuple(v.words[1] for v in d.block or () if len(v.words) == 2) for d in maps}


def _locations(outer: _Block, path: str) -> list[_Block]:
    """The locations that nginx takes for a path, the outer before the inner one."""
    prefix, ends, patterns = None, False, []
    for one in (d for d in outer.directive.block or () if d.name == "location" and len(d.words) > 1):
        how, what = (one.words[1], one.words[2]) if len(one.words) > 2 else ("", one.words[1])
        if how == "=" and path == what:
            return [_Block(one, one.file or outer.file)]
        if how in ("~", "~*"):
            patterns.append((one, how, what))
        elif how in ("", "^~") and path.startswith(what) and (prefix is None or len(what) > len(prefix.words[-1])):
            prefix, ends = one, how == "^~"
    chosen = prefix
    if not ends:
        chosen = next((one for one, how, what in patterns if _matches(what, path, how == "~*")), prefix)
    if chosen is None:
        return []
    block = _Block(chosen, chosen.file or outer.file)
    return [block, *_locations(block, path)]


def _matches(pattern: str, path: str, folded: bool) -> bool:
    try:
        return bool(re.search(pattern, path, re.I if folded else 0))
    except re.error:
        # PCRE knows more than Python does.
        return False


def _kept(path: str, blocks: Sequence[_Block], values: Mapping[str, Sequence[str]]) -> Iterator[Kept]:
    """What the innermost block says that says anything, of ``expires`` and of headers each for itself."""
    for name in ("expires", "add_header"):
        for block in reversed(blocks):
            there = [(d, file) for d, file in block.inside() if d.name == name]
            for one, file in there:
                seconds = _expires(one, values) if name == "expires" else _header(one)
                if seconds > 0:
                    yield Kept(path, seconds, f"{file}:{one.line}", " ".join(one.words)[:120])
            if there:
                break


def _expires(directive: Directive, values: Mapping[str, Sequence[str]]) -> float:
    word = directive.words[-1] if len(directive.words) > 1 else ""
    several = values.get(word.strip("${}"), ()) if word.startswith("$") else (word,)
    return max((_seconds(one) for one in several), default=0.0)


def _seconds(word: str) -> float:
    if word == "max":
        return _MAX
    # A time of the day comes within one.
    text = "1d" if word.startswith("@") else word.lstrip("+")
    try:
        return seconds_of(text)
    except UnreadableConfig:
        # off, epoch, what lies in the past, what nobody knows before the request.
        return 0.0


def _header(directive: Directive) -> float:
    if (
        len(directive.words) < 3
        or directive.words[1].lower() != "cache-control"
        or _NOT_KEPT.search(directive.words[2])
    ):
        return 0.0
    ages = [float(age) for age in _AGE.findall(directive.words[2])]
    return max(ages, default=_MAX if "immutable" in directive.words[2].lower() else 0.0)
