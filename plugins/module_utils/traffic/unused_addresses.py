# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of networks that no container has: what is started next gets one of them, whichever."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from typing import Any

#: Networks whose addresses are containers' alone: in others (macvlan) there are servers besides.
_DRIVER = "bridge"


def unused_in(network: Mapping[str, Any]) -> list[str]:
    """Ranges of addresses of a network that nobody has, such as ``172.20.0.4-172.20.255.254``.

    :param network: as ``docker network inspect`` prints it; its gateways and containers have theirs.
    :returns: none for a network that is not of containers alone.
    """
    if network.get("Driver") != _DRIVER:
        return []
    entries = [entry for entry in ((network.get("IPAM") or {}).get("Config") or []) if entry.get("Subnet")]
    used = {str(entry.get("Gateway") or "").partition("/")[0] for entry in entries}
    for container in (network.get("Containers") or {}).values():
        used |= {str(container.get(key) or "").partition("/")[0] for key in ("IPv4Address", "IPv6Address")}
    return [found for entry in entries for found in _ranges(str(entry["Subnet"]), used - {""})]


def _ranges(subnet: str, used: Collection[str]) -> Iterator[str]:
    whole = ipaddress.ip_network(subnet, strict=False)
    taken = sorted(
        int(address)
        for address in map(ipaddress.ip_address, used)
        if address.version == whole.version and address in whole
    )
    start, last = int(whole.network_address) + 1, int(whole.broadcast_address) - 1
    kind = type(whole.network_address)
    for number in [*taken, last + 1]:
        if number > start:
            yield str(kind(start)) if number - 1 == start else f"{kind(start)}-{kind(number - 1)}"
        start = max(start, number + 1)
