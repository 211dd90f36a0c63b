# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository's address without its password or token, and how git gets these without anyone's reading them in a process list."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..base.secret_values import credentials_of, looks_random

USER, PASSWORD = "EVENKEEL_GIT_USER", "EVENKEEL_GIT_PASSWORD"
# The shell that git runs it with reads the values from its environment.
_HELPER = f"""!f() {{ test "$1" = get && printf 'username=%s\\npassword=%s\\n' "${USER}" "${PASSWORD}"; }}; f"""
# What takes an address; other commands take texts that may quote one.
_REMOTE = {"fetch", "ls-remote", "push", "clone"}
_HTTP = re.compile(r"https?://", re.IGNORECASE)


class BadAddress(Exception):
    """The address has a password that cannot be given to git safely; the message has none in it."""


@dataclass(frozen=True)
class Given:
    """git's words without credentials, options that go before them, and variables of its environment."""

    words: tuple[str, ...]
    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict, repr=False)


def apart(words: Sequence[str]) -> Given:
    """Take the credentials out of the address among git's words, where there is one.

    A user alone stays, unless it looks like a token: git may have a helper of the user's own that knows his password.

    :raises BadAddress: a password in an address that is none of HTTP.
    """
    for number, word in enumerate(words if _REMOTE & {*words} else ()):
        who, rest = credentials_of(word) if "://" in word else ("", "")
        user, colon, password = who.partition(":")
        if not colon and not looks_random(user):
            continue
        scheme = word.partition("://")[0]
        if not _HTTP.match(word):
            raise BadAddress(
                f"the address of the repository ({scheme}://…@{rest}) has a password, which {scheme} cannot be given"
            )
        known = {USER: urllib.parse.unquote(user), PASSWORD: urllib.parse.unquote(password)}
        if any(re.search(r"[\x00-\x1f\x7f]", value) for value in known.values()):
            raise BadAddress(f"the user or password in {scheme}://…@{rest} has a character that none has")
        key = f"credential.{scheme}://{re.split('[/?#]', rest)[0]}.helper"
        # The empty one forgets the user's own helpers, which would be told to keep it.
        options = ("-c", f"{key}=", "-c", f"{key}={_HELPER}")
        return Given((*words[:number], f"{scheme}://{rest}", *words[number + 1 :]), options, known)
    return Given(tuple(words))
