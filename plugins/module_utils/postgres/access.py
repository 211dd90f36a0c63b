# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who owns what in a database and who may do what with it, before and after it was restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Where a restored database is another than the one before in owner, extensions and grants.

    :param before: ``owner``, ``extensions`` (name to version), and ``relations``: name to ``owner`` and ``grants``, each
        ``ROLE PRIVILEGE``.
    """
    found = []
    if before.get("owner") != after.get("owner"):
        found.append(f"the database belongs to {after.get('owner')} instead of {before.get('owner')}")
    had, has = before.get("extensions") or {}, after.get("extensions") or {}
    for name in sorted({*had, *has}):
        if had.get(name) != has.get(name):
            found.append(
                f"extension {name} is {has.get(name) or 'not there'} instead of {had.get(name) or 'not there'}"
            )
    relations = before.get("relations") or {}
    for name, now in sorted((after.get("relations") or {}).items()):
        then = relations.get(name)
        if then is None:
            continue
        if then["owner"] != now["owner"]:
            found.append(f"{name} belongs to {now['owner']} instead of {then['owner']}")
        lost, gained = set(then["grants"]) - set(now["grants"]), set(now["grants"]) - set(then["grants"])
        found += [f"{name} is no longer granted: {', '.join(sorted(lost))}"] if lost else []
        found += [f"{name} is granted as well: {', '.join(sorted(gained))}"] if gained else []
    return found
