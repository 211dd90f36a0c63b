# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a roll must know of an nginx configuration: who is proxied to, by which name, with which headers.

Reads the output of ``nginx -T``.  Anything it does not fully understand is refused by name rather than
guessed at, since a wrong guess loses requests.  crossplane is its oracle in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace


class UnreadableConfig(Exception):
    """The configuration holds something that cannot be understood safely; the message names it."""


@dataclass(frozen=True)
class Directive:
    """One directive: its words, and the directives of its block (None when it has no block)."""

    words: tuple[str, ...]
    block: tuple[Directive, ...] | None = None

    @property
    def name(self) -> str:
        return self.words[0]


@dataclass(frozen=True)
class Route:
    """One way from the outside to a service.

    ``host`` and ``port`` are what nginx connects to; ``server_name``, ``listen`` and ``tls`` are how users
    reach it; ``headers`` are those it sets, still with nginx variables in them.  ``static_name`` is whether
    nginx resolves the name only when it starts or reloads; ``proxy_host`` is what it calls the other side, and
    ``proxy_protocol`` whether it wants the PROXY protocol, which a plain request does not speak.
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


@dataclass(frozen=True)
class _Known:
    """What the http block defines: upstreams by name, and what each variable may be."""

    upstreams: Mapping[str, Directive]
    values: Mapping[str, tuple[str, ...]]


_FILE_MARK = re.compile(r"^# configuration file (.+):$")
_LUA_BLOCK = re.compile(r"_by_lua_block$|^(perl|js)_")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
# What nginx itself takes for white space; Python's str.isspace() knows more, a no-break space for one.
_SPACE = " \t\r\n"
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "t": "\t", "r": "\r", "n": "\n"}
_MEANINGS = 500


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Yield ``(token, quoted)``; a ``{``, ``}`` or ``;`` that is not quoted is a token of its own."""
    position, length = 0, len(text)
    while position < length:
        char = text[position]
        if char in _SPACE:
            position += 1
        elif char == "#":
            end = text.find("\n", position)
            position = length if end < 0 else end
        elif char in "{};":
            yield char, False
            position += 1
        elif char in "\"'":
            word, position = _word(text, position + 1, char)
            if position == length:
                raise UnreadableConfig("a quote that is opened and never closed")
            yield word, True
            position += 1
        else:
            word, position = _word(text, position, _SPACE + ";{")
            # Never to be mistaken for a brace of its own.
            yield word, True


def _word(text: str, position: int, ends: str) -> tuple[str, int]:
    """The word from here to any of ``ends``, and where that is; escapes as nginx reads them, quoted or not."""
    word: list[str] = []
    while position < len(text) and text[position] not in ends:
        pair = text[position : position + 2]
        if pair[0] == "\\" and len(pair) == 2:
            word.append(_ESCAPES.get(pair[1], pair))
        elif pair == "${":
            word.append(pair)
        else:
            word.append(pair[0])
            position -= 1
        position += 2
    return "".join(word), position


def parse(text: str) -> tuple[Directive, ...]:
    """Parse nginx configuration text into directives.

    :raises UnreadableConfig: unbalanced braces or quotes, or embedded code (Lua, Perl, njs blocks).
    """
    stack: list[list[Directive]] = [[]]
    heads: list[tuple[str, ...]] = []
    words: list[str] = []
    for token, quoted in _tokens(text):
        if quoted or token not in "{};":
            words.append(token)
        elif token == ";":
            if words:
                stack[-1].append(Directive(tuple(words)))
            words = []
        elif token == "{":
            if words and _LUA_BLOCK.search(words[0]):
                raise UnreadableConfig(f"{words[0]}: embedded code is not understood")
            heads.append(tuple(words) or ("",))
            stack.append([])
            words = []
        else:
            if not heads or words:
                raise UnreadableConfig("unbalanced braces" if not heads else f"{words[0]} is not ended by a semicolon")
            block = tuple(stack.pop())
            stack[-1].append(Directive(heads.pop(), block))
    if heads or words:
        raise UnreadableConfig(f"it ends inside {(heads[-1] if heads else words)[0]!r}")
    return tuple(stack[0])


def split_dump(text: str) -> dict[str, str]:
    """Split the output of ``nginx -T`` into its files, path to text, in the order in which it has them."""
    files: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.split("\n"):
        mark = _FILE_MARK.match(line)
        if mark:
            lines = files.setdefault(mark.group(1), [])
        else:
            lines.append(line)
    return {path: "\n".join(body) + "\n" for path, body in files.items()}


def load(dump: str) -> tuple[Directive, ...]:
    """The whole configuration as one tree, every ``include`` replaced by what it includes.

    :param dump: the output of ``nginx -T``.
    :raises UnreadableConfig: when there is no file in it, or one cannot be parsed.
    """
    files = split_dump(dump)
    if not files:
        raise UnreadableConfig("nginx -T printed no configuration file")
    main = next(iter(files))
    prefix = main.rsplit("/", 1)[0]
    return tuple(_expand(parse(files[main]), files, prefix, 0))


def _expand(directives: Sequence[Directive], files: dict[str, str], prefix: str, depth: int) -> Iterator[Directive]:
    if depth > 20:
        raise UnreadableConfig("includes are nested more than twenty deep")
    for directive in directives:
        if directive.name == "include" and len(directive.words) == 2:
            yield from _included(directive.words[1], files, prefix, depth + 1)
        elif directive.block is not None:
            yield replace(directive, block=tuple(_expand(directive.block, files, prefix, depth + 1)))
        else:
            yield directive


