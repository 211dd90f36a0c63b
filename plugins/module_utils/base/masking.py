# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking secrets out of what people are shown: known values in every form, and credentials in addresses."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .secret_values import credentials_of, is_secret_name, looks_random, of_address

# Whatever a password may hold but space and quotes; where it ends only its last @ tells.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s\"'<>`]*@[^\s\"'<>`]*")
_PARAMETER = re.compile(r"([?&])([^=&#\s]+)=([^&#\s]+)")
#: Characters of a secret by which a part of it is known, where a line was cut.
_FRAGMENT = 10
#: From this length on a value is replaced wherever it stands; a shorter word or number may be part of another one.
_ANYWHERE = 8
_PLAIN_SHORT = re.compile(r"[A-Za-z]+|[0-9a-fA-F]+")


def without_credentials(text: str) -> str:
    """A text in which no address has a user or a password; ``ssh://git@host`` stays, since that user is no secret."""
    return _ADDRESS.sub(_without, text) if "@" in text else text


def shown_address(address: str) -> str:
    """A web address for messages: without user and password, parameters that are secret by name, and random pieces."""
    shown = address
    for secret in sorted(of_address(address), key=len, reverse=True):
        shown = shown.replace(secret, "…")
    shown = _PARAMETER.sub(lambda m: f"{m[1]}{m[2]}=…" if is_secret_name(m[2]) else m[0], shown)
    return without_credentials(shown)


def _without(match: re.Match[str]) -> str:
    who, after = credentials_of(match[0])
    return f"{match[0].partition('://')[0]}://…@{after}" if who else match[0]


def forms_of(value: str) -> set[str]:
    """A value, and how it may be written elsewhere: in an address, JSON, YAML, a shell's words, a page, base64."""
    forms = {value, value.replace("$", "$$"), value.replace("'", "''"), repr(value)[1:-1], html.escape(value)}
    forms |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], shlex.quote(value).strip("'")}
    for safe in ("", "/"):
        quoted = urllib.parse.quote(value, safe=safe), urllib.parse.quote_plus(value, safe=safe)
        forms |= {*quoted, *(re.sub("%..", lambda m: m[0].lower(), q) for q in quoted)}
    return {form for form in forms if form} | set(_in_base64(value))


def _in_base64(value: str) -> Iterator[str]:
    """The value in base64 at each of the three places it may have in a longer text (``user:password``)."""
    raw = value.encode("utf-8", "surrogatepass")
    for before in range(3):
        # Characters that share bits with a neighbour differ with that; they tell a few bits at most.
        first = -(-before * 8 // 6) if before else 0
        last = (before + len(raw)) * 8 // 6
        text = base64.b64encode(b"\0" * before + raw).decode()[first:last]
        if len(text) >= _ANYWHERE:
            yield text
            yield text.translate(str.maketrans("+/", "-_"))


class Mask:
    """Replaces secrets by ``<the name of their variable>``.

    :param known: secret → name.
    :param names: words that stay as they are: a secret that is part of one is none, or every message would break and tell it.
    """

    def __init__(self, known: Mapping[str, str], names: Iterable[str] = ()) -> None:
        kept = "\n".join(names)
        self._forms: dict[str, str] = {}
        for value, name in known.items():
            if not _pattern(value).search(kept):
                self._forms.update((form, name) for form in forms_of(value) if form not in self._forms)
                self._forms[value] = name
        self._labels = {f"<{name}>" for name in self._forms.values()}
        self._ends = [
            (end, form, f"<{name}>")
            for form, name in self._forms.items()
            if len(form) >= 2 * _FRAGMENT
            for end in (form[:_FRAGMENT], form[-_FRAGMENT:])
            if looks_random(end) and end not in name
        ]

    def text(self, text: str) -> str:
        """A text without any of them."""
        found = sorted((form for form in self._forms if form in text), key=len, reverse=True)
        if found:
            labels = sorted((label for label in self._labels if label in text), key=len, reverse=True)
            pattern = "|".join([*map(re.escape, labels), *(f"(?:{_pattern(form).pattern})" for form in found)])
            text = re.sub(pattern, lambda m: f"<{self._forms[m[0]]}>" if m[0] in self._forms else m[0], text)
        for end, form, label in self._ends:
            if end in text:
                text = _without_part(text, end, form, label)
        return without_credentials(text)

    def all(self, data: Any) -> Any:
        """The same of every text in dictionaries and lists; keys of our own stay."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, Mapping):
            return {self._key(key): self.all(value) for key, value in data.items()}
        if isinstance(data, (list, tuple)):
            return [self.all(value) for value in data]
        return data

    def _key(self, key: Any) -> Any:
        return self.text(key) if isinstance(key, str) and not re.fullmatch("[a-z_]+", key) else key


def _pattern(form: str) -> re.Pattern[str]:
    whole_word = len(form) < _ANYWHERE and _PLAIN_SHORT.fullmatch(form)
    quoted = re.escape(form)
    return re.compile(f"(?<![A-Za-z0-9]){quoted}(?![A-Za-z0-9])" if whole_word else quoted)


def _without_part(text: str, end: str, form: str, label: str) -> str:
    """A text without the beginning or the end of a secret: an output is cut at some length, in the middle of one too."""
    while end in text:
        first = text.index(end)
        last = first + len(end)
        known = len(end)
        if form.startswith(end):
            while known < len(form) and text[last : last + 1] == form[known]:
                last, known = last + 1, known + 1
        else:
            while known < len(form) and first > 0 and text[first - 1] == form[-known - 1]:
                first, known = first - 1, known + 1
        text = text[:first] + label + text[last:]
    return text
