# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports, and the nft rules of this host that lead new connections to them to another container for a while.

The engine's own rules stay as they are: these come one step before them (priority -101; the engine's are at -100). What is
established goes on where it is, since the kernel translates a connection by what decided about its first packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_EVERYWHERE = ("", "0.0.0.0", "::", "[::]")
_LOOPBACK = ("127.", "::1", "[::1]", "localhost")


@dataclass(frozen=True)
class Door:
    """A port of this host that a service publishes.

    :ivar host: the address that it is published on, empty for all; ``port`` there, ``inner`` in the container.
    """

    host: str
    port: int
    inner: int

    @property
    def is_local(self) -> bool:
        """Whether only this host can knock."""
        return self.host.startswith(_LOOPBACK)

    @property
    def is_everywhere(self) -> bool:
        """Whether it is published on every address of this host."""
        return self.host in _EVERYWHERE

    @property
    def asked_at(self) -> str:
        """An address at which this host reaches it."""
        return "127.0.0.1" if self.is_everywhere or self.host == "localhost" else self.host


@dataclass(frozen=True)
class StandIn:
    """The container that is led to meanwhile.

    :ivar address: its IPv4 address in the network of its default route, from where its answers go out.
    :ivar local: port in the container → port of 127.0.0.1 at which the engine's proxy passes it on, where one listens.
    :ivar networks: subnet → its address there, for other containers of these networks.
    """

    address: str
    local: Mapping[int, int]
    networks: Mapping[str, str]


def doors_of(service: Mapping[str, Any]) -> tuple[Door, ...]:
    """The fixed TCP ports that a resolved service publishes, those of a range left out."""
    return tuple(
        Door(
            "" if str(p.get("host_ip") or "") in _EVERYWHERE else str(p["host_ip"]),
            int(p["published"]),
            int(p["target"]),
        )
        for p in _fixed(service)
        if str(p["published"]).isdigit() and str(p.get("protocol") or "tcp") == "tcp"
    )


def _fixed(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [p for p in service.get("ports") or [] if str(p.get("published") or "0") != "0"]


def reason_against(service: Mapping[str, Any], six_outside: bool) -> str:
    """Why the ports of a service cannot be handed over, empty where they can.

    :param six_outside: whether somebody outside may reach this host by IPv6.
    """
    for port in _fixed(service):
        published = str(port["published"])
        if str(port.get("protocol") or "tcp") != "tcp":
            return f"port {published}/{port['protocol']} is no TCP port, and only these are handed over"
        if not published.isdigit():
            return f"port {published} is a range"
        host = str(port.get("host_ip") or "")
        if ":" in host and host not in _EVERYWHERE:
            return f"port {published} is published on the IPv6 address {host} alone"
        if six_outside and host in _EVERYWHERE and host != "0.0.0.0":
            return (
                f"this host has an IPv6 address, at which port {published} is served by the engine's own proxy; that cannot be "
                f"handed over. Publish it on 0.0.0.0 if nobody comes by IPv6"
            )
    return ""


def on_loopback(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same ports, each at any free port of 127.0.0.1."""
    inner = sorted({door.inner for door in doors_of(service)})
    return [{"mode": "ingress", "target": port, "protocol": "tcp", "host_ip": "127.0.0.1"} for port in inner]


def rules(table: str, doors: Sequence[Door], to: StandIn, bridged: Iterable[str], seconds: float) -> str:
    """What makes new connections to these doors be led to a container, as ``nft -f`` reads it.

    :param bridged: subnets of all bridge networks. From those the container is not in, the engine leads nobody across:
        who comes from there meets the engine's own proxy, as before.
    :param seconds: after which it ends by itself.
    """
    others = sorted(set(bridged) - set(to.networks))
    ports = ", ".join(f"{p} timeout {max(1, int(seconds + 0.999))}s" for p in sorted({d.port for d in doors}))
    coming, going, back = [], [], []
    for door in doors:
        match = f"tcp dport {door.port} tcp dport @led"
        here = "fib daddr type local" if door.is_everywhere else f"ip daddr {door.asked_at}"
        local = to.local.get(door.inner)
        inside = f"redirect to :{local}" if local else f"dnat ip to {to.address}:{door.inner}"
        if door.is_everywhere or door.is_local:
            going.append(f"ip daddr {'127.0.0.0/8' if door.is_everywhere else door.asked_at} {match} {inside}")
        if door.is_local:
            continue
        for subnet, address in sorted(to.networks.items()):
            coming.append(f"ip saddr {subnet} {here} {match} dnat ip to {address}:{door.inner}")
            # Its neighbour's answers would go to it directly, and not be translated back.
            back.append(f"ip saddr {subnet} ip daddr {address} tcp dport {door.inner} ct status dnat masquerade")
        coming += [f"ip saddr {{ {', '.join(others)} }} {here} {match} return"] if others else []
        for chain in (coming, going):
            chain.append(f"meta nfproto ipv4 {here} {match} dnat ip to {to.address}:{door.inner}")
    chains = (
        ("coming", "prerouting", -101, coming),
        ("going", "output", -101, going),
        ("back", "postrouting", 99, back),
    )
    lines = [
        f"add table inet {table}",
        f"delete table inet {table}",
        f"add table inet {table}",
        f"add set inet {table} led {{ type inet_service; flags timeout; }}",
        f"add set inet {table} to {{ type ipv4_addr; }}",
        f"add element inet {table} led {{ {ports} }}",
        f"add element inet {table} to {{ {to.address} }}",
    ]
    for name, hook, priority, wanted in chains:
        lines.append(f"add chain inet {table} {name} {{ type nat hook {hook} priority {priority}; policy accept; }}")
        lines += [f"add rule inet {table} {name} {rule}" for rule in wanted]
    return "\n".join(lines) + "\n"
