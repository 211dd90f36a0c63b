# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of our own in the network namespaces of containers: who may open a connection, and to whom none is opened.

Of this host's own namespace only the tables of ports that change hands (``port_handover.py``).  What is refused gets an
RST at once, so that nginx tries the next address, for a POST too, since nothing was sent (measured).  Every element has a
timeout: what a killed run leaves ends.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

from .. import input_chains
from ..port_rules import BEGINS, Door, StandIn, rules

_TABLE, _HELD, _DOORS = "evenkeel", "evenkeel_held", "evenkeelports"
_HEALTH, _MOVED, _ROOM = "evenkeelhealth", "evenkeelmoved", "evenkeelroom"
#: Sets of a service's table, by family: addresses that are refused, and ranges that nobody has yet.
_REFUSED, _UNUSED = ("four", "six"), ("unused_four", "unused_six")
PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


class FirewallFailed(Exception):
    """A rule cannot be read or written; the message is for the user."""


def unavailable() -> str:
    """Why there can be no rules on this host, empty when there can."""
    if os.geteuid():
        return "entering the network namespace of a container needs root (become: true)"
    missing = [tool for tool in ("nft", "nsenter") if shutil.which(tool, path=PATH) is None]
    return f"{' and '.join(missing)} missing on this host; install nftables and util-linux" if missing else ""


