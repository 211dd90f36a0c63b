# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a firewall drops what comes to a port that nobody allowed, from what nft and ip6tables-legacy print."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.input_chains import drops, legacy_drops, of_input


def chain(family: str = "ip6", table: str = "filter", **more: str) -> dict[str, Any]:
    return {"chain": {"family": family, "table": table, "name": "INPUT", "type": "filter", "hook": "input", **more}}


def rule(*expressions: dict[str, Any]) -> dict[str, Any]:
    return {"rule": {"expr": list(expressions)}}


PORT = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}}
TRANSLATED = {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}
COUNTER = {"counter": {"packets": 0, "bytes": 0}}
ACCEPT, DROP, REJECT = {"accept": None}, {"drop": None}, {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([chain(policy="accept")], False),
        ([chain(policy="drop")], True),
        ([chain(policy="drop"), rule(PORT, ACCEPT), rule({"jump": {"target": "ufw6-before-input"}})], True),
        ([chain(policy="drop"), rule(COUNTER, ACCEPT)], False),
        ([chain(policy="accept"), rule(PORT, DROP)], False),
        ([chain(policy="accept"), rule(PORT, ACCEPT), rule(COUNTER, REJECT)], True),
        ([chain(policy="accept"), rule(TRANSLATED, ACCEPT), rule(REJECT)], False),
        ([chain(policy="drop"), rule({"match": {**TRANSLATED["match"], "right": {"set": ["snat", "dnat"]}}}, COUNTER, ACCEPT)], False),
        ([chain(policy="drop"), rule({"xt": None}, ACCEPT)], True),
        ([chain(policy="accept"), rule(COUNTER)], False),
    ],
)  # fmt: skip
def test_a_rule_for_everything_decides_and_else_the_policy(listed: list[dict[str, Any]], expected: bool) -> None:
    assert drops(listed) is expected


def test_chains_that_ipv6_packets_to_this_host_pass() -> None:
    listed = [
        {"metainfo": {}},
        chain(),
        chain("inet", "firewalld"),
        chain("ip"),
        chain("inet", "evenkeelports_61"),
        {"chain": {"family": "ip6", "table": "filter", "name": "ufw6-before-input"}},
        chain("ip6", "nat", type="nat"),
        chain("inet", "mine", hook="forward"),
    ]
    assert of_input(listed) == [("ip6", "filter", "INPUT"), ("inet", "firewalld", "INPUT")]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["-P INPUT ACCEPT"], False),
        (["-P INPUT DROP", "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT"], True),
        (["-P INPUT ACCEPT", "-A INPUT -j REJECT --reject-with icmp6-adm-prohibited"], True),
        (["-P INPUT DROP", "-A INPUT -j ACCEPT"], False),
        ([], False),
    ],
)
def test_the_same_of_ip6tables_legacy(rules: list[str], expected: bool) -> None:
    assert legacy_drops(rules) is expected
