# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users were answered, by the access logs of nginx: how many requests, and how many with a status of 500 or above.

A log whose format has ``$upstream_addr`` says which container answered; another one only how it went for all.
Formats: https://nginx.org/en/docs/http/ngx_http_log_module.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..nginx.syntax import Directive

#: The format that nginx has by itself, and what a log has that names none.
_COMBINED = '$remote_addr - $remote_user [$time_local] "$request" $status '
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_NEEDED = ("status", "upstream_addr")
#: What is longer is no line of a log, or of somebody who sends that to have it read.
_LONGEST = 16 * 1024


@dataclass(frozen=True)
class AccessLog:
    """One log of nginx: where it is written, and how its lines are read.

    :ivar tells_who: whether its lines say which container answered.
    """

    path: str
    pattern: str
    tells_who: bool


@dataclass(frozen=True)
class Count:
    """Requests that were answered, and how many of them with a status of 500 or above."""

    total: int = 0
    failed: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.total + other.total, self.failed + other.failed)

    def __str__(self) -> str:
        return f"{self.failed} of {self.total}"


def logs_in(tree: Sequence[Directive]) -> tuple[AccessLog, ...]:
    """Every access log that can be read: those to syslog, with a variable for a name, or without the status cannot."""
    formats, found = {"combined": _COMBINED}, {}
    every = list(_each(tree))
    for directive in every:
        if directive.name == "log_format" and len(directive.words) > 2:
            text = [w for n, w in enumerate(directive.words[2:]) if n or not w.startswith("escape=")]
            formats[directive.words[1]] = "".join(text)
    named = [d.words[1:] for d in every if d.name == "access_log" and len(d.words) > 1]
    for path, *rest in named or [("/var/log/nginx/access.log",)]:
        name = rest[0] if rest and "=" not in rest[0] else "combined"
        if path == "off" or path.startswith("syslog:") or "$" in path or name not in formats:
            continue
        log = _log(path, formats[name])
        if log:
            found[path] = log
    return tuple(found.values())


def _each(tree: Iterable[Directive]) -> Iterator[Directive]:
    for directive in tree:
        yield directive
        yield from _each(directive.block or ())


def _log(path: str, text: str) -> AccessLog | None:
    variables = list(_VARIABLE.finditer(text))
    known = {m.group(1) or m.group(2) for m in variables}
    if "status" not in known:
        return None
    last = max(n for n, m in enumerate(variables) if (m.group(1) or m.group(2)) in _NEEDED)
    pattern, position, seen = "", 0, set()
    for match in variables[: last + 1]:
        name, after = match.group(1) or match.group(2), text[match.end() : match.end() + 1]
        pattern += re.escape(text[position : match.start()])
        # nginx escapes a quote in a value, and a value in brackets is its own time.
        value = f"[^{re.escape(after)}]*" if after in ('"', "]") else ".*?"
        value = "[0-9]{3}" if name == "status" else value
        pattern += f"(?P<{name}>{value})" if name in _NEEDED and name not in seen else f"(?:{value})"
        seen.add(name)
        position = match.end()
    return AccessLog(path, pattern + (re.escape(text[position : position + 1]) or "$"), "upstream_addr" in known)


def counted(log: AccessLog, lines: Iterable[str], addresses: Collection[str]) -> tuple[Count, Count]:
    """What was answered by containers with some addresses, and by all others.

    :param lines: of this log; what is no line of it is left out.
    :param addresses: IP addresses; where the log does not say who answered, all are others.
    """
    reads, mine, others = re.compile(log.pattern), Count(), Count()
    for line in lines:
        match = reads.match(line) if len(line) < _LONGEST else None
        if match is None:
            continue
        one = Count(1, int(match.group("status")[0] == "5"))
        if log.tells_who and _answered_by(match.groupdict()) in addresses:
            mine += one
        else:
            others += one
    return mine, others


def _answered_by(groups: Mapping[str, str | None]) -> str:
    """The address of the last upstream that was asked, the one whose answer the user has."""
    last = re.split(r"[,:] +", groups.get("upstream_addr") or "")[-1].strip()
    return re.sub(r":\d+$", "", last).strip("[]")


def is_worse(new: Count, old: Count) -> bool:
    """Whether more requests fail than the old ones let expect, by more than chance does.

    Three more than expected, and three times the square root of that (of a Poisson distribution its standard deviation).
    """
    expected = new.total * old.failed / old.total if old.total else 0.0
    return new.failed > expected + 3.0 * math.sqrt(expected) + 3.0
