# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses of a network a container may get that starts now."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.unused_addresses import unused_in


def network(subnet: str, *used: str, gateway: str = "", **more: Any) -> dict[str, Any]:
    key = "IPv6Address" if ":" in subnet else "IPv4Address"
    containers = {f"c{n}": {"Name": f"c{n}", key: f"{address}/16"} for n, address in enumerate(used)}
    config = [{"Subnet": subnet, **({"Gateway": gateway} if gateway else {})}]
    return {"Driver": "bridge", "IPAM": {"Config": config}, "Containers": containers, **more}


@pytest.mark.parametrize(
    ("found", "ranges"),
    [
        (network("172.20.0.0/29", "172.20.0.3", gateway="172.20.0.1"), ["172.20.0.2", "172.20.0.4-172.20.0.6"]),
        (network("172.20.0.0/29", gateway="172.20.0.1"), ["172.20.0.2-172.20.0.6"]),
        (network("172.20.0.0/30", "172.20.0.2", gateway="172.20.0.1"), []),
        (network("fd00::/64", "fd00::2", gateway="fd00::1"), ["fd00::3-fd00::ffff:ffff:ffff:fffe"]),
        # Where servers of the local network have addresses as well, nobody knows which are unused.
        (network("192.168.1.0/24", "192.168.1.200", Driver="macvlan"), []),
        ({"Driver": "bridge", "IPAM": {"Config": None}, "Containers": None}, []),
        ({}, []),
    ],
)
def test_what_nobody_has(found: dict[str, Any], ranges: list[str]) -> None:
    assert unused_in(found) == ranges


@given(st.sets(st.integers(1, 254)), st.integers(1, 254))
def test_each_address_is_used_or_unused(used: set[int], gateway: int) -> None:
    given_network = network("10.1.2.0/24", *(f"10.1.2.{n}" for n in used), gateway=f"10.1.2.{gateway}")
    unused: set[int] = set()
    for one in unused_in(given_network):
        first, _dash, last = one.partition("-")
        low, high = (int(ipaddress.ip_address(a)) & 255 for a in (first, last or first))
        assert not unused & set(range(low, high + 1))
        unused |= set(range(low, high + 1))
    assert unused == set(range(1, 255)) - used - {gateway}
