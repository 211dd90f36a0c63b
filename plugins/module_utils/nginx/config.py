# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll must know of an nginx configuration: who is proxied to, by which name, with which headers.

Reads the output of ``nginx -T``.  Anything it does not fully understand is refused by name rather than
guessed at, since a wrong guess loses requests.  crossplane is its oracle in the tests.
"""

from __future__ import annotations

import posixpath
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .syntax import Directive, UnreadableConfig


@dataclass(frozen=True)
class Route:
    """One way from the outside to a service.

    ``host`` and ``port`` are what nginx connects to (``unix:`` and a path, and 0, for a socket); ``server_name``,
    ``listen`` and ``tls`` are how users reach it; ``headers`` are those it sets, still with nginx variables in them.
    ``static_name`` is whether nginx resolves the name only when it starts or reloads; ``proxy_host`` is what it calls the
    other side, and ``proxy_protocol`` whether it wants the PROXY protocol, which a plain request does not speak.

    Where it asks for the name again: ``kept`` is for how many seconds it goes on with an answer (None: as long as
    the answer says).  ``avoided`` is for how many seconds a server of an upstream block that refused a connection
    gets no other, ``keepalive`` how many idle connections to it each worker keeps.  ``include`` is the file that only
    this server of an upstream block was included from.  ``patience`` is for how many seconds nginx tries to connect.
    """

    host: str
    port: int
    server_name: str = ""
    listen: int = 80
    tls: bool = False
    location: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    static_name: bool = True
    how: str = "proxy_pass"
    proxy_host: str = ""
    proxy_protocol: bool = False
    kept: float | None = None
    avoided: float = 0.0
    keepalive: int = 0
    include: str = ""
    patience: float = 60.0


@dataclass(frozen=True)
class _Known:
    """What the http block defines: upstreams by name, what each variable may be, for how long an answer is kept."""

    upstreams: Mapping[str, Directive]
    values: Mapping[str, tuple[str, ...]]
    kept: float | None
    patience: float


@dataclass(frozen=True)
class _Target:
    """One address that a ``*_pass`` names; see :class:`Route` for what the words mean."""

    host: str
    port: int
    static_name: bool
    proxy_host: str = ""
    kept: float | None = None
    avoided: float = 0.0
    keepalive: int = 0
    include: str = ""


#: How the host of a route begins that is the path of a socket.
UNIX = "unix:"
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_MEANINGS = 500


def routes(tree: Sequence[Directive]) -> tuple[Route, ...]:
    """Every way from a server block to an upstream address, in the order of the configuration.

    :raises UnreadableConfig: a ``*_pass`` whose target cannot be told.
    """
    found: list[Route] = []
    for inside in (d.block for d in tree if d.name == "http" and d.block is not None):
        upstreams = {d.words[1].lower(): d for d in inside if d.name == "upstream" and len(d.words) > 1}
        # ``$scheme`` is nginx's own, and the only one that stands where it decides who is connected to.
        values: dict[str, list[str]] = {"scheme": ["http", "https"]}
        _gather_values(inside, values)
        meant = {name: tuple(dict.fromkeys(v)) for name, v in values.items()}
        known = _Known(upstreams, meant, _kept(inside, None), _patience(inside, 60.0))
        base = _headers(inside, ())
        for server in (d for d in inside if d.name == "server"):
            found.extend(_server_routes(server.block or (), known, base))
    return tuple(found)


def _gather_values(directives: Sequence[Directive], values: dict[str, list[str]]) -> None:
    """Collect what ``set``, ``map`` and their like may make of a variable, wherever they stand."""
    for directive in directives:
        words, block = directive.words, directive.block or ()
        if directive.name == "set" and len(words) == 3:
            values.setdefault(words[1].lstrip("$"), []).append(words[2])
        elif directive.name in ("map", "geo", "split_clients"):
            entries = [d.words[1] for d in block if len(d.words) == 2 and d.name != "include"]
            values.setdefault(words[-1].lstrip("$"), []).extend(entries)
        else:
            _gather_values(block, values)


def _server_routes(
    server: Sequence[Directive], known: _Known, inherited: tuple[tuple[str, str], ...]
) -> Iterator[Route]:
    names = [w for d in server if d.name == "server_name" for w in d.words[1:]]
    plain = [n for n in names if re.match(r"^[A-Za-z0-9][A-Za-z0-9.-]*$", n)]
    # ``.a.org`` is a.org and everything below it; ``*.a.org`` is only what is below.
    plain += [f"{'www' if n[0] == '*' else ''}{n.lstrip('*')}".lstrip(".") for n in names if re.match(r"^\*?\.\w", n)]
    port, tls, proxy_protocol = _listener(server)
    kept = _kept(server, known.kept)
    patience = _patience(server, known.patience)
    frame = Route(
        "", 0, plain[0] if plain else "", port, tls, proxy_protocol=proxy_protocol, kept=kept, patience=patience
    )
    return _location_routes(server, frame, known, _headers(server, inherited))


def _listener(server: Sequence[Directive]) -> tuple[int, bool, bool]:
    """Port, TLS and PROXY protocol of the listener that is best asked.

    One that speaks TLS comes first: where both are there, the other often only redirects to it.
    """
    found: list[tuple[int, bool, bool]] = []
    all_tls = any(d.words == ("ssl", "on") for d in server)
    for words in (d.words for d in server if d.name == "listen" and len(d.words) > 1):
        address, options = words[1], words[2:]
        if not address.startswith(UNIX) and "quic" not in options:
            match = None if address.endswith("]") else re.search(r"(?:^|:)(\d{1,9})(?:-\d+)?$", address)
            port = int(match.group(1)) if match else 80
            found.append((port, all_tls or "ssl" in options, "proxy_protocol" in options))
    return min(found, key=lambda f: (f[2], not f[1])) if found else (80, all_tls, False)


def _location_routes(
    directives: Sequence[Directive], frame: Route, known: _Known, headers: tuple[tuple[str, str], ...]
) -> Iterator[Route]:
    for directive in directives:
        if directive.name in _PASSES and len(directive.words) == 2:
            for target in _targets(directive.name, directive.words[1], known, frame.kept):
                yield replace(
                    frame,
                    host=target.host,
                    port=target.port,
                    static_name=target.static_name,
                    headers=headers,
                    how=directive.name,
                    proxy_host=target.proxy_host,
                    kept=target.kept,
                    avoided=target.avoided,
                    keepalive=target.keepalive,
                    include=target.include,
                )
        elif directive.name in ("location", "if", "limit_except") and directive.block is not None:
            path = directive.words[-1] if directive.name == "location" else frame.location
            inner = _headers(directive.block, headers)
            patience = _patience(directive.block, frame.patience)
            deeper = replace(frame, location=path, kept=_kept(directive.block, frame.kept), patience=patience)
            yield from _location_routes(directive.block, deeper, known, inner)


def _headers(block: Sequence[Directive], inherited: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    # nginx inherits proxy_set_header from the outer level only where the inner one sets none at all.
    own = tuple((d.words[1], d.words[2]) for d in block if d.name == "proxy_set_header" and len(d.words) == 3)
    return own or inherited


def _kept(block: Sequence[Directive], inherited: float | None) -> float | None:
    """For how many seconds an answer of the name server is kept by what this block says."""
    for words in (d.words for d in block if d.name == "resolver"):
        valid = [w.partition("=")[2] for w in words[1:] if w.startswith("valid=")]
        return seconds_of(valid[-1]) if valid else None
    return inherited


def _patience(block: Sequence[Directive], inherited: float) -> float:
    """For how many seconds nginx tries to connect to another side by what this block says."""
    own = [d.words[1:] for d in block if d.name in _CONNECTING and len(d.words) > 1]
    try:
        return min((seconds_of(" ".join(words)) for words in own), default=inherited)
    except UnreadableConfig:
        # What cannot be told is as good as none.
        return 0.0


def seconds_of(text: str) -> float:
    """A time as nginx writes it (``30``, ``30s``, ``1h 30m``) in seconds.

    :raises UnreadableConfig: it is none.
    """
    units = {
        "": 1.0,
        "ms": 0.001,
        "s": 1.0,
        "m": 60.0,
        "h": 3600.0,
        "d": 86400.0,
        "w": 604800.0,
        "M": 2592000.0,
        "y": 31536000.0,
    }
    parts = re.findall(r"(\d{1,9})(ms|[smhdwMy]?)\s*", text)
    if not parts or "".join(n + u for n, u in parts) != re.sub(r"\s", "", text):
        raise UnreadableConfig(f"{text!r} is no time")
    return sum(int(number) * units[unit] for number, unit in parts)


_CONNECTING = ("proxy_connect_timeout", "uwsgi_connect_timeout", "grpc_connect_timeout", "fastcgi_connect_timeout")
_PASSES = ("proxy_pass", "uwsgi_pass", "grpc_pass", "fastcgi_pass", "scgi_pass", "memcached_pass")
_TARGET = re.compile(
    r"^(?P<scheme>\w+://)?(?P<host>\[[0-9a-fA-F:.]+\]|[^/:$?\[\]]+)(?::(?P<port>\d{1,9}))?(?:[/?].*|\$\{?(?:request_|document_)?uri\b.*)?$",
    re.DOTALL,
)


def _meanings(text: str, known: _Known) -> tuple[str, ...]:
    """What a target may be once the variables that the configuration itself defines are filled in."""
    found = [text]
    for _depth in range(4):
        fuller: dict[str, None] = {}
        for one in found:
            match = next((m for m in _VARIABLE.finditer(one) if known.values.get(m.group(1) or m.group(2))), None)
            for value in known.values[match.group(1) or match.group(2)] if match else ("",):
                fuller[one[: match.start()] + value + one[match.end() :] if match else one] = None
        if len(fuller) > _MEANINGS:
            raise UnreadableConfig(f"{text}: that may be more than {_MEANINGS} addresses")
        found = list(fuller)
    return tuple(found)


def _targets(directive: str, target: str, known: _Known, kept: float | None) -> Iterator[_Target]:
    """What a ``*_pass`` names; ``kept`` for names in variables, which are asked for by what the location says."""
    for meaning in _meanings(target, known) if "$" in target else (target,):
        if re.match(r"^(\w+://)?unix:", meaning):
            yield _Target(_socket(meaning), 0, True, "localhost")
            continue
        match = _TARGET.match(meaning)
        scheme = match.group("scheme") if match else None
        if not match or (directive == "proxy_pass" and scheme not in ("http://", "https://")):
            if "$" not in target:
                raise UnreadableConfig(f"{directive} {target}: the target cannot be told")
            yield _Target(meaning, 0, False, meaning, kept)
            continue
        host, written = match.group("host"), match.group("port")
        if host.lower() in known.upstreams and written is None:
            yield from (replace(s, proxy_host=host) for s in _servers_of(known.upstreams[host.lower()], known.kept))
            continue
        default = 443 if scheme in ("https://", "grpcs://") else 80
        port = int(written or default)
        # A name in a target with variables is asked for at every request; an address needs no asking.
        static = "$" not in target or host.startswith("[") or bool(re.match(r"^[\d.]+$", host))
        yield _Target(host, port, static, host if port == default else f"{host}:{port}", kept)


def _socket(target: str) -> str:
    """``unix:`` and the path of the socket alone: no scheme before it and no URI behind it."""
    path = target.partition(UNIX)[2].partition(":")[0]
    return f"{UNIX}/{posixpath.normpath(path).lstrip('/')}"


def _servers_of(upstream: Directive, kept: float | None) -> Iterator[_Target]:
    block = upstream.block or ()
    pools = [
        int(d.words[1]) for d in block if d.name == "keepalive" and re.fullmatch("[0-9]{1,9}", " ".join(d.words[1:2]))
    ]
    # nginx does so by itself from 1.29.7 on; taken for granted of older ones, it costs a reload.
    pool = max(pools, default=32)
    kept = _kept(block, kept)
    for words, file in ((d.words, d.file) for d in block if d.name == "server" and len(d.words) > 1):
        if "down" in words[2:]:
            continue
        if words[1].startswith(UNIX):
            yield _Target(_socket(words[1]), 0, True, keepalive=pool)
            continue
        match = re.match(r"^(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(\d{1,9}))?$", words[1])
        if not match:
            raise UnreadableConfig(f"upstream {upstream.words[1]}: server {words[1]} cannot be told")
        options = dict(w.partition("=")[::2] for w in words[2:])
        avoided = 0.0 if options.get("max_fails") == "0" else seconds_of(options.get("fail_timeout", "10"))
        # nginx takes 80 here, even where the upstream is spoken to in TLS.
        port = int(match.group(2) or 80)
        yield _Target(match.group(1), port, "resolve" not in words[2:], "", kept, avoided, pool, file)


def may_be_for(location: str, path: str) -> bool:
    """Whether a location may be the one for a path: by its prefix, else by its regular expression; never a named one."""
    if location.startswith(("/", "@")):
        return path.startswith(location)
    try:
        return path.startswith(location) or bool(re.search(location, path))
    except re.error:
        return False


def may_lead(location: str, path: str) -> bool:
    """Whether a request for a path may be passed on from a location; a named one is where ``try_files`` of another leads."""
    return location.startswith("@") or may_be_for(location, path)


def named(leading: Sequence[Route], url: str) -> tuple[Route, ...]:
    """These routes with the host of a URL that users ask, where the server block has no name of its own.

    One for every name passes on what it is asked for, and an app may answer only to names that it knows.
    """
    host = urllib.parse.urlsplit(url).hostname or ""
    return tuple(replace(route, server_name=route.server_name or host) for route in leading)


def request_headers(route: Route) -> dict[str, str]:
    """The headers nginx would send for a request by a user of this route, variables filled in.

    Without ``proxy_set_header Host`` nginx sends ``$proxy_host``, the name written in ``proxy_pass``.
    """
    host = route.server_name or "localhost"
    scheme = "https" if route.tls else "http"
    proxy_host = route.proxy_host or f"{route.host}:{route.port}"
    values = {
        "host": host,
        "http_host": host,
        "server_name": host,
        "proxy_host": proxy_host,
        "proxy_port": str(route.port),
        "scheme": scheme,
        "remote_addr": "127.0.0.1",
        "proxy_add_x_forwarded_for": "127.0.0.1",
        "server_port": str(route.listen),
        # Who passes this on has something before nginx that ends TLS.
        "http_x_forwarded_proto": "https",
        "https": "on" if route.tls else "",
    }
    if route.how == "uwsgi_pass":
        # What the user sent goes through; what else the server has to know is in parameters of its own.
        return {"Host": host, **({"X-Forwarded-Proto": "https"} if route.tls else {})}
    result = {"Host": proxy_host}
    for name, value in route.headers:
        filled = _VARIABLE.sub(lambda m: values.get(m.group(1) or m.group(2), ""), value)
        key = "Host" if name.lower() == "host" else name
        if filled and key.lower() not in ("connection", "upgrade", "content-length", "transfer-encoding"):
            result[key] = filled
    return result