def _nft(pid: int, *words: str, script: str = "") -> tuple[int, str, str]:
    argv = ["nsenter", f"--net=/proc/{pid}/ns/net", "nft", *words]
    try:
        done = subprocess.run(
            argv,
            input=script,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            env={**os.environ, "PATH": PATH},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FirewallFailed(f"nft could not be run: {error}") from error
    return done.returncode, done.stdout, done.stderr


def _apply(pid: int, script: str) -> None:
    code, _output, complaint = _nft(pid, "-f", "-", script=script)
    if code != 0 and os.path.exists(f"/proc/{pid}"):
        raise FirewallFailed(f"nft refused a rule: {complaint.strip().splitlines()[0] if complaint.strip() else code}")


def _is_of_this_host(pid: int) -> bool:
    try:
        return os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net")
    except OSError:
        return False


def _listed(pid: int, name: str) -> list[dict[str, object]] | None:
    """The objects of a table of ours, None where it is not there."""
    code, output, _complaint = _nft(pid, "-j", "list", "table", "inet", name)
    if code != 0:
        return None
    found: list[dict[str, object]] = json.loads(output).get("nftables") or []
    return found


def _families(addresses: Iterable[str]) -> tuple[list[str], list[str]]:
    """IPv4 and IPv6 addresses apart."""
    every = sorted(set(addresses) - {""})
    return [a for a in every if ":" not in a], [a for a in every if ":" in a]


def _with_timeout(addresses: Iterable[str], seconds: float) -> str:
    return ", ".join(f"{a} timeout {max(1, int(seconds + 0.999))}s" for a in addresses)


def tables(pid: int) -> list[str]:
    """What there is of ours in the network namespace of this process: a gate, refusals, requests that wait.

    A gate or a hold that has ended by itself is told as such: it keeps nobody out any more.

    :raises FirewallFailed: nft cannot be run, or refuses.
    """
    code, output, complaint = _nft(pid, "-j", "list", "tables")
    if code != 0:
        raise FirewallFailed(f"nft refused to list tables: {complaint.strip()[:200] or code}")
    entries = (e.get("table") for e in json.loads(output).get("nftables") or [])
    names = sorted(str(t.get("name")) for t in entries if isinstance(t, dict))
    refusals = [bytes.fromhex(n[len(_TABLE) + 1 :]).decode("utf-8", "replace") for n in names if _is_own_table(n)]
    found = [f"refusals for {service}" for service in refusals]
    if _TABLE in names:
        found.insert(0, "a gate" if is_closed(pid) else "a gate that has ended by itself")
    if _HEALTH in names:
        found.append("a health check that is refused")
    hexed = [n.removeprefix(f"{_MOVED}_") for n in names if n.startswith(f"{_MOVED}_")]
    found += [f"new connections to {bytes.fromhex(h).decode('utf-8', 'replace')} are led elsewhere" for h in hexed]
    if _ROOM in names:
        found.append("requests that wait for the end of a gap, or get the maintenance page")
    if _HELD in names:
        found.append("requests that wait" if _has_elements(pid, _HELD, "held") else "a hold that has ended by itself")
    return found


def _has_elements(pid: int, table: str, name: str) -> bool:
    """Whether a set of ours has anything in it; its elements go when their time is over."""
    for entry in _listed(pid, table) or []:
        known = entry.get("set")
        if isinstance(known, dict) and known.get("name") == name and known.get("elem"):
            return True
    return False


def _is_own_table(name: str) -> bool:
    head, _line, hexed = name.partition("_")
    return head == _TABLE and len(hexed) % 2 == 0 and bool(hexed) and set(hexed) <= set("0123456789abcdef")


# -- gates: who may connect to a container -------------------------------------------------------------------


def is_closed(pid: int) -> bool:
    """Whether a gate of ours keeps others out of the container with this process."""
    return _has_elements(pid, _TABLE, "shut")


def close(pid: int, ports: Iterable[int], passing: Iterable[str], seconds: float) -> None:
    """Let nobody open a connection to these ports but the container itself and those who pass.

    :param passing: addresses of those who may all the same.
    :param seconds: after which the gate opens by itself.
    :raises FirewallFailed: nft refuses, or the process is in this host's own network.
    """
    if _is_of_this_host(pid):
        raise FirewallFailed(f"process {pid} is no container's: it has ended, and its number is another's now")
    _apply(pid, gate(ports, seconds, passing))


def gate(ports: Iterable[int], seconds: float, passing: Iterable[str] = ()) -> str:
    """The rules of :func:`close`, as ``nft -f`` reads them."""
    four, six = _families(passing)
    shut = _with_timeout((str(p) for p in sorted(set(ports))), seconds)
    rules = [
        'iif "lo" accept',
        f"ip saddr {{ {', '.join(four)} }} accept" if four else "",
        f"ip6 saddr {{ {', '.join(six)} }} accept" if six else "",
        f"tcp dport @shut {BEGINS} reject with tcp reset",
    ]
    lines = [
        f"add table inet {_TABLE}",
        f"delete table inet {_TABLE}",
        f"add table inet {_TABLE}",
        f"add set inet {_TABLE} shut {{ type inet_service; flags timeout; }}",
        f"add chain inet {_TABLE} in {{ type filter hook input priority -10; policy accept; }}",
        *[f"add rule inet {_TABLE} in {rule}" for rule in rules if rule],
        f"add element inet {_TABLE} shut {{ {shut} }}",
    ]
    return "\n".join(lines) + "\n"


def open_again(pid: int) -> None:
    """Take the gate away.

    :raises FirewallFailed: nft refuses.
    """
    _apply(pid, f"add table inet {_TABLE}\ndelete table inet {_TABLE}\n")


# -- refusals: to whom the processes of a namespace may not connect --------------------------------------------


def _own_table(service: str) -> str:
    """A table's name for a service; nft knows fewer characters than Compose."""
    return f"{_TABLE}_{service.encode('utf-8').hex()}"


def refused(pid: int, service: str) -> dict[str, float] | None:
    """Address → seconds for which it is still refused to this namespace; None where there is no table of ours."""
    listed = _listed(pid, _own_table(service))
    if listed is None:
        return None
    found: dict[str, float] = {}
    for known in (e.get("set") for e in listed):
        if not isinstance(known, dict) or known.get("name") in _UNUSED:
            continue
        for element in known.get("elem") or []:
            data = element.get("elem") or {} if isinstance(element, dict) else {}
            found[str(ipaddress.ip_address(data["val"]))] = float(data.get("expires") or 0)
    return found


def refuse(pid: int, service: str, addresses: dict[str, float]) -> None:
    """Refuse new connections from this namespace to exactly these addresses, each for so many seconds.

    :raises FirewallFailed: nft refuses.
    """
    each = [[_with_timeout([a], addresses[a]) for a in family] for family in _families(addresses)]
    _fill(pid, service, _REFUSED, each)


def refuse_unused(pid: int, service: str, ranges: Iterable[str], seconds: float) -> None:
    """Refuse new connections from this namespace to addresses that nobody has yet; no ranges end that.

    :param ranges: such as ``172.20.0.4-172.20.255.254``.
    :raises FirewallFailed: nft refuses.
    """
    _fill(pid, service, _UNUSED, [[_with_timeout(family, seconds)] if family else [] for family in _families(ranges)])


def _fill(pid: int, service: str, names: tuple[str, str], elements: list[list[str]]) -> None:
    """Have two sets of a service's table, one of each family, hold exactly these elements."""
    table = _own_table(service)
    lines = [
        f"add table inet {table}",
        f"add chain inet {table} out {{ type filter hook output priority -10; policy accept; }}",
        f"flush chain inet {table} out",
    ]
    for sets, flags in ((_REFUSED, "timeout"), (_UNUSED, "interval, timeout")):
        for name, kind, family in zip(sets, ("ipv4_addr", "ipv6_addr"), ("ip", "ip6")):
            lines += [
                f"add set inet {table} {name} {{ type {kind}; flags {flags}; }}",
                f"add rule inet {table} out {family} daddr @{name} {BEGINS} reject with tcp reset",
            ]
    for name, mine in zip(names, elements):
        lines += [f"flush set inet {table} {name}"]
        lines += [f"add element inet {table} {name} {{ {', '.join(mine)} }}"] if mine else []
    _apply(pid, "\n".join(lines) + "\n")


def refuse_nobody(pid: int, service: str) -> None:
    """Take all refusals for a service away.

    :raises FirewallFailed: nft refuses.
    """
    table = _own_table(service)
    _apply(pid, f"add table inet {table}\ndelete table inet {table}\n")


# -- health checks, and connections that are led to another container -------------------------------------------


def unhealthy(ports: Iterable[int], seconds: float) -> str:
    """Rules for a container that refuse its own health check, as ``nft -f`` reads them: what it asks of itself by these ports.

    :param seconds: after which it is answered again by itself.
    """
    shut = _with_timeout((str(p) for p in sorted(set(ports))), seconds)
    lines = [
        f"add table inet {_HEALTH}",
        f"delete table inet {_HEALTH}",
        f"add table inet {_HEALTH}",
        f"add set inet {_HEALTH} shut {{ type inet_service; flags timeout; }}",
        f"add chain inet {_HEALTH} in {{ type filter hook input priority -15; policy accept; }}",
        f'add rule inet {_HEALTH} in iif "lo" tcp dport @shut {BEGINS} reject with tcp reset',
        f"add element inet {_HEALTH} shut {{ {shut} }}",
    ]
    return "\n".join(lines) + "\n"


def refuse_health(pid: int, ports: Iterable[int], seconds: float) -> None:
    """Refuse a container its own health check, see :func:`unhealthy`.

    :raises FirewallFailed: nft refuses, or the process is in this host's own network.
    """
    if _is_of_this_host(pid):
        raise FirewallFailed(f"process {pid} is no container's: it has ended, and its number is another's now")
    _apply(pid, unhealthy(ports, seconds))


def is_health_refused(pid: int) -> bool:
    """Whether a container is refused its own health check by us."""
    return _has_elements(pid, _HEALTH, "shut")


def allow_health(pid: int) -> None:
    """Let the health check be answered again.

    :raises FirewallFailed: nft refuses.
    """
    _apply(pid, f"add table inet {_HEALTH}\ndelete table inet {_HEALTH}\n")


def _moved_table(service: str) -> str:
    return f"{_MOVED}_{service.encode('utf-8').hex()}"


def moved(pid: int, service: str) -> set[str] | None:
    """From which addresses the connections of this namespace are led to others; None where there is no table of ours."""
    listed = _listed(pid, _moved_table(service))
    if listed is None:
        return None
    found: set[str] = set()
    for known in (e.get("set") for e in listed):
        if isinstance(known, dict) and known.get("name") == "leaving":
            found |= {str(e["elem"]["val"] if isinstance(e, dict) else e) for e in known.get("elem") or []}
    return found


def move(pid: int, service: str, leaving: Iterable[str], to: Sequence[str], seconds: float) -> None:
    """Lead new connections of this namespace, which are meant for some addresses, to others in turn.

    What is established goes on where it is.

    :param leaving: IPv4 addresses; none end it. :param to: IPv4 addresses, at least one.
    :param seconds: after which it ends by itself.
    :raises FirewallFailed: nft refuses.
    """
    table, gone = _moved_table(service), sorted(set(leaving))
    lines = [f"add table inet {table}", f"delete table inet {table}"]
    if gone:
        turns = ", ".join(f"{number} : {address}" for number, address in enumerate(to))
        target = to[0] if len(to) == 1 else f"numgen inc mod {len(to)} map {{ {turns} }}"
        lines += [
            f"add table inet {table}",
            f"add set inet {table} leaving {{ type ipv4_addr; flags timeout; }}",
            f"add element inet {table} leaving {{ {_with_timeout(gone, seconds)} }}",
            f"add chain inet {table} out {{ type nat hook output priority -101; policy accept; }}",
            f"add rule inet {table} out ip daddr @leaving meta l4proto tcp dnat ip to {target}",
        ]
    _apply(pid, "\n".join(lines) + "\n")


# -- doors: published ports of this host that lead to another container for a while ---------------------------------


def _door_table(key: str) -> str:
    return f"{_DOORS}_{key.encode('utf-8').hex()}"


def led_to(key: str) -> tuple[bool, str]:
    """Whether there is a table of ours for these doors, and the address that they lead to now (empty for none).

    :param key: the service, with its project.
    """
    listed = _listed(os.getpid(), _door_table(key))
    address, led = "", False
    for known in (e.get("set") for e in listed or []):
        if isinstance(known, dict) and known.get("name") == "to":
            address = "".join(str(a) for a in (known.get("elem") or [])[:1])
        elif isinstance(known, dict):
            led = led or bool(known.get("elem"))
    return listed is not None, address if led else ""


def lead(key: str, doors: Sequence[Door], to: StandIn, bridged: Iterable[str], seconds: float) -> None:
    """Lead new connections to these doors to a container, see :func:`..port_rules.rules`.

    :raises FirewallFailed: nft refuses.
    """
    _apply(os.getpid(), rules(_door_table(key), doors, to, bridged, seconds))


def six_closed() -> str:
    """Which chain of this host drops what comes by IPv6 to a port that nobody allowed, in words; empty for none.

    :raises FirewallFailed: nft cannot be run, or refuses.
    """
    for chain in input_chains.of_input(_of_this_host("chains")):
        if input_chains.drops(_of_this_host("chain", *chain)):
            return "chain {2} of table {0} {1}".format(*chain)
    legacy = shutil.which("ip6tables-legacy", path=PATH)
    with contextlib.suppress(OSError), open("/proc/net/ip6_tables_names", encoding="ascii") as names:
        if legacy and "filter" in names.read().split():
            done = subprocess.run([legacy, "-S", "INPUT"], capture_output=True, text=True, check=False, timeout=20)
            return "chain INPUT of ip6tables-legacy" if input_chains.legacy_drops(done.stdout.splitlines()) else ""
    return ""


def is_led_by_engine(address: str) -> bool:
    """Whether the engine's own rules lead to an IPv6 address of a container: then what we lead there is let through."""
    code, output, _complaint = _nft(os.getpid(), "list", "table", "ip6", "nat")
    return code == 0 and f"[{address}]" in output


def _of_this_host(*words: str) -> list[dict[str, Any]]:
    code, output, complaint = _nft(os.getpid(), "-j", "list", *words)
    if code != 0:
        raise FirewallFailed(f"nft refused to list {' '.join(words)}: {complaint.strip()[:200] or code}")
    found: list[dict[str, Any]] = json.loads(output).get("nftables") or []
    return found


def lead_none_new(key: str) -> None:
    """Let the engine's own rules decide about new connections again; those that were led go on.

    :raises FirewallFailed: nft refuses.
    """
    if led_to(key)[0]:
        _apply(os.getpid(), f"flush set inet {_door_table(key)} led\n")


def lead_no_more(key: str) -> None:
    """Take the rules away, once nobody is left who was led.

    :raises FirewallFailed: nft refuses.
    """
    table = _door_table(key)
    _apply(os.getpid(), f"add table inet {table}\ndelete table inet {table}\n")


# -- holding: what comes to a container waits ------------------------------------------------------------------


def hold(pid: int, ports: Iterable[int], seconds: float, passing: Iterable[str] = (), only_new: bool = False) -> None:
    """Let everything that comes to these ports from outside wait: those who sent it send it again until it is let in.

    What is established waits as well, or one that keeps its connections would not; answers go out.

    :param only_new: let what is established go on.

    :param seconds: after which it is let in by itself.
    :param passing: addresses of those who are let in all the same.
    :raises FirewallFailed: nft refuses.
    """
    four, six = _families(passing)
    held = _with_timeout((str(p) for p in sorted(set(ports))), seconds)
    lines = [
        f"add table inet {_HELD}",
        f"delete table inet {_HELD}",
        f"add table inet {_HELD}",
        f"add set inet {_HELD} held {{ type inet_service; flags timeout; }}",
        f"add chain inet {_HELD} in {{ type filter hook input priority -20; policy accept; }}",
        *[f"add rule inet {_HELD} in ip saddr {address} accept" for address in four],
        *[f"add rule inet {_HELD} in ip6 saddr {address} accept" for address in six],
        f'add rule inet {_HELD} in iif != "lo" tcp dport @held {f"{BEGINS} " if only_new else ""}drop',
        f"add element inet {_HELD} held {{ {held} }}",
    ]
    _apply(pid, "\n".join(lines) + "\n")


def is_held(pid: int) -> bool:
    """Whether there is a hold of ours, be it that it has ended by itself."""
    return _listed(pid, _HELD) is not None


def let_in(pid: int) -> None:
    """Hold nothing any more.

    :raises FirewallFailed: nft refuses.
    """
    _apply(pid, f"add table inet {_HELD}\ndelete table inet {_HELD}\n")


# -- waiting rooms: for a gap new connections to a container are led to a server beside it ---------------------------


def diversion(ports: Iterable[int], to: int, seconds: float, passing: Iterable[str] = ()) -> str:
    """Rules for a container that lead new connections to some of its ports to another one, as ``nft -f`` reads them.

    What is established goes on where it is, and so does what the container connects to itself.

    :param seconds: after which it ends by itself.
    :param passing: addresses of those who reach the container itself.
    """
    four, six = _families(passing)
    led = _with_timeout((str(p) for p in sorted(set(ports) - {to})), seconds)
    lines = [
        f"add table inet {_ROOM}",
        f"delete table inet {_ROOM}",
        f"add table inet {_ROOM}",
        f"add set inet {_ROOM} led {{ type inet_service; flags timeout; }}",
        f"add chain inet {_ROOM} in {{ type nat hook prerouting priority -101; policy accept; }}",
        *[f"add rule inet {_ROOM} in ip saddr {address} accept" for address in four],
        *[f"add rule inet {_ROOM} in ip6 saddr {address} accept" for address in six],
        f'add rule inet {_ROOM} in iif != "lo" fib daddr type local tcp dport @led {BEGINS} redirect to :{to}',
        f"add element inet {_ROOM} led {{ {led} }}",
    ]
    return "\n".join(lines) + "\n"


def divert(pid: int, ports: Iterable[int], to: int, seconds: float, passing: Iterable[str] = ()) -> None:
    """Lead new connections to a container to another port of it, see :func:`diversion`.

    :raises FirewallFailed: nft refuses, or the process is in this host's own network.
    """
    if _is_of_this_host(pid):
        raise FirewallFailed(f"process {pid} is no container's: it has ended, and its number is another's now")
    _apply(pid, diversion(ports, to, seconds, passing))


def divert_none_new(pid: int) -> None:
    """Let new connections reach the container itself; those that were led to the room go on there.

    Without the chain the kernel may forget that it translates them (see :mod:`..port_rules`).

    :raises FirewallFailed: nft refuses.
    """
    if _listed(pid, _ROOM) is not None:
        _apply(pid, f"flush set inet {_ROOM} led\n")


def divert_no_more(pid: int) -> None:
    """Take the rules away, once nobody is in the room.

    :raises FirewallFailed: nft refuses.
    """
    _apply(pid, f"add table inet {_ROOM}\ndelete table inet {_ROOM}\n")
