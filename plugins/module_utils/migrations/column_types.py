# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's types: whether every value of one is a value of another, what that costs, and what fits an index."""

from __future__ import annotations

import re

_WHOLE = {"smallint": 1, "integer": 2, "bigint": 3}
#: Bytes that one entry of a B-tree may have.
ENTRY_LIMIT = 2704
_UNBOUNDED = (
    "text",
    "jsonb",
    "json",
    "bytea",
    "hstore",
    "citext",
    "xml",
    "tsvector",
    "varchar",
    "geometry",
    "geography",
)


def _parts(name: str) -> tuple[str, tuple[int, ...]]:
    found = re.match(r"([a-z ]+?)\s*(?:\(([\d, ]+)\))?$", name.strip().lower())
    if not found:
        return name, ()
    numbers = tuple(int(n) for n in found.group(2).split(",")) if found.group(2) else ()
    base = {"character varying": "varchar", "decimal": "numeric"}.get(found.group(1), found.group(1))
    return base, numbers


def _text(name: str) -> float | None:
    """How many characters it holds, None where it is no text."""
    base, numbers = _parts(name)
    if base == "text":
        return float("inf")
    if base == "varchar":
        return float(numbers[0]) if numbers else float("inf")
    return None


def relation(old: str, new: str) -> str:
    """``same``, ``widens``, ``narrows`` or ``other``: neither code works with both."""
    if old == new:
        return "same"
    (a, a_numbers), (b, b_numbers) = _parts(old), _parts(new)
    if a in _WHOLE and b in _WHOLE:
        return "widens" if _WHOLE[a] < _WHOLE[b] else "narrows"
    was, will = _text(old), _text(new)
    if was is not None and will is not None:
        return "same" if was == will else "widens" if was < will else "narrows"
    if a == b == "numeric" and len(a_numbers) == len(b_numbers) == 2 and a_numbers[1] == b_numbers[1]:
        return "widens" if a_numbers[0] < b_numbers[0] else "narrows"
    return "other"


def may_lose(old: str, new: str) -> bool:
    """Whether a value may become another one by the cast, or none at all."""
    return relation(old, new) in ("narrows", "other")


def rewrites(old: str, new: str) -> bool:
    """Whether PostgreSQL reads or writes every row for it."""
    if relation(old, new) != "widens":
        return relation(old, new) != "same"
    return _parts(old)[0] in _WHOLE


def entry_bytes(name: str) -> int | None:
    """The most that a value takes in an index, None for no bound."""
    if name.endswith("]"):
        return None
    base, numbers = _parts(name)
    if base == "varchar" and numbers:
        return 4 * numbers[0] + 4
    return None if base in _UNBOUNDED else 32


def may_reject(types: list[str], method: str) -> bool:
    """Whether an index on these makes rows impossible that are possible without it: entries have a limit."""
    if method == "hash":
        return False
    if method == "gin":
        # Elements of an array are entries; keys and words of the other types are cut or hashed.
        elements = [t[: t.rindex("[")] for t in types if t.endswith("]")]
        return any((entry_bytes(t) or ENTRY_LIMIT + 1) > ENTRY_LIMIT for t in elements)
    sizes = [entry_bytes(t) for t in types]
    return any(s is None for s in sizes) or sum(s or 0 for s in sizes) > ENTRY_LIMIT - 100
