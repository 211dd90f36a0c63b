# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the firewall of this host drops what comes to a port that nobody allowed, as nft and ip6tables-legacy tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: What says nothing about whom a rule is for.
_SILENT = {"counter", "log", "limit"}


def of_input(listed: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Family, table and name of every chain that all IPv6 packets to this host pass, of ``nft -j list chains``."""
    chains = [entry["chain"] for entry in listed if "chain" in entry]
    asked = [
        c for c in chains if c.get("hook") == "input" and c.get("type") == "filter" and c["family"] in ("inet", "ip6")
    ]
    return [(c["family"], c["table"], c["name"]) for c in asked if not c["table"].startswith("evenkeel")]


def drops(listed: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a chain drops a translated packet that no rule for its port lets in, of ``nft -j list chain``.

    A rule for all packets decides, or one for all that were translated (firewalld has one); else the chain's policy.
    """
    policy = ""
    for entry in listed:
        policy = str(entry.get("chain", {}).get("policy") or policy)
        said = [e for e in entry.get("rule", {}).get("expr") or [] if not _SILENT & set(e)]
        if len(said) == 2 and _is_about_translated(said[0]):
            said = said[1:]
        if len(said) == 1 and {"accept", "drop", "reject"} & set(said[0]):
            return "accept" not in said[0]
    return policy == "drop"


def _is_about_translated(expression: Mapping[str, Any]) -> bool:
    match = expression.get("match") or {}
    right = match.get("right")
    states = right.get("set") if isinstance(right, Mapping) else [right]
    left = match.get("left")
    return isinstance(left, Mapping) and (left.get("ct") or {}).get("key") == "status" and "dnat" in (states or [])


def legacy_drops(rules: Sequence[str]) -> bool:
    """The same of ``ip6tables-legacy -S INPUT``."""
    for rule in rules:
        words = rule.split()
        if words[:3] in (["-A", "INPUT", "-j"],) and words[3] in ("ACCEPT", "DROP", "REJECT"):
            return words[3] != "ACCEPT"
    return "-P INPUT DROP" in rules
