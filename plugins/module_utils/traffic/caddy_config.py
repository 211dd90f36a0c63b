# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll must know of a Caddy's configuration: who is proxied to, by which name, how users ask.

Reads the JSON that a running Caddy serves with (https://caddyserver.com/docs/json/). ``reverse_proxy`` connects to a name
each time anew: Go asks the name server, and where one address refuses the connection it tries the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..nginx.config import Route

#: Idle connections that Caddy keeps to one upstream (``keep_alive.max_idle_conns_per_host``).
_KEPT_IDLE = 32
#: Seconds for which it tries to connect (``dial_timeout``).
_PATIENCE = 3.0
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class UnreadableCaddy(ValueError):
    """The configuration leads somewhere that cannot be told; the message says what to write instead."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice


@dataclass(frozen=True)
class _Asked:
    """How users ask: the names that have matched so far, the port that listens, whether it speaks TLS."""

    names: tuple[str, ...]
    port: int
    tls: bool
    path: str = "/"


def caddy_routes(config: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[Route, ...]:
    """Every way from a listener to an upstream address, in the order of the configuration.

    :param environment: of Caddy's process, for ``{env.NAME}``.
    :raises UnreadableCaddy: an upstream cannot be told.
    """
    servers = ((config.get("apps") or {}).get("http") or {}).get("servers") or {}
    found: list[Route] = []
    for server in servers.values():
        ports = [p for p in map(_port_of, server.get("listen") or []) if p]
        # As Caddy itself: everything but the plain HTTP port is encrypted where automatic HTTPS is not off.
        automatic = not (server.get("automatic_https") or {}).get("disable")
        port = next((p for p in ports if p == 443), ports[0] if ports else 443)
        hosts = any("host" in m for r in server.get("routes") or [] for m in r.get("match") or [])
        tls = bool(server.get("tls_connection_policies")) or (port != 80 and automatic and (hosts or port == 443))
        found += _routes(server.get("routes") or [], _Asked((), port, tls), environment)
    return tuple(found)


def _port_of(listen: str) -> int:
    """The port of a listener such as ``:443``, ``tcp/0.0.0.0:80`` or ``:8080-8085``; 0 for a socket or UDP."""
    network, _slash, address = listen.rpartition("/")
    last = address.rpartition(":")[2].partition("-")[0]
    return int(last) if last.isdecimal() and not network.startswith(("unix", "udp", "fd")) else 0


def _routes(routes: Sequence[Mapping[str, Any]], asked: _Asked, environment: Mapping[str, str]) -> Iterator[Route]:
    for route in routes:
        matches = route.get("match") or []
        names = tuple(h for m in matches for h in m.get("host") or [] if not _PLACEHOLDER.search(h))
        paths = [p for m in matches for p in m.get("path") or []]
        path = paths[0].rstrip("*") if paths else asked.path
        inner = _Asked(names or asked.names, asked.port, asked.tls, path or "/")
        for handler in route.get("handle") or []:
            kind = handler.get("handler")
            if kind == "subroute":
                yield from _routes(handler.get("routes") or [], inner, environment)
                errors = (handler.get("errors") or {}).get("routes") or []
                yield from _routes(errors, inner, environment)
            elif kind == "reverse_proxy":
                yield from _upstreams(handler, inner, environment)


def _upstreams(handler: Mapping[str, Any], asked: _Asked, environment: Mapping[str, str]) -> Iterator[Route]:
    transport = handler.get("transport") or {}
    if handler.get("dynamic_upstreams"):
        raise UnreadableCaddy(
            "a reverse_proxy of Caddy has dynamic upstreams, of which it tries one alone for each request",
            "write reverse_proxy NAME:PORT with the service's name: Caddy asks for its addresses at each connection",
        )
    plain = transport.get("protocol", "http") == "http"
    how = (
        "reverse_proxy"
        if plain and not transport.get("tls")
        else f"{'TLS' if plain else transport['protocol']} of Caddy"
    )
    kept = transport.get("keep_alive") or {}
    idle = 0 if kept.get("enabled") is False else int(kept.get("max_idle_conns_per_host") or _KEPT_IDLE)
    for upstream in handler.get("upstreams") or []:
        host, port = _address_of(_filled(str(upstream.get("dial") or ""), environment))
        yield Route(
            host,
            port,
            server_name=next((n for n in asked.names if "*" not in n), ""),
            listen=asked.port,
            tls=asked.tls,
            location=asked.path,
            headers=_headers(handler),
            static_name=False,
            how=how,
            proxy_host=f"{host}:{port}",
            kept=0.0,
            keepalive=idle,
            patience=_PATIENCE,
        )


def _filled(text: str, environment: Mapping[str, str]) -> str:
    """A value with what it takes of the environment; other placeholders stay."""
    return _PLACEHOLDER.sub(
        lambda m: environment.get(m.group(1)[4:], "") if m.group(1).startswith("env.") else m.group(), text
    )


def _address_of(dial: str) -> tuple[str, int]:
    if dial.startswith("unix/"):
        return f"unix:{dial[5:]}", 0
    host, _colon, port = dial.removeprefix("tcp/").rpartition(":")
    if not port.isdecimal() or _PLACEHOLDER.search(host):
        raise UnreadableCaddy(
            f"a reverse_proxy of Caddy leads to {dial or 'nothing'}, of which only a request says what it is",
            "write the name of the service and its port there",
        )
    return host.strip("[]"), int(port)


def _headers(handler: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What Caddy sends besides what the user did, in nginx's words (https://caddyserver.com/docs/caddyfile/directives/reverse_proxy#defaults)."""
    known = {
        "Host": "$host",
        "X-Forwarded-Host": "$host",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-For": "$remote_addr",
    }
    request = (handler.get("headers") or {}).get("request") or {}
    for name, values in {**(request.get("add") or {}), **(request.get("set") or {})}.items():
        value = str(values[0]) if values else ""
        if name.lower() == "host" and "upstream" in value:
            known["Host"] = "$proxy_host"
        elif not _PLACEHOLDER.search(value):
            known[{n.lower(): n for n in known}.get(name.lower(), name)] = value
    return tuple(known.items())


#: ``{$NAME}`` and ``{$NAME:default}`` of a Caddyfile, which are filled in before anything is read.
_GIVEN = re.compile(r"\{\$(\w+)(?::([^}]*))?\}")


def caddyfile_routes(text: str, environment: Mapping[str, str]) -> tuple[Route, ...]:
    """What a Caddyfile leads to, as far as that stands in it: of one that does not run, nobody else can say.

    :param environment: of its container.
    """
    found: list[Route] = []
    depth, asked = 0, _Asked((), 443, True)
    filled = _GIVEN.sub(lambda m: environment.get(m.group(1), m.group(2) or ""), text)
    for line in (raw.split(" #")[0].strip() for raw in filled.splitlines()):
        words = line.split()
        if not depth and words and words[-1] == "{":
            asked = _site(words[:-1])
        elif words[:1] == ["reverse_proxy"]:
            targets = [w.rpartition("/")[2] for w in words[1:] if re.search(r"[\w\]]:\d+$", w)]
            for host, _colon, port in (t.rpartition(":") for t in targets):
                handler = {"upstreams": [{"dial": f"{host}:{port}"}]}
                found += _upstreams(handler, asked, {})
        depth += (words[-1:] == ["{"]) - (words[:1] == ["}"])
    return tuple(found)


def _site(addresses: Sequence[str]) -> _Asked:
    """How users ask for a site with these addresses; without a word Caddy encrypts."""
    first = (addresses or [""])[0].rstrip(",")
    scheme, separator, rest = first.rpartition("://")
    host, _colon, port = rest.partition("/")[0].partition(":")
    plain = (separator and scheme == "http") or port == "80"
    number = int(port) if port.isdecimal() else 80 if plain else 443
    return _Asked((host,) if host else (), number, not plain)
