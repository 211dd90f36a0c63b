# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports, and the nft rules of this host that lead new connections to them to another container for a while.

The engine's own rules stay as they are: these come one step before them (priority -101; the engine's are at -100). What is
established goes on where it is, since the kernel translates a connection by what decided about its first packet.

Where nothing else needs that, as it often is with IPv6, the kernel remembers no connection before these rules are there, and none once
they are gone: so only what begins one is matched, and chains stay until all who were led have left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: SYN and no ACK, as nft says it: what is established goes on.
BEGINS = "tcp flags & (syn | ack) == syn"
_EVERYWHERE = ("", "0.0.0.0", "::")


@dataclass(frozen=True)
class Door:
    """A port of this host that a service publishes.

    :ivar host: the address that it is published on, empty for all of both families; ``port`` there, ``inner`` in the container.
    """

    host: str
    port: int
    inner: int

    @property
    def is_local(self) -> bool:
        """Whether only this host can knock."""
        return self.host.startswith("127.") or self.host in ("::1", "localhost")

    @property
    def is_everywhere(self) -> bool:
        """Whether it is published on every address of this host, of one family or both."""
        return self.host in _EVERYWHERE

    @property
    def is_six(self) -> bool:
        """Whether users may knock by IPv6."""
        return not self.host or ":" in self.host

    @property
    def is_six_outside(self) -> bool:
        """Whether others than this host may knock by IPv6."""
        return self.is_six and not self.is_local

    @property
    def is_four(self) -> bool:
        """Whether users may knock by IPv4."""
        return ":" not in self.host

    @property
    def asked_at(self) -> str:
        """An address at which this host reaches it."""
        return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "::": "::1"}.get(
            self.host, self.host
        )


@dataclass(frozen=True)
class Way:
    """How a container is reached by one family of addresses.

    :ivar address: its own in the network of its default route, from where its answers go out; empty for none.
    :ivar local: port in the container → port of this host at which the engine's proxy passes it on, where one listens.
    :ivar networks: subnet → its address there, for other containers of these networks.
    """

    address: str = ""
    local: Mapping[int, int] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StandIn:
    """The container that is led to meanwhile, by IPv4 and by IPv6."""

    four: Way
    six: Way = Way()


def doors_of(service: Mapping[str, Any]) -> tuple[Door, ...]:
    """The fixed TCP ports that a resolved service publishes, those of a range left out."""
    return tuple(
        Door(_host_of(p), int(p["published"]), int(p["target"]))
        for p in _fixed(service)
        if str(p["published"]).isdecimal() and str(p.get("protocol") or "tcp") == "tcp"
    )


def _host_of(port: Mapping[str, Any]) -> str:
    return str(port.get("host_ip") or "").strip("[]")


