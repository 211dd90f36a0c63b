# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of variables that are almost those of our roles: Ansible ignores such a variable, and the default is used in silence."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

DOCUMENTATION = """
name: misspelt
short_description: Names of variables that are almost those of this collection
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
description:
  - Names that begin as those of this collection's roles do and are none of them, but almost one. Others are somebody's own.
positional: _input, own
options:
  _input:
    description: The names of variables that are set.
    type: list
    elements: str
    required: true
  own:
    description: Names that are meant as they are.
    type: list
    elements: str
    default: []
"""

EXAMPLES = """
- name: Reject misspelt variables
  ansible.builtin.assert:
    that: query('ansible.builtin.varnames', '^(app|update)_') | evenkeel.deploy.misspelt | length == 0
"""

RETURN = """
_value:
  description: For each such name a text with the one that was probably meant.
  type: list
  elements: str
  sample: ["update_verson (update_version?)"]
"""

_ROOT = Path(__file__).parents[2]
#: How alike two names are that one person may take for the other: one letter more, less or another in most of ours.
_ALIKE = 0.88
# An option of a role's own, as its argument specs have it, and any word that our roles use, those of their own included.
_OPTION = re.compile(r"^      ([a-z]+_[a-z_]+):$", re.MULTILINE)
_WORD = re.compile(r"\b[a-z]+_[a-z_]+\b")
_COMMENT = re.compile(r"^ *#.*$", re.MULTILINE)


@functools.cache
def our_names() -> tuple[frozenset[str], frozenset[str]]:
    """The names of our roles' variables: those that users set, and all words that roles and playbooks use."""
    options, words = set(), set()
    for path in (path for top in ("roles", "playbooks") for path in (_ROOT / top).rglob("*.yml")):
        text = path.read_text(encoding="utf-8")
        if path.parent.name == "meta":
            options.update(_OPTION.findall(text))
        else:
            words.update(_WORD.findall(_COMMENT.sub("", text)))
    return frozenset(options), frozenset(words | options)


def almost(names: Iterable[str], options: Collection[str], words: Collection[str]) -> list[tuple[str, str]]:
    """Names that begin as an option does and are none of our words, each with the option that it is almost.

    :param options: the names that may be set.
    :param words: names that are ours, options included.
    """
    beginnings = {option.partition("_")[0] for option in options}
    strange = sorted({n for n in names if n.partition("_")[0] in beginnings and n not in words})
    meant = ((name, difflib.get_close_matches(name, sorted(options), 1, _ALIKE)) for name in strange)
    return [(name, found[0]) for name, found in meant if found]


def misspelt(names: Iterable[str], own: Collection[str] = ()) -> list[str]:
    """See DOCUMENTATION."""
    return [f"{name} ({meant}?)" for name, meant in almost(names, *our_names()) if name not in own]


class FilterModule:
    """Ansible's way to find it."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """The filters by name."""
        return {"misspelt": misspelt}
