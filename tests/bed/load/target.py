# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the load may go: this machine and nothing else.

A load generator that can be pointed at a stranger is a weapon. The name is resolved once, every address it
has must be loopback, and the connections then go to that literal address, so no later answer of a resolver
can lead them elsewhere.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Resolver = Callable[[str, int], Sequence[tuple[Any, ...]]]


class TargetRefused(ValueError):
    """The target is not on this machine, or the URL is not one this generator can use."""


@dataclass(frozen=True)
class Target:
    """One literal loopback address, a port, what is sent as the Host header, and whether it is asked by TLS."""

    address: str
    port: int
    host: str
    tls: bool = False

    @property
    def server_name(self) -> str:
        """The name that a TLS handshake asks for: that of the Host header."""
        return urlsplit(f"//{self.host}").hostname or ""


def _resolve(name: str, port: int) -> Sequence[tuple[Any, ...]]:
    return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)


def _addresses(name: str, port: int, resolve: Resolver) -> list[str]:
    """All addresses of a literal, or of a `localhost` name; IPv4 first, since that is what Docker publishes."""
    try:
        return [str(ipaddress.ip_address(name))]
    except ValueError:
        pass
    if name != "localhost" and not name.endswith(".localhost"):
        raise TargetRefused(f"{name}: only 127.0.0.0/8, ::1 and localhost names may be loaded, and this is none")
    try:
        found = resolve(name, port)
    except OSError as error:
        hint = f"use http://127.0.0.1:{port} with --host {name}"
        raise TargetRefused(f"{name}: cannot be resolved here ({error}); {hint}") from error
    return sorted({str(entry[4][0]) for entry in found}, key=lambda address: (":" in address, address))


def loopback_target(url: str, host: str = "", resolve: Resolver = _resolve) -> Target:
    """The target of `url`, with `host` as the Host header (default: that of the URL).

    Raises TargetRefused for anything but `http://` or `https://` to this machine.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TargetRefused(f"{url!r}: only http:// and https:// with a host are understood")
    tls = parts.scheme == "https"
    if parts.username is not None or parts.password is not None:
        raise TargetRefused("the URL carries a user or password: leave them out")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise TargetRefused(f"{url!r}: give scheme, host and port only; the paths come from the mix")
    try:
        port = parts.port or (443 if tls else 80)
    except ValueError as error:
        raise TargetRefused(f"{url!r}: {error}") from error
    addresses = _addresses(parts.hostname, port, resolve)
    for address in addresses:
        if not ipaddress.ip_address(address).is_loopback:
            raise TargetRefused(f"{parts.hostname} is {address}, which is not this machine: refused")
    if not addresses:
        raise TargetRefused(f"{parts.hostname}: has no address")
    header = host or parts.netloc
    if any(ord(char) <= 32 or ord(char) >= 127 for char in header):
        raise TargetRefused(f"Host header {header!r} has characters that do not belong there")
    return Target(addresses[0], port, header, tls)
