# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed between two configurations of a service, by key, without ever knowing a value.

A configuration is kept as keyed hashes of its leaves: enough to say that ``environment.API_URL`` differs,
useless to whoever reads the file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any

# Not part of what a container is: how it is built, and how many and how fast they are replaced.
_NOT_IN_A_CONTAINER = ("build", "x-evenkeel", "depends_on", "pull_policy", "scale", "profiles")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from _leaves(value[key], f"{path}.{key}" if path else str(key))
    else:
        yield path, json.dumps(value, sort_keys=True)


def fingerprint(service: Mapping[str, Any], key: bytes) -> dict[str, str]:
    """A resolved service definition as ``{path of a leaf: keyed hash of its value}``."""
    shown = {k: v for k, v in service.items() if k not in _NOT_IN_A_CONTAINER}
    if isinstance(shown.get("deploy"), Mapping):
        shown["deploy"] = {k: v for k, v in shown["deploy"].items() if k != "replicas"}
    return {p: hmac.new(key, v.encode(), hashlib.sha256).hexdigest()[:16] for p, v in _leaves(shown, "")}


def changed_keys(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The paths whose values differ, sorted; ``+`` before new ones and ``-`` before those that went."""
    result = [f"+{p}" for p in new if p not in old] + [f"-{p}" for p in old if p not in new]
    result += [p for p in new if p in old and old[p] != new[p]]
    return sorted(result, key=lambda p: p.lstrip("+-"))