def _included(pattern: str, files: dict[str, str], prefix: str, depth: int) -> Iterator[Directive]:
    pattern = pattern if pattern.startswith("/") else f"{prefix}/{pattern}"
    matching = [path for path in files if path == pattern or _glob(pattern).match(path)]
    if not matching and not re.search(r"[*?[]", pattern):
        raise UnreadableConfig(f"include {pattern}: nginx -T did not print that file")
    for path in matching:
        yield from _expand(parse(files[path]), files, prefix, depth)


def _glob(pattern: str) -> re.Pattern[str]:
    """As glob(3), which nginx asks: no wildcard matches a slash."""
    parts = re.findall(r"\[[!^]?\]?[^]]*\]|.", pattern, re.DOTALL)
    simple = {"*": "[^/]*", "?": "[^/]"}
    classes = {p: re.sub(r"^\[!", "[^", p.replace("\\", "\\\\")) for p in parts if len(p) > 1}
    return re.compile("".join(simple.get(p) or classes.get(p) or re.escape(p) for p in parts) + r"\Z")


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
        known = _Known(upstreams, {name: tuple(dict.fromkeys(v)) for name, v in values.items()})
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
    frame = Route("", 0, plain[0] if plain else "", port, tls, proxy_protocol=proxy_protocol)
    return _location_routes(server, frame, known, _headers(server, inherited))


def _listener(server: Sequence[Directive]) -> tuple[int, bool, bool]:
    """Port, TLS and PROXY protocol of the listener that is best asked.

    One that speaks TLS comes first: where both are there, the other often only redirects to it.
    """
    found: list[tuple[int, bool, bool]] = []
    all_tls = any(d.words == ("ssl", "on") for d in server)
    for words in (d.words for d in server if d.name == "listen" and len(d.words) > 1):
        address, options = words[1], words[2:]
        if not address.startswith("unix:") and "quic" not in options:
            match = None if address.endswith("]") else re.search(r"(?:^|:)(\d+)(?:-\d+)?$", address)
            port = int(match.group(1)) if match else 80
            found.append((port, all_tls or "ssl" in options, "proxy_protocol" in options))
    return min(found, key=lambda f: (f[2], not f[1])) if found else (80, all_tls, False)


def _location_routes(
    directives: Sequence[Directive], frame: Route, known: _Known, headers: tuple[tuple[str, str], ...]
) -> Iterator[Route]:
    for directive in directives:
        if directive.name in _PASSES and len(directive.words) == 2:
            for host, port, static, called in _targets(directive.name, directive.words[1], known):
                yield replace(
                    frame,
                    host=host,
                    port=port,
                    static_name=static,
                    headers=headers,
                    how=directive.name,
                    proxy_host=called,
                )
        elif directive.name in ("location", "if", "limit_except") and directive.block is not None:
            path = directive.words[-1] if directive.name == "location" else frame.location
            inner = _headers(directive.block, headers)
            yield from _location_routes(directive.block, replace(frame, location=path), known, inner)


def _headers(block: Sequence[Directive], inherited: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    # nginx inherits proxy_set_header from the outer level only where the inner one sets none at all.
    own = tuple((d.words[1], d.words[2]) for d in block if d.name == "proxy_set_header" and len(d.words) == 3)
    return own or inherited


_PASSES = ("proxy_pass", "uwsgi_pass", "grpc_pass", "fastcgi_pass", "scgi_pass", "memcached_pass")
_TARGET = re.compile(
    r"^(?P<scheme>\w+://)?(?P<host>\[[0-9a-fA-F:.]+\]|[^/:$?\[\]]+)(?::(?P<port>\d+))?(?:[/?].*|\$\{?(?:request_|document_)?uri\b.*)?$",
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


def _targets(directive: str, target: str, known: _Known) -> Iterator[tuple[str, int, bool, str]]:
    """Yield ``(host, port, whether the name is resolved once, how nginx calls it)`` for what a ``*_pass`` names."""
    for meaning in _meanings(target, known) if "$" in target else (target,):
        if re.match(r"^(\w+://)?unix:", meaning):
            yield meaning, 0, True, "localhost"
            continue
        match = _TARGET.match(meaning)
        scheme = match.group("scheme") if match else None
        if not match or (directive == "proxy_pass" and scheme not in ("http://", "https://")):
            if "$" not in target:
                raise UnreadableConfig(f"{directive} {target}: the target cannot be told")
            yield meaning, 0, False, meaning
            continue
        host, written = match.group("host"), match.group("port")
        if host.lower() in known.upstreams and written is None:
            yield from ((*address, host) for address in _servers_of(known.upstreams[host.lower()]))
            continue
        default = 443 if scheme in ("https://", "grpcs://") else 80
        port = int(written or default)
        # A name in a target with variables is asked for at every request; an address needs no asking.
        static = "$" not in target or host.startswith("[") or bool(re.match(r"^[\d.]+$", host))
        yield host, port, static, host if port == default else f"{host}:{port}"


def _servers_of(upstream: Directive) -> Iterator[tuple[str, int, bool]]:
    for words in (d.words for d in upstream.block or () if d.name == "server" and len(d.words) > 1):
        if "down" in words[2:]:
            continue
        if words[1].startswith("unix:"):
            yield words[1], 0, True
            continue
        match = re.match(r"^(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(\d+))?$", words[1])
        if not match:
            raise UnreadableConfig(f"upstream {upstream.words[1]}: server {words[1]} cannot be told")
        # nginx takes 80 here, even where the upstream is spoken to in TLS.
        yield match.group(1), int(match.group(2) or 80), "resolve" not in words[2:]


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
    result = {"Host": proxy_host}
    for name, value in route.headers:
        filled = _VARIABLE.sub(lambda m: values.get(m.group(1) or m.group(2), ""), value)
        key = "Host" if name.lower() == "host" else name
        if filled and key.lower() not in ("connection", "upgrade", "content-length", "transfer-encoding"):
            result[key] = filled
    return result