def _fixed(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [p for p in service.get("ports") or [] if str(p.get("published") or "0") != "0"]


def reason_against(service: Mapping[str, Any], six_closed: str) -> str:
    """Why the ports of a service cannot be handed over, empty where they can.

    :param six_closed: which chain of this host drops what comes by IPv6 to a port that nobody allowed, empty for none.
    """
    for port in _fixed(service):
        published = str(port["published"])
        if str(port.get("protocol") or "tcp") != "tcp":
            return f"port {published}/{port['protocol']} is no TCP port, and only these are handed over"
        if not published.isdecimal():
            return f"port {published} is a range"
    for door in doors_of(service):
        if six_closed and door.is_six_outside:
            return (
                f"port {door.port} is published by IPv6 as well, and {six_closed} drops what would be led to a surge container. "
                f"Publish it on 0.0.0.0 if nobody comes by IPv6"
            )
    return ""


def beside(service: Mapping[str, Any], six: bool) -> list[dict[str, Any]]:
    """The same ports where a surge container has them: each at any free port of 127.0.0.1, and one for those who come by IPv6.

    Who comes by IPv6 to a container without such an address is passed on by a process of the engine, which listens where the port is
    published. What is led there from outside does not reach ::1 (Linux takes that from nowhere else).

    :param six: whether somebody may come by IPv6 to what is published on all addresses.
    """
    doors = doors_of(service)
    ports = [(door.inner, "127.0.0.1") for door in doors]
    led = [d for d in doors if d.is_six and (d.host or six)]
    ports += [(d.inner, "::1" if all(e.is_local for e in led if e.inner == d.inner) else "::") for d in led]
    return [{"mode": "ingress", "target": inner, "protocol": "tcp", "host_ip": ip} for inner, ip in sorted(set(ports))]


def stands_in(inspection: Mapping[str, Any]) -> bool:
    """Whether a container publishes at free ports alone, as :func:`beside` has it, where its service publishes fixed ones."""
    every = ((inspection.get("HostConfig") or {}).get("PortBindings") or {}).values()
    bindings = [binding for some in every for binding in some or ()]
    return bool(bindings) and all(str(b.get("HostPort") or "0") == "0" for b in bindings)


def lasting(service: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of containers of a resolved service those that stay: without surge containers of a killed run, where there are others."""
    staying = [i for i in found if not (doors_of(service) and stands_in(i))]
    return staying or list(found)


def rules(table: str, doors: Sequence[Door], to: StandIn, bridged: Iterable[str], seconds: float) -> str:
    """What makes new connections to these doors be led to a container, as ``nft -f`` reads it.

    :param bridged: subnets of all bridge networks. From those the container is not in, the engine leads nobody across:
        who comes from there meets the engine's own proxy, as before.
    :param seconds: after which it ends by itself.
    """
    ports = ", ".join(f"{p} timeout {max(1, int(seconds + 0.999))}s" for p in sorted({d.port for d in doors}))
    coming: list[str] = []
    going: list[str] = []
    back: list[str] = []
    for family, way in (("ip", to.four), ("ip6", to.six)):
        others = sorted({b for b in bridged if (":" in b) == (family == "ip6")} - set(way.networks))
        for door in (d for d in doors if (d.is_six if family == "ip6" else d.is_four)):
            arrived, left, returned = _by(family, door, way, others)
            coming, going, back = coming + arrived, going + left, back + returned
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
        f"add element inet {table} to {{ {to.four.address} }}",
    ]
    for name, hook, priority, wanted in chains:
        lines.append(f"add chain inet {table} {name} {{ type nat hook {hook} priority {priority}; policy accept; }}")
        lines += [f"add rule inet {table} {name} {rule}" for rule in wanted]
    return "\n".join(lines) + "\n"


def _by(family: str, door: Door, way: Way, others: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Rules of one family for a door: for who comes from elsewhere, for this host, and for answers to neighbours."""
    match = f"tcp dport {door.port} tcp dport @led {BEGINS}"
    here = "fib daddr type local" if door.is_everywhere else f"{family} daddr {door.asked_at}"
    local = way.local.get(door.inner)
    passed = f"redirect to :{local}" if local else ""
    straight = f"dnat {family} to {_target(way.address, door.inner)}" if way.address else ""
    coming: list[str] = []
    going: list[str] = []
    back: list[str] = []
    if not passed and not straight:
        # The engine serves nobody there.
        return coming, going, back
    if door.is_everywhere or door.is_local:
        loopback = ("127.0.0.0/8" if family == "ip" else "::1") if door.is_everywhere else door.asked_at
        going.append(f"{family} daddr {loopback} {match} {passed or straight}")
    if door.is_local:
        return coming, going, back
    for subnet, address in sorted(way.networks.items()):
        coming.append(f"{family} saddr {subnet} {here} {match} dnat {family} to {_target(address, door.inner)}")
        # Its neighbour's answers would go to it directly, and not be translated back.
        back.append(
            f"{family} saddr {subnet} {family} daddr {address} tcp dport {door.inner} ct status dnat masquerade"
        )
    coming += [f"{family} saddr {{ {', '.join(others)} }} {here} {match} return"] if others else []
    protocol = "ipv4" if family == "ip" else "ipv6"
    for chain in (coming, going):
        chain.append(f"meta nfproto {protocol} {here} {match} {straight or passed}")
    return coming, going, back


def _target(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
